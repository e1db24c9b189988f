#include <graft/kernels/reference/internal.h>

namespace graft::kernels::reference {
namespace {

// Calls f(element of y, element of x) for each element of y (row-major), where the position along `axis` comes from
// index_of(element of y, position along the axis in y) and the others are y's own.
template <class IndexOf, class F>
void for_each_gathered(const char* op, const Shape& x, const Shape& y, int axis, IndexOf&& index_of, F&& f) {
  Shape strides = contiguous_strides(x);
  const std::int64_t step = strides[axis];
  strides[axis] = 0;
  const std::int64_t y_step = contiguous_strides(y)[axis];
  for_each_offset(y, strides, [&](std::int64_t i, std::int64_t offset) {
    const auto [position, index] = index_of(i, i / y_step % y[axis]);
    check(index >= 0 && index < x[axis], op, ": index[", position, "] is ", index, ": expected 0 to ", x[axis] - 1,
          " for axis ", axis, " of ", x);
    f(i, offset + index * step);
  });
}

struct Entry {
  std::int64_t position, index;
};

// Any dtype moves unchanged: integers as int64, floats as double.
template <class T>
void index_select_in(const IndexSelectArgs& args) {
  const Array<std::int64_t> index = read<std::int64_t>(args.index);
  const Array<T> x = read<T>(args.x);
  Array<T> y(args.y.shape);
  for_each_gathered(
      args.name, x.shape, y.shape, args.axis,
      [&](std::int64_t, std::int64_t j) {
        return Entry{j, index[j]};
      },
      [&](std::int64_t i, std::int64_t from) { y[i] = x[from]; });
  write(y, args.y);
}

void index_select(const IndexSelectArgs& args) {
  if (is_floating(args.x.dtype))
    index_select_in<double>(args);
  else
    index_select_in<std::int64_t>(args);
}

void index_select_backward(const IndexSelectBackwardArgs& args) {
  const Array<std::int64_t> index = read<std::int64_t>(args.index);
  const Array<double> gy = read(args.gy);
  Array<double> gx(args.gx.shape);
  for_each_gathered(
      args.name, gx.shape, gy.shape, args.axis,
      [&](std::int64_t, std::int64_t j) {
        return Entry{j, index[j]};
      },
      [&](std::int64_t i, std::int64_t into) { gx[into] += gy[i]; });
  write(gx, args.gx);
}

template <class T>
void gather_in(const GatherArgs& args) {
  const Array<std::int64_t> index = read<std::int64_t>(args.index);
  const Array<T> x = read<T>(args.x);
  Array<T> y(args.y.shape);
  for_each_gathered(
      args.name, x.shape, y.shape, args.axis,
      [&](std::int64_t i, std::int64_t) {
        return Entry{i, index[i]};
      },
      [&](std::int64_t i, std::int64_t from) { y[i] = x[from]; });
  write(y, args.y);
}

void gather(const GatherArgs& args) {
  if (is_floating(args.x.dtype))
    gather_in<double>(args);
  else
    gather_in<std::int64_t>(args);
}

void gather_backward(const GatherBackwardArgs& args) {
  const Array<std::int64_t> index = read<std::int64_t>(args.index);
  const Array<double> gy = read(args.gy);
  Array<double> gx(args.gx.shape);
  for_each_gathered(
      args.name, gx.shape, gy.shape, args.axis,
      [&](std::int64_t i, std::int64_t) {
        return Entry{i, index[i]};
      },
      [&](std::int64_t i, std::int64_t into) { gx[into] += gy[i]; });
  write(gx, args.gx);
}

}  // namespace

void add_gather(BackendTable& table) {
  add<index_select>(table);
  add<index_select_backward>(table);
  add<gather>(table);
  add<gather_backward>(table);
}

}  // namespace graft::kernels::reference
