#include <graft/kernels/reference/internal.h>

namespace graft::kernels::reference {
namespace {

template <class T>
bool is_nan(T value) {
  return value != value;
}

/// NaN is greater than everything; of equals the first stays.
template <class T>
bool is_greater(T value, T best) {
  return value > best || (is_nan(value) && !is_nan(best));
}

// The strides with which y is walked along x: 0 along the reduced axes.
Shape reduced_strides(const Shape& x, const Shape& y) {
  Shape strides = contiguous_strides(y);
  for (int i = 0; i < x.rank(); ++i)
    if (y[i] == 1 && x[i] != 1) strides[i] = 0;
  return strides;
}

template <class T>
void reduce_in(const ReduceArgs& args) {
  const Array<T> x = read<T>(args.x);
  Array<T> y(args.y.shape);
  std::vector<bool> seen(y.values.size());
  for_each_offset(x.shape, reduced_strides(x.shape, y.shape), [&](std::int64_t i, std::int64_t into) {
    if (args.op != ReduceOp::max)
      y[into] = static_cast<T>(y[into] + x[i]);
    else if (!seen[static_cast<std::size_t>(into)] || is_greater(x[i], y[into]))
      y[into] = x[i];
    seen[static_cast<std::size_t>(into)] = true;
  });
  if (args.op == ReduceOp::mean)
    for (T& v : y.values) v = v / (static_cast<T>(x.size()) / static_cast<T>(y.size()));
  write(y, args.y);
}

void reduce(const ReduceArgs& args) {
  if (is_floating(args.x.dtype))
    reduce_in<double>(args);
  else
    reduce_in<std::int64_t>(args);
}

template <class T>
void argmax_in(const ArgmaxArgs& args) {
  const Array<T> x = read<T>(args.x);
  Array<std::int64_t> y(args.y.shape);
  const std::int64_t n = x.shape[args.axis];
  const std::int64_t inner = contiguous_strides(x.shape)[args.axis];  // elements between neighbours along the axis
  for (std::int64_t i = 0; i < y.size(); ++i) {
    const std::int64_t first = i / inner * n * inner + i % inner;
    for (std::int64_t j = 1; j < n; ++j)
      if (is_greater(x[first + j * inner], x[first + y[i] * inner])) y[i] = j;
  }
  write(y, args.y);
}

void argmax(const ArgmaxArgs& args) {
  if (is_floating(args.x.dtype))
    argmax_in<double>(args);
  else
    argmax_in<std::int64_t>(args);
}

void squared_norm(const SquaredNormArgs& args) {
  long double sum = 0;  // the truth for double sums in another order too
  for (std::int64_t i = 0; i < args.count; ++i)
    for (double value : read(args.tensors[i]).values) sum += static_cast<long double>(value) * value;
  store(args.y, 0, static_cast<double>(sum));
}

}  // namespace

void add_reduce(BackendTable& table) {
  add<reduce>(table);
  add<argmax>(table);
  add<squared_norm>(table);
}

}  // namespace graft::kernels::reference
