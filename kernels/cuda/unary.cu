// y = op(x), and gx = gy op'(saved).
//
// The formulas are the reference's, in the compute type. Where an op has a jump (relu), the comparison is written so
// that NaN comes through.
#include <graft/kernels/cuda/rows.h>
#include <cmath>

#include <graft/kernels/cuda/elementwise.cuh>

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

/// Integers wrap around: computed without sign.
template <>
struct Unary<std::uint64_t> {
  UnaryOp op;

  template <class Body>
  GRAFT_DEVICE void select(const Body& body) const {
    switch (op) {
      case UnaryOp::neg:
        return body([](std::int64_t x) { return 0 - static_cast<std::uint64_t>(x); });
      case UnaryOp::abs:
        return body(
            [](std::int64_t x) { return x < 0 ? 0 - static_cast<std::uint64_t>(x) : static_cast<std::uint64_t>(x); });
      default:
        return body([](std::int64_t x) { return static_cast<std::uint64_t>(x) * static_cast<std::uint64_t>(x); });
    }
  }
};

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

void run_unary(const UnaryArgs& args, Stream& stream) {
  if (args.x.dtype == DType::i64)
    return elementwise(stream, "unary", Unary<std::uint64_t>{args.op},
                       Elements<std::int64_t, std::int64_t>{args.y, {args.x}});
  if (args.x.dtype == DType::i32)
    return elementwise(stream, "unary", Unary<std::uint64_t>{args.op},
                       Elements<std::int32_t, std::int32_t>{args.y, {args.x}});
  visit_floating(args.x.dtype, [&]<class T>(T) {
    elementwise(stream, "unary", Unary<Compute<T>>{args.op}, Elements<T, T>{args.y, {args.x}});
  });
}

void run_unary_backward(const UnaryBackwardArgs& args, Stream& stream) {
  visit_floating(args.saved.dtype, [&]<class T>(T) {
    elementwise(stream, "unary_backward", UnaryBackward<Compute<T>>{args.op},
                Elements<T, T, T>{args.gx, {args.saved, args.gy}});
  });
}

}  // namespace

void add_unary(BackendTable& table) {
  table.row<UnaryArgs>() = row(run_unary);
  table.row<UnaryBackwardArgs>() = row(run_unary_backward);
}

}  // namespace graft::kernels::cuda
