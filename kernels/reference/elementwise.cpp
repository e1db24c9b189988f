#include <numbers>

#include <graft/kernels/reference/internal.h>

namespace graft::kernels::reference {
namespace {

constexpr double kSqrt2OverPi = 0.79788456080286535588;
constexpr double kGeluCubic = 0.044715;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
// NaN stays NaN, which std::max would not promise.
double relu(double x) { return x < 0 ? 0 : x; }
double relu6(double x) { return x > 6 ? 6 : relu(x); }
double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }
double normal_density(double x) { return std::exp(-0.5 * x * x) * std::numbers::inv_sqrtpi / std::numbers::sqrt2; }

double apply(UnaryOp op, double x) {
  switch (op) {
    case UnaryOp::neg:
      return -x;
    case UnaryOp::abs:
      return std::abs(x);
    case UnaryOp::exp:
      return std::exp(x);
    case UnaryOp::log:
      return std::log(x);
    case UnaryOp::sqrt:
      return std::sqrt(x);
    case UnaryOp::square:
      return x * x;
    case UnaryOp::reciprocal:
      return 1 / x;
    case UnaryOp::relu:
      return relu(x);
    case UnaryOp::relu6:
      return relu6(x);
    case UnaryOp::gelu:
      return x * normal_cdf(x);
    case UnaryOp::gelu_tanh:
      return 0.5 * x * (1 + std::tanh(kSqrt2OverPi * (x + kGeluCubic * x * x * x)));
    case UnaryOp::sigmoid:
      return sigmoid(x);
    case UnaryOp::tanh:
      return std::tanh(x);
    case UnaryOp::hardswish:
      return x * relu6(x + 3) / 6;
    case UnaryOp::silu:
      return x * sigmoid(x);
  }
  fail("unary: unknown op ", static_cast<int>(op));
}

// Integers wrap around, as two's complement does; unsigned arithmetic says so without undefined behaviour.
std::int64_t wrap(std::uint64_t bits) { return static_cast<std::int64_t>(bits); }
std::uint64_t bits(std::int64_t value) { return static_cast<std::uint64_t>(value); }

std::int64_t apply(UnaryOp op, std::int64_t x) {
  switch (op) {
    case UnaryOp::neg:
      return wrap(-bits(x));
    case UnaryOp::abs:
      return x < 0 ? wrap(-bits(x)) : x;
    case UnaryOp::square:
      return wrap(bits(x) * bits(x));
    default:
      fail("unary: ", name(op), " has no integer form");
  }
}

// gy * op'(.), where s is y if backward_uses_output(op), else x. The comparisons let gy pass where s is NaN.
double backward(UnaryOp op, double s, double gy) {
  switch (op) {
    case UnaryOp::neg:
      return -gy;
    case UnaryOp::abs:
      return s > 0 ? gy : s < 0 ? -gy : s * gy;  // s is 0 or NaN: 0 or NaN
    case UnaryOp::exp:
      return gy * s;
    case UnaryOp::log:
      return gy / s;
    case UnaryOp::sqrt:
      return gy / (2 * s);
    case UnaryOp::square:
      return gy * 2 * s;
    case UnaryOp::reciprocal:
      return -gy * s * s;
    case UnaryOp::relu:
      return s <= 0 ? 0 : gy;
    case UnaryOp::relu6:
      return s <= 0 || s >= 6 ? 0 : gy;
    case UnaryOp::gelu:
      return gy * (normal_cdf(s) + s * normal_density(s));
    case UnaryOp::gelu_tanh: {
      const double t = std::tanh(kSqrt2OverPi * (s + kGeluCubic * s * s * s));
      const double inner = kSqrt2OverPi * (1 + 3 * kGeluCubic * s * s);
      return gy * 0.5 * (1 + t + s * (1 - t * t) * inner);
    }
    case UnaryOp::sigmoid:
      return gy * s * (1 - s);
    case UnaryOp::tanh:
      return gy * (1 - s * s);
    case UnaryOp::hardswish:
      return s <= -3 ? 0 : s >= 3 ? gy : gy * (2 * s + 3) / 6;
    case UnaryOp::silu:
      return gy * sigmoid(s) * (1 + s * (1 - sigmoid(s)));
  }
  fail("unary_backward: unknown op ", static_cast<int>(op));
}

double arithmetic(BinaryOp op, double a, double b) {
  switch (op) {
    case BinaryOp::add:
      return a + b;
    case BinaryOp::sub:
      return a - b;
    case BinaryOp::mul:
      return a * b;
    case BinaryOp::div:
      return a / b;
    default:
      fail("binary: ", name(op), " is no arithmetic");
  }
}

std::int64_t arithmetic(BinaryOp op, std::int64_t a, std::int64_t b) {
  switch (op) {
    case BinaryOp::add:
      return wrap(bits(a) + bits(b));
    case BinaryOp::sub:
      return wrap(bits(a) - bits(b));
    case BinaryOp::mul:
      return wrap(bits(a) * bits(b));
    case BinaryOp::div:
      check(b != 0, "binary: integer division by zero (", a, " / 0)");
      return b == -1 ? wrap(-bits(a)) : a / b;  // the smallest integer over -1 wraps
    default:
      fail("binary: ", name(op), " is no arithmetic");
  }
}

template <class T>
bool compare(BinaryOp op, T a, T b) {
  switch (op) {
    case BinaryOp::eq:
      return a == b;
    case BinaryOp::ne:
      return a != b;
    case BinaryOp::lt:
      return a < b;
    case BinaryOp::le:
      return a <= b;
    case BinaryOp::gt:
      return a > b;
    case BinaryOp::ge:
      return a >= b;
    default:
      fail("binary: ", name(op), " is no comparison");
  }
}

// Calls f with a value of the type that this dtype is computed in.
template <class F>
void in_wide_type(DType dtype, F&& f) {
  if (is_floating(dtype))
    f(double{});
  else
    f(std::int64_t{});
}

template <class T>
void combine(BinaryOp op, const Array<T>& a, const Array<T>& b, const TensorRef& y) {
  Array<T> result(y.shape);
  for (std::int64_t i = 0; i < result.size(); ++i)
    result[i] = is_comparison(op) ? T(compare(op, a[i], b[i])) : arithmetic(op, a[i], b[i]);
  write(result, y);
}

void unary(const UnaryArgs& args) {
  in_wide_type(args.x.dtype, [&]<class T>(T) {
    Array<T> values = read<T>(args.x);
    for (T& v : values.values) v = apply(args.op, v);
    write(values, args.y);
  });
}

void unary_backward(const UnaryBackwardArgs& args) {
  const Array<double> saved = read(args.saved);
  Array<double> g = read(args.gy);
  for (std::int64_t i = 0; i < g.size(); ++i) g[i] = backward(args.op, saved[i], g[i]);
  write(g, args.gx);
}

void binary(const BinaryArgs& args) {
  in_wide_type(args.a.dtype, [&]<class T>(T) { combine(args.op, read<T>(args.a), read<T>(args.b), args.y); });
}

void binary_scalar(const BinaryScalarArgs& args) {
  in_wide_type(args.x.dtype, [&]<class T>(T) {
    const Array<T> x = read<T>(args.x);
    const Array<T> scalar(args.x.shape, static_cast<T>(args.scalar));
    if (args.reversed)
      combine(args.op, scalar, x, args.y);
    else
      combine(args.op, x, scalar, args.y);
  });
}

void axpy(const AxpyArgs& args) {
  const Array<double> x = read(args.x);
  Array<double> y = read(args.y);
  for (std::int64_t i = 0; i < y.size(); ++i) y[i] += args.alpha * x[i];
  write(y, args.y);
}

void fill(const FillArgs& args) { write(Array<double>(args.y.shape, args.value), args.y); }

void copy(const CopyArgs& args) {
  in_wide_type(args.x.dtype, [&]<class T>(T) { write(read<T>(args.x), args.y); });
}

}  // namespace

void add_elementwise(BackendTable& table) {
  add<unary>(table);
  add<unary_backward>(table);
  add<binary>(table);
  add<binary_scalar>(table);
  add<axpy>(table);
  add<fill>(table);
  add<copy>(table);
}

}  // namespace graft::kernels::reference
