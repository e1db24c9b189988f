// Several element-by-element steps in one pass over memory, forward and backward.
//
//   Tensor y = fused(x).mul(scale).add(shift).relu().run();      // relu(x * scale + shift)
//
// gives what relu(x * scale + shift) gives, without writing the products and sums to memory in between. (The reference
// backend, which serves where oneDNN is not there, computes all steps in double and rounds once.)
#pragma once

#include <array>

#include <graft/core/ops/math.h>
#include <graft/core/tensor.h>
#include <graft/kernels/api/chain.h>
#include <graft/kernels/api/export.h>

namespace graft {

/// Collects steps; run() computes them. Each step takes the value v of the step before, x at first. x is of a floating
/// dtype, f32, f64, bf16 or f16; a tensor beside v has x's dtype and device and a shape that broadcasts to x's (the
/// result has x's shape always). bf16 and f16 are computed in float and rounded once, at the end.
///
/// At most kernels::kChainSteps (8) steps, of which at most kernels::kChainTensors (4) take a tensor. A step that does
/// not fit throws Error at once and says what was expected; the steps before stay as they were.
class [[nodiscard]] GRAFT_API Fused {
 public:
  explicit Fused(const Tensor& x);

  Fused& neg() { return step(kernels::UnaryOp::neg); }
  Fused& abs() { return step(kernels::UnaryOp::abs); }
  Fused& exp() { return step(kernels::UnaryOp::exp); }
  Fused& log() { return step(kernels::UnaryOp::log); }
  Fused& sqrt() { return step(kernels::UnaryOp::sqrt); }
  Fused& square() { return step(kernels::UnaryOp::square); }
  Fused& reciprocal() { return step(kernels::UnaryOp::reciprocal); }
  Fused& relu() { return step(kernels::UnaryOp::relu); }
  Fused& relu6() { return step(kernels::UnaryOp::relu6); }
  Fused& gelu(GeluKind kind = GeluKind::exact) {
    return step(kind == GeluKind::exact ? kernels::UnaryOp::gelu : kernels::UnaryOp::gelu_tanh);
  }
  Fused& sigmoid() { return step(kernels::UnaryOp::sigmoid); }
  Fused& tanh() { return step(kernels::UnaryOp::tanh); }
  Fused& hardswish() { return step(kernels::UnaryOp::hardswish); }
  Fused& silu() { return step(kernels::UnaryOp::silu); }

  /// v + other, v - other, v * other, v / other.
  Fused& add(const Tensor& other) { return step(kernels::BinaryOp::add, other); }
  Fused& sub(const Tensor& other) { return step(kernels::BinaryOp::sub, other); }
  Fused& mul(const Tensor& other) { return step(kernels::BinaryOp::mul, other); }
  Fused& div(const Tensor& other) { return step(kernels::BinaryOp::div, other); }
  Fused& add(double other) { return step(kernels::BinaryOp::add, other); }
  Fused& sub(double other) { return step(kernels::BinaryOp::sub, other); }
  Fused& mul(double other) { return step(kernels::BinaryOp::mul, other); }
  Fused& div(double other) { return step(kernels::BinaryOp::div, other); }
  /// The other way round: other - v, other / v.
  Fused& rsub(const Tensor& other) { return step(kernels::BinaryOp::sub, other, true); }
  Fused& rdiv(const Tensor& other) { return step(kernels::BinaryOp::div, other, true); }
  Fused& rsub(double other) { return step(kernels::BinaryOp::sub, other, true); }
  Fused& rdiv(double other) { return step(kernels::BinaryOp::div, other, true); }

  /// The result: a new tensor of x's shape and dtype, in x's order of memory where x is dense. Throws Error when no
  /// step was given. The backward computes the values between the steps again; of x, the tensors and the result what it
  /// reads is kept as it is now, and changing that in place before the backward is an error there.
  Tensor run() const;

 private:
  Fused& step(kernels::UnaryOp op);
  Fused& step(kernels::BinaryOp op, double other, bool reversed = false);
  Fused& step(kernels::BinaryOp op, const Tensor& other, bool reversed = false);
  void check_room(const char* op) const;

  Tensor x_;
  kernels::ChainSteps steps_;  // their tensors are in tensors_, by step
  std::array<Tensor, kernels::kChainSteps> tensors_;
  int tensor_count_ = 0;
};

/// The beginning of a chain of steps over x. Throws Error when x is undefined or not of a floating dtype.
inline Fused fused(const Tensor& x) { return Fused(x); }

}  // namespace graft
