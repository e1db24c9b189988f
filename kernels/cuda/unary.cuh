// The unary maps and their derivatives in device code: of unary.cu, and of the chains.
//
// The formulas are the reference's, in the compute type. Where an op has a jump (relu), the comparison is written so
// that NaN comes through. select(body) calls body with the map of `op` (elementwise.cuh).
#pragma once

#include <cmath>

#include <graft/kernels/api/elementwise.h>
#include <graft/kernels/cuda/common.cuh>

namespace graft::kernels::cuda {
namespace {

template <class C>
inline constexpr C kSqrt2OverPi = C(0.79788456080286535588);
template <class C>
inline constexpr C kGeluCubic = C(0.044715);
template <class C>
inline constexpr C kHalfSqrt2 = C(0.70710678118654752440);
template <class C>
inline constexpr C kInvSqrt2Pi = C(0.39894228040143267794);

template <class C>
GRAFT_DEVICE C relu6(C x) {
  return x > 6 ? C(6) : x < 0 ? C(0) : x;
}
template <class C>
GRAFT_DEVICE C sigmoid(C x) {
  return 1 / (1 + std::exp(-x));
}
template <class C>
GRAFT_DEVICE C normal_cdf(C x) {
  return C(0.5) * std::erfc(-x * kHalfSqrt2<C>);
}
template <class C>
GRAFT_DEVICE C gelu_inner(C x) {  // the argument of gelu_tanh's tanh
  return kSqrt2OverPi<C> * (x + kGeluCubic<C> * x * x * x);
}

/// y = op(x).
template <class C>
struct Unary {
  UnaryOp op;

  template <class Body>
  GRAFT_DEVICE void select(const Body& body) const {
    switch (op) {
      case UnaryOp::neg:
        return body([](C x) { return -x; });
      case UnaryOp::abs:
        return body([](C x) { return std::fabs(x); });
      case UnaryOp::exp:
        return body([](C x) { return std::exp(x); });
      case UnaryOp::log:
        return body([](C x) { return std::log(x); });
      case UnaryOp::sqrt:
        return body([](C x) { return std::sqrt(x); });
      case UnaryOp::square:
        return body([](C x) { return x * x; });
      case UnaryOp::reciprocal:
        return body([](C x) { return 1 / x; });
      case UnaryOp::relu:
        return body([](C x) { return x < 0 ? C(0) : x; });
      case UnaryOp::relu6:
        return body([](C x) { return relu6(x); });
      case UnaryOp::gelu:
        return body([](C x) { return x * normal_cdf(x); });
      case UnaryOp::gelu_tanh:
        return body([](C x) { return C(0.5) * x * (1 + std::tanh(gelu_inner(x))); });
      case UnaryOp::sigmoid:
        return body([](C x) { return sigmoid(x); });
      case UnaryOp::tanh:
        return body([](C x) { return std::tanh(x); });
      case UnaryOp::hardswish:
        return body([](C x) { return x * relu6(x + 3) / 6; });
      default:  // silu
        return body([](C x) { return x * sigmoid(x); });
    }
  }
};

/// gx = gy op'(s), where s is the output if backward_uses_output(op), else the input.
template <class C>
struct UnaryBackward {
  UnaryOp op;

  template <class Body>
  GRAFT_DEVICE void select(const Body& body) const {
    switch (op) {
      case UnaryOp::neg:
        return body([](C, C gy) { return -gy; });
      case UnaryOp::abs:
        return body([](C s, C gy) { return s > 0 ? gy : s < 0 ? -gy : s * gy; });  // s is 0 or NaN: 0 or NaN
      case UnaryOp::exp:
        return body([](C s, C gy) { return gy * s; });
      case UnaryOp::log:
        return body([](C s, C gy) { return gy / s; });
      case UnaryOp::sqrt:
        return body([](C s, C gy) { return gy / (2 * s); });
      case UnaryOp::square:
        return body([](C s, C gy) { return gy * 2 * s; });
      case UnaryOp::reciprocal:
        return body([](C s, C gy) { return -gy * s * s; });
      case UnaryOp::relu:
        return body([](C s, C gy) { return s <= 0 ? C(0) : gy; });
      case UnaryOp::relu6:
        return body([](C s, C gy) { return s <= 0 || s >= 6 ? C(0) : gy; });
      case UnaryOp::gelu:
        return body([](C s, C gy) {
          const C density = std::exp(C(-0.5) * s * s) * kInvSqrt2Pi<C>;
          return gy * (normal_cdf(s) + s * density);
        });
      case UnaryOp::gelu_tanh:
        return body([](C s, C gy) {
          const C t = std::tanh(gelu_inner(s));
          const C inner = kSqrt2OverPi<C> * (1 + 3 * kGeluCubic<C> * s * s);
          return gy * C(0.5) * (1 + t + s * (1 - t * t) * inner);
        });
      case UnaryOp::sigmoid:
        return body([](C s, C gy) { return gy * s * (1 - s); });
      case UnaryOp::tanh:
        return body([](C s, C gy) { return gy * (1 - s * s); });
      case UnaryOp::hardswish:
        return body([](C s, C gy) { return s <= -3 ? C(0) : s >= 3 ? gy : gy * (2 * s + 3) / 6; });
      default:  // silu
        return body([](C s, C gy) {
          const C g = sigmoid(s);
          return gy * g * (1 + s * (1 - g));
        });
    }
  }
};

}  // namespace
}  // namespace graft::kernels::cuda
