// Several element-by-element steps in one pass over memory: y = step_n(.. step_1(x)). What lies between the steps is
// kept in registers or in the cache; the backward computes it again instead of reading it.
#pragma once

#include <array>

#include <graft/kernels/api/elementwise.h>
#include <graft/kernels/api/export.h>

namespace graft::kernels {

inline constexpr int kChainSteps = 8;    // of one chain, at most
inline constexpr int kChainTensors = 4;  // steps that take another tensor, at most

/// One step from a value v to the next.
struct GRAFT_API ChainStep {
  enum class Kind : std::uint8_t {
    unary,   // unary(v)
    scalar,  // v binary scalar, or scalar binary v when `reversed`
    tensor,  // v binary tensor, or tensor binary v when `reversed`
  };
  Kind kind = Kind::unary;
  UnaryOp unary{};
  BinaryOp binary{};  // add, sub, mul or div
  bool reversed = false;
  double scalar = 0;
  TensorRef tensor{};

  static ChainStep of(UnaryOp op) {
    ChainStep step;
    step.unary = op;
    return step;
  }
  static ChainStep of(BinaryOp op, double scalar, bool reversed = false) {
    ChainStep step;
    step.kind = Kind::scalar;
    step.binary = op;
    step.scalar = scalar;
    step.reversed = reversed;
    return step;
  }
  static ChainStep of(BinaryOp op, const TensorRef& tensor, bool reversed = false) {
    ChainStep step;
    step.kind = Kind::tensor;
    step.binary = op;
    step.tensor = tensor;
    step.reversed = reversed;
    return step;
  }
};

GRAFT_API const char* name(const ChainStep& step);

/// 1 to kChainSteps steps in the order in which they are done, at most kChainTensors of them with a tensor.
struct GRAFT_API ChainSteps {
  std::array<ChainStep, kChainSteps> at{};
  int count = 0;

  ChainSteps() = default;
  /// Throws Error beyond kChainSteps.
  ChainSteps(std::initializer_list<ChainStep> steps) {
    for (const ChainStep& step : steps) push_back(step);
  }
  void push_back(const ChainStep& step) {
    check(count < kChainSteps, "chain: more than ", kChainSteps, " steps");
    at[static_cast<std::size_t>(count++)] = step;
  }
  const ChainStep& operator[](int i) const { return at[static_cast<std::size_t>(i)]; }
  ChainStep& operator[](int i) { return at[static_cast<std::size_t>(i)]; }
  const ChainStep* begin() const { return at.data(); }
  const ChainStep* end() const { return at.data() + count; }
};

/// y = step_n(.. step_1(x)). Floating dtypes; x, y and the steps' tensors of one dtype and shape (broadcast tensors
/// have strides of 0). bf16 and f16 are computed in float and rounded once, at the end. y may be x itself.
struct ChainArgs {
  static constexpr const char* name = "chain";
  TensorRef x;
  ChainSteps steps;
  TensorRef y;
};

/// The gradients of ChainArgs for gy, that of y: gx for x, and gtensors[i] for the tensor of step i, in the shape of y
/// also where that tensor is broadcast (summing is the caller's). Undefined ones are not computed; at least one is
/// defined, and all lie alike in memory. The derivatives are those of UnaryBackwardArgs. gx may be gy itself.
///
/// y may be undefined; where it is given, the last step is not computed again. What ChainBackwardPlan does not read may
/// be undefined too: x, and the tensors of steps.
struct ChainBackwardArgs {
  static constexpr const char* name = "chain_backward";
  TensorRef x, y, gy;
  ChainSteps steps;
  TensorRef gx;
  std::array<TensorRef, kChainSteps> gtensors{};
};

/// What the backward of a step reads besides the gradient that comes to it.
enum class ChainReads : std::uint8_t {
  nothing,
  input,   // the value before the step
  output,  // the value behind it
};

/// True where the gradient is another one behind the backward of the step: not for v + other and v - other.
GRAFT_API bool changes_gradient(const ChainStep& step);

/// What a backward has to do, for every backend.
struct GRAFT_API ChainBackwardPlan {
  int lowest = 0;   // it goes from the last step down to this one
  int forward = 0;  // the first so many steps are computed again
  std::array<ChainReads, kChainSteps> reads{};
  std::array<bool, kChainSteps> reads_tensor{};  // in either direction
  bool reads_x = false;
  bool reads_y = false;  // by the last step, whose `reads` is output

  explicit ChainBackwardPlan(const ChainBackwardArgs& args);
};

}  // namespace graft::kernels
