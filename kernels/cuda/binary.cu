// y = a op b, y = x op scalar, and y = alpha x + y.
//
// Floating arithmetic and comparisons happen in the compute type. Integers of every width are computed in 64 bits and
// wrap into their own: that is what the reference does, also for a scalar beyond their range. An integer division looks
// at its divisors and reports the first zero that any thread finds; its quotient is then 0.
#include <graft/kernels/cuda/rows.h>
#include <graft/kernels/cuda/elementwise.cuh>

namespace graft::kernels::cuda {
namespace {

/// What operands of type T are computed in: float or double, or std::int64_t.
template <class T>
using Wide = std::conditional_t<std::is_integral_v<T>, std::int64_t, Compute<T>>;

/// Arithmetic of integers is rare.
template <class T>
inline constexpr Access kAccess = std::is_integral_v<T> ? Access::elements : Access::vectors;

GRAFT_DEVICE std::uint64_t bits(std::int64_t value) { return static_cast<std::uint64_t>(value); }

/// add, sub, mul, and for floating C div.
template <class C>
struct Arithmetic {
  BinaryOp op;

  template <class Body>
  GRAFT_DEVICE void select(const Body& body) const {
    if constexpr (std::is_integral_v<C>) {  // without sign: it wraps
      switch (op) {
        case BinaryOp::add:
          return body([](C a, C b) { return bits(a) + bits(b); });
        case BinaryOp::sub:
          return body([](C a, C b) { return bits(a) - bits(b); });
        default:
          return body([](C a, C b) { return bits(a) * bits(b); });
      }
    } else {
      switch (op) {
        case BinaryOp::add:
          return body([](C a, C b) { return a + b; });
        case BinaryOp::sub:
          return body([](C a, C b) { return a - b; });
        case BinaryOp::mul:
          return body([](C a, C b) { return a * b; });
        default:
          return body([](C a, C b) { return a / b; });
      }
    }
  }
};

template <class C>
struct Comparison {
  BinaryOp op;

  template <class Body>
  GRAFT_DEVICE void select(const Body& body) const {
    switch (op) {
      case BinaryOp::eq:
        return body([](C a, C b) { return a == b; });
      case BinaryOp::ne:
        return body([](C a, C b) { return a != b; });
      case BinaryOp::lt:
        return body([](C a, C b) { return a < b; });
      case BinaryOp::le:
        return body([](C a, C b) { return a <= b; });
      case BinaryOp::gt:
        return body([](C a, C b) { return a > b; });
      default:
        return body([](C a, C b) { return a >= b; });
    }
  }
};

/// f with a scalar for one of its arguments.
template <class F, class C>
struct WithScalar {
  F f;
  C scalar;
  bool reversed;

  template <class Body>
  GRAFT_DEVICE void select(const Body& body) const {
    f.select([&](const auto& g) { body([&](C x) { return reversed ? g(scalar, x) : g(x, scalar); }); });
  }
};

/// a / b of integers, truncated. `position` is the number of the element.
struct Quotient {
  runtime::FaultRecord* faults;

  GRAFT_DEVICE std::int64_t operator()(std::int64_t a, std::int64_t b, std::int64_t position) const {
    if (b == 0) {
      report_fault(faults, runtime::FaultKind::division_by_zero, position, 0, 0);
      return 0;
    }
    // The smallest integer over -1 wraps.
    return b == -1 ? static_cast<std::int64_t>(0 - bits(a)) : a / b;
  }
};

struct QuotientWithScalar {
  Quotient quotient;
  std::int64_t scalar;
  bool reversed;

  GRAFT_DEVICE std::int64_t operator()(std::int64_t x, std::int64_t position) const {
    return reversed ? quotient(scalar, x, position) : quotient(x, scalar, position);
  }
};

void run_binary(const BinaryArgs& args, Stream& stream) {
  const TensorRef &a = args.a, &b = args.b, &y = args.y;
  visit_element(a.dtype, [&]<class T>(T) {
    using C = Wide<T>;
    if (is_comparison(args.op))
      return elementwise<kAccess<T>>(stream, "binary_compare", Comparison<C>{args.op}, Elements<bool, T, T>{y, {a, b}});
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
      if (args.op == BinaryOp::div)
        return elementwise<Access::elements>(stream, "binary_divide_whole",
                                             Quotient{runtime::fault_record(stream.device.index)},
                                             Elements<T, T, T, Position>{y, {a, b, position_operand(y.shape)}});
    }
    if constexpr (!std::is_same_v<T, bool>)
      elementwise<kAccess<T>>(stream, "binary", Arithmetic<C>{args.op}, Elements<T, T, T>{y, {a, b}});
  });
}

void run_binary_scalar(const BinaryScalarArgs& args, Stream& stream) {
  const TensorRef &x = args.x, &y = args.y;
  visit_element(x.dtype, [&]<class T>(T) {
    using C = Wide<T>;
    const C scalar = static_cast<C>(args.scalar);
    if (is_comparison(args.op))
      return elementwise<kAccess<T>>(stream, "binary_scalar_compare",
                                     WithScalar<Comparison<C>, C>{{args.op}, scalar, args.reversed},
                                     Elements<bool, T>{y, {x}});
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
      if (args.op == BinaryOp::div)
        return elementwise<kAccess<T>>(
            stream, "binary_scalar_divide_whole",
            QuotientWithScalar{{runtime::fault_record(stream.device.index)}, scalar, args.reversed},
            Elements<T, T, Position>{y, {x, position_operand(y.shape)}});
    }
    if constexpr (!std::is_same_v<T, bool>)
      elementwise<kAccess<T>>(stream, "binary_scalar", WithScalar<Arithmetic<C>, C>{{args.op}, scalar, args.reversed},
                              Elements<T, T>{y, {x}});
  });
}

template <class C>
struct Axpy {
  C alpha;
  GRAFT_DEVICE C operator()(C x, C y) const { return alpha * x + y; }
};

void run_axpy(const AxpyArgs& args, Stream& stream) {
  visit_floating(args.x.dtype, [&]<class T>(T) {
    using C = Compute<T>;
    elementwise(stream, "axpy", Axpy<C>{static_cast<C>(args.alpha)}, Elements<T, T, T>{args.y, {args.x, args.y}});
  });
}

}  // namespace

void add_binary(BackendTable& table) {
  table.row<BinaryArgs>() = row(run_binary);
  table.row<BinaryScalarArgs>() = row(run_binary_scalar);
  table.row<AxpyArgs>() = row(run_axpy);
}

}  // namespace graft::kernels::cuda
