#include <graft/core/ops/raw.h>

#include <algorithm>

#include <graft/core/tensor_state.h>
#include <graft/kernels/runtime/cuda.h>

namespace graft::raw {

using namespace kernels;

void fill(Tensor& y, double value) {
  if (y.numel() > 0) run(FillArgs{value, y.ref()}, y);
}

void copy_into(Tensor& y, const Tensor& x) {
  check(x.shape() == y.shape(), "copy: cannot copy ", x, " into ", y);
  check_same_device("copy", x, y);
  if (y.numel() > 0) run(CopyArgs{x.ref(), y.ref()}, y);
}

void axpy(Tensor& y, const Tensor& x, double alpha) {
  check(x.shape() == y.shape() && x.dtype() == y.dtype(), "add_: cannot add ", x, " to ", y);
  check_same_device("add_", x, y);
  if (y.numel() > 0) run(AxpyArgs{alpha, x.ref(), y.ref()}, y);
}

Tensor unary(UnaryOp op, const Tensor& x) {
  Tensor y = x.empty_like();
  if (y.numel() > 0) run(UnaryArgs{op, x.ref(), y.ref()}, x);
  return y;
}

Tensor unary_backward(UnaryOp op, const Tensor& saved, const Tensor& gy) {
  Tensor gx = saved.empty_like();
  if (gx.numel() > 0) run(UnaryBackwardArgs{op, saved.ref(), gy.ref(), gx.ref()}, gy);
  return gx;
}

namespace {

Tensor empty_as(const Tensor& layout, DType dtype) {
  const Shape strides = layout.is_dense() ? layout.strides() : contiguous_strides(layout.shape());
  return make_view(Tensor::empty(layout.shape(), dtype, layout.device()), layout.shape(), strides, 0);
}

}  // namespace

Tensor binary(BinaryOp op, const Tensor& a, const Tensor& b) {
  check_same_device(kernels::name(op), a, b);
  check(a.dtype() == b.dtype(), kernels::name(op), ": dtypes differ: a is ", a, ", b is ", b,
        "; convert one with to(dtype)");
  const Shape shape = broadcast(a.shape(), b.shape(), kernels::name(op));
  const Tensor x = expand(a, shape, kernels::name(op)), z = expand(b, shape, kernels::name(op));
  Tensor y = empty_as(x.is_dense() ? x : z, is_comparison(op) ? DType::boolean : a.dtype());
  if (y.numel() > 0) run(BinaryArgs{op, x.ref(), z.ref(), y.ref()}, y);
  return y;
}

Tensor binary_scalar(BinaryOp op, const Tensor& x, double scalar, bool reversed) {
  Tensor y = empty_as(x, is_comparison(op) ? DType::boolean : x.dtype());
  if (y.numel() > 0) run(BinaryScalarArgs{op, x.ref(), scalar, reversed, y.ref()}, x);
  return y;
}

Tensor chain(const Tensor& x, const ChainSteps& steps) {
  Tensor y = x.empty_like();
  if (y.numel() > 0) run(ChainArgs{x.ref(), steps, y.ref()}, x);
  return y;
}

void binary_scalar_into(BinaryOp op, const Tensor& x, double scalar, Tensor& y) {
  if (y.numel() > 0) run(BinaryScalarArgs{op, x.ref(), scalar, false, y.ref()}, x);
}

Tensor reduce(ReduceOp op, const Tensor& x, unsigned axes) {
  Shape shape = x.shape();
  bool changes = false;
  for (int i = 0; i < shape.rank(); ++i)
    if (axes >> i & 1u) {
      changes = changes || shape[i] != 1;
      shape[i] = 1;
    }
  if (!changes) return x;
  Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  if (y.numel() > 0) run(ReduceArgs{op, x.ref(), y.ref()}, x);
  return y;
}

Tensor cast(const Tensor& x, DType dtype) {
  Tensor y = empty_as(x, dtype);
  copy_into(y, x);
  return y;
}

Tensor transfer(const Tensor& x, Device device) {
  if (x.device().is_cuda() && device.is_cuda()) return transfer(transfer(x, Device::cpu()), device);
  // A dense tensor is one block of memory, whatever the order of its dimensions: it goes over as it is.
  const Tensor dense = x.is_dense() ? x : with_format(x, MemoryFormat::contiguous);
  Tensor y = make_view(Tensor::empty(x.shape(), x.dtype(), device), x.shape(), dense.strides(), 0);
  const auto bytes = static_cast<std::size_t>(x.numel()) * size_of(x.dtype());
  if (bytes == 0) return y;
  if (device.is_cuda()) {
    runtime::copy_to_device(y.ref().data, dense.ref().data, bytes, current_stream(device));
  } else {
    const Stream& stream = current_stream(x.device());
    runtime::copy_to_host(y.ref().data, dense.ref().data, bytes, stream);
    runtime::synchronize(stream);
  }
  return y;
}

Tensor with_format(const Tensor& x, MemoryFormat format) {
  const bool fits = format == MemoryFormat::channels_last ? x.is_channels_last() : x.is_contiguous();
  if (fits) return x;
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device(), format);
  copy_into(y, x);
  return y;
}

Tensor expand(const Tensor& x, const Shape& shape, const char* op) {
  if (x.shape() == shape) return x;
  const int lead = shape.rank() - x.dim();
  check(lead >= 0, op, ": shape ", x.shape(), " does not broadcast to ", shape);
  Shape strides = Shape::filled(shape.rank(), 0);
  for (int i = 0; i < x.dim(); ++i) {
    const std::int64_t size = x.shape()[i];
    check(size == shape[lead + i] || size == 1, op, ": shape ", x.shape(), " does not broadcast to ", shape,
          " (dimension ", lead + i, ")");
    strides[lead + i] = size == shape[lead + i] ? x.strides()[i] : 0;
  }
  return make_view(x, shape, strides, x.storage_offset());
}

