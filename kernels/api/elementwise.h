// Element-by-element ops: unary maps, broadcasting arithmetic, comparison, fill, copy with cast.
//
// Tensors may have any strides (0 for a broadcast dimension of an input); outputs never overlap themselves. All tensors
// of one call have the same shape: the caller has already expanded the inputs.
#pragma once

#include <graft/kernels/api/export.h>
#include <graft/kernels/api/tensor_ref.h>

namespace graft::kernels {

enum class UnaryOp : std::uint8_t {
  neg,
  abs,
  exp,
  log,
  sqrt,
  square,
  reciprocal,
  relu,       // max(x, 0); NaN stays NaN
  relu6,      // min(max(x, 0), 6)
  gelu,       // x Phi(x), exact with erf (PyTorch's default)
  gelu_tanh,  // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
  sigmoid,
  tanh,
  hardswish,  // x relu6(x + 3) / 6
  silu,       // x sigmoid(x)
};

GRAFT_API const char* name(UnaryOp op);

/// True where the backward formula takes the output y (exp, sqrt, reciprocal, relu, relu6, sigmoid, tanh), not the
/// input x.
constexpr bool backward_uses_output(UnaryOp op) {
  return op == UnaryOp::exp || op == UnaryOp::sqrt || op == UnaryOp::reciprocal || op == UnaryOp::relu ||
         op == UnaryOp::relu6 || op == UnaryOp::sigmoid || op == UnaryOp::tanh;
}

/// y = op(x). Floating dtypes, y of x's dtype; neg and abs and square also i32, i64.
struct UnaryArgs {
  static constexpr const char* name = "unary";
  UnaryOp op{};
  TensorRef x, y;
};

/// gx = gy * op'(saved), where saved is y if backward_uses_output(op), else x. The derivative of relu at 0 is 0, of
/// relu6 at 0 and 6 is 0, of abs at 0 is 0 (PyTorch's choices); of relu and relu6 at NaN it is 1. Floating dtypes.
struct UnaryBackwardArgs {
  static constexpr const char* name = "unary_backward";
  UnaryOp op{};
  TensorRef saved, gy, gx;
};

enum class BinaryOp : std::uint8_t { add, sub, mul, div, eq, ne, lt, le, gt, ge };

GRAFT_API const char* name(BinaryOp op);
constexpr bool is_comparison(BinaryOp op) { return op >= BinaryOp::eq; }

/// y = a op b. a and b of one dtype; y of that dtype, or bool for a comparison. y may be a itself (in place).
/// Integer division truncates; an integer division by zero is an error. Integers wrap around; bool has comparisons
/// only.
struct BinaryArgs {
  static constexpr const char* name = "binary";
  BinaryOp op{};
  TensorRef a, b, y;
};

/// y = x op scalar, or scalar op x when `reversed`. As BinaryArgs; beside an integer x the scalar is a whole number. y
/// may be x itself.
struct BinaryScalarArgs {
  static constexpr const char* name = "binary_scalar";
  BinaryOp op{};
  TensorRef x;
  double scalar = 0;
  bool reversed = false;
  TensorRef y;
};

/// y = alpha x + y. One floating dtype. The accumulation of gradients and of running sums.
struct AxpyArgs {
  static constexpr const char* name = "axpy";
  double alpha = 1;
  TensorRef x, y;
};

struct FillArgs {
  static constexpr const char* name = "fill";
  double value = 0;
  TensorRef y;
};

/// y = x, converting dtype and layout. Float to integer truncates toward zero; to bool is x != 0; to u8 wraps as C++
/// does from i64. This one op serves permute, slice, concat, expand, cast and layout changes.
struct CopyArgs {
  static constexpr const char* name = "copy";
  TensorRef x, y;
};

}  // namespace graft::kernels