Shape broadcast(const Shape& a, const Shape& b, const char* op) {
  const int rank = std::max(a.rank(), b.rank());
  Shape shape = Shape::filled(rank, 1);
  for (int i = 0; i < rank; ++i) {
    const int ia = i - (rank - a.rank()), ib = i - (rank - b.rank());
    const std::int64_t sa = ia < 0 ? 1 : a[ia], sb = ib < 0 ? 1 : b[ib];
    check(sa == sb || sa == 1 || sb == 1, op, ": shapes ", a, " and ", b, " do not broadcast: dimension ", i, " is ",
          sa, " against ", sb);
    shape[i] = sa == 1 ? sb : sa;
  }
  return shape;
}

Tensor sum_to(const Tensor& g, const Shape& shape) {
  if (g.shape() == shape) return g;
  const int lead = g.dim() - shape.rank();
  unsigned axes = 0;
  for (int i = 0; i < g.dim(); ++i)
    if (i < lead || (shape[i - lead] == 1 && g.shape()[i] != 1)) axes |= 1u << i;
  const Tensor kept = reduce(ReduceOp::sum, g, axes);
  return reshape(kept, shape);
}

Tensor drop(const Tensor& x, unsigned axes) {
  Shape shape, strides;
  for (int i = 0; i < x.dim(); ++i)
    if (!(axes >> i & 1u)) {
      shape.push_back(x.shape()[i]);
      strides.push_back(x.strides()[i]);
    }
  return make_view(x, shape, strides, x.storage_offset());
}

namespace {

/// Strides for `shape` over the elements of x without a copy; false where there are none.
bool view_strides(const Tensor& x, const Shape& shape, Shape& strides) {
  strides = Shape::filled(shape.rank(), 1);
  if (x.numel() == 0) {
    strides = contiguous_strides(shape);
    return true;
  }
  // Match runs of old dimensions with runs of new ones of equal product; a run of old ones must lie as one.
  const Shape &old_shape = x.shape(), &old_strides = x.strides();
  int i = old_shape.rank() - 1, j = shape.rank() - 1;
  while (i >= 0 || j >= 0) {
    while (i >= 0 && old_shape[i] == 1) --i;
    while (j >= 0 && shape[j] == 1) --j;
    if (i < 0 || j < 0) break;
    std::int64_t inner = old_strides[i], old_product = old_shape[i], product = 1;
    std::int64_t stride = inner;
    while (true) {
      while (j >= 0 && product < old_product) {
        strides[j] = stride;
        stride *= shape[j];
        product *= shape[j];
        --j;
      }
      if (product == old_product) break;
      // The new run is longer: the next old dimension must continue this one.
      do {
        --i;
      } while (i >= 0 && old_shape[i] == 1);
      if (i < 0 || old_strides[i] != inner * old_product) return false;
      old_product *= old_shape[i];
    }
    --i;
  }
  return true;
}

}  // namespace

Tensor reshape(const Tensor& x, const Shape& wanted) {
  Shape shape = wanted;
  int unknown = -1;
  std::int64_t known = 1;  // empty dimensions counted as 1, so that an overflow shows
  bool empty = false;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] == -1) {
      check(unknown < 0, "reshape: more than one -1 in ", wanted);
      unknown = i;
    } else {
      check(shape[i] >= 0 && !__builtin_mul_overflow(known, std::max<std::int64_t>(shape[i], 1), &known),
            "reshape: impossible size in ", wanted);
      empty = empty || shape[i] == 0;
    }
  }
  if (unknown >= 0) {
    check(!empty && x.numel() % known == 0, "reshape: ", x.shape(), " does not fit ", wanted);
    shape[unknown] = x.numel() / known;
  }
  check(shape.numel() == x.numel(), "reshape: ", x.shape(), " has ", x.numel(), " elements, ", wanted, " would need ",
        shape.numel());
  Shape strides;
  if (view_strides(x, shape, strides)) return make_view(x, shape, strides, x.storage_offset());
  return make_view(with_format(x, MemoryFormat::contiguous), shape, contiguous_strides(shape), 0);
}

int dimension(int dim, int rank, const char* op) {
  check(dim >= -rank && dim < rank, op, ": dimension ", dim, " is out of range for rank ", rank);
  return dim < 0 ? dim + rank : dim;
}

void check_same_device(const char* op, const Tensor& a, const Tensor& b) {
  check(a.device() == b.device(), op, ": arguments lie on different devices: ", a, " and ", b,
        "; move one with to(device)");
}

void check_floating(const char* op, const char* argument, const Tensor& t) {
  check(t.defined(), op, ": ", argument, " is undefined");
  check(is_floating(t.dtype()), op, ": ", argument, " must be of a floating dtype, got ", t);
}

std::uint64_t weight_tag(const Tensor& weight) {
  const auto& storage = weight.storage();
  if (weight.storage_offset() != 0 ||
      storage->bytes() != static_cast<std::size_t>(weight.numel()) * size_of(weight.dtype()))
    return 0;
  std::uint64_t tag = storage->content_tag() * 0x9E3779B97F4A7C15ull;
  for (int i = 0; i < weight.dim(); ++i)
    tag = (tag ^ static_cast<std::uint64_t>(weight.shape()[i] * 31 + weight.strides()[i])) * 0xD1342543DE82EF95ull;
  return tag | 1u;
}

}  // namespace graft::raw
