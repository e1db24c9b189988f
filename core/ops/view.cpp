#include <graft/core/ops/view.h>

#include <algorithm>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/raw.h>
#include <graft/core/tensor_state.h>
#include <graft/kernels/api/gather.h>

namespace graft {
namespace {

// --- copies and casts
// -------------------------------------------------------------------------------------------------

/// The identity on values: a clone, a change of layout, a cast.
struct CopyNode final : Node {
  DType dtype;
  explicit CopyNode(DType of_input) : dtype(of_input) {}
  const char* name() const override { return "copy"; }
  void backward(const Tensor& gy, GradSlots& gx) override {
    if (gx.needed(0)) gx.put(0, gy.dtype() == dtype ? gy : raw::cast(gy, dtype));
  }
  void release() override {}
};

/// A copy to another device.
struct TransferNode final : Node {
  Device from;
  explicit TransferNode(Device of_input) : from(of_input) {}
  const char* name() const override { return "to"; }
  void backward(const Tensor& gy, GradSlots& gx) override {
    if (gx.needed(0)) gx.put(0, raw::transfer(gy, from));
  }
  void release() override {}
};

struct ReshapeNode final : Node {
  Shape shape;
  explicit ReshapeNode(const Shape& of_input) : shape(of_input) {}
  const char* name() const override { return "reshape"; }
  void backward(const Tensor& gy, GradSlots& gx) override {
    if (gx.needed(0)) gx.put(0, raw::reshape(gy, shape));
  }
  void release() override {}
};

struct PermuteNode final : Node {
  std::vector<int> order;
  explicit PermuteNode(std::vector<int> o) : order(std::move(o)) {}
  const char* name() const override { return "permute"; }
  void backward(const Tensor& gy, GradSlots& gx) override {
    if (!gx.needed(0)) return;
    std::vector<int> inverse(order.size());
    for (std::size_t i = 0; i < order.size(); ++i) inverse[static_cast<std::size_t>(order[i])] = static_cast<int>(i);
    gx.put(0, permute(gy, inverse));
  }
  void release() override {}
};

/// A view of a part: its gradient is zero elsewhere. as_strided on a dense tensor of x's shape finds the part again.
struct SliceNode final : Node {
  Shape shape;
  int axis;
  std::int64_t start, step;
  SliceNode(const Shape& of_input, int dim, std::int64_t first, std::int64_t by)
      : shape(of_input), axis(dim), start(first), step(by) {}
  const char* name() const override { return "slice"; }
  void backward(const Tensor& gy, GradSlots& gx) override {
    if (!gx.needed(0)) return;
    Tensor full = Tensor::zeros(shape, gy.dtype(), gy.device());
    Shape strides = full.strides();
    if (gy.shape()[axis] > 1) strides[axis] *= step;
    Tensor part = make_view(full, gy.shape(), strides, full.strides()[axis] * start);
    raw::copy_into(part, gy);
    gx.put(0, full);
  }
  void release() override {}
};

struct ExpandNode final : Node {
  Shape shape;
  explicit ExpandNode(const Shape& of_input) : shape(of_input) {}
  const char* name() const override { return "expand"; }
  void backward(const Tensor& gy, GradSlots& gx) override {
    if (gx.needed(0)) gx.put(0, raw::sum_to(gy, shape));
  }
  void release() override {}
};

struct ConcatNode final : Node {
  int axis;
  std::vector<std::int64_t> sizes;
  ConcatNode(int dim, std::vector<std::int64_t> parts) : axis(dim), sizes(std::move(parts)) {}
  const char* name() const override { return "concat"; }
  void backward(const Tensor& gy, GradSlots& gx) override {
    std::int64_t start = 0;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      if (gx.needed(static_cast<int>(i))) gx.put(static_cast<int>(i), slice(gy, axis, start, start + sizes[i]));
      start += sizes[i];
    }
  }
  void release() override {}
};

struct IndexSelectNode final : Node {
  Shape shape;
  int axis;
  Saved index;
  IndexSelectNode(const Shape& of_input, int dim, const Tensor& positions)
      : shape(of_input), axis(dim), index(positions) {}
  const char* name() const override { return "index_select"; }
  void backward(const Tensor& gy, GradSlots& gx) override {
    if (!gx.needed(0)) return;
    const Tensor dense = raw::with_format(gy, MemoryFormat::contiguous);
    Tensor g = Tensor::empty(shape, gy.dtype(), gy.device());
    if (g.numel() > 0)
      raw::run(kernels::IndexSelectBackwardArgs{dense.ref(), index.get(name()).ref(), g.ref(), axis}, g);
    gx.put(0, g);
  }
  void release() override { index = {}; }
};

struct GatherNode final : Node {
  Shape shape;
  int axis;
  Saved index;
  GatherNode(const Shape& of_input, int dim, const Tensor& positions) : shape(of_input), axis(dim), index(positions) {}
  const char* name() const override { return "gather"; }
  void backward(const Tensor& gy, GradSlots& gx) override {
    if (!gx.needed(0)) return;
    const Tensor dense = raw::with_format(gy, MemoryFormat::contiguous);
    Tensor g = Tensor::empty(shape, gy.dtype(), gy.device());
    if (g.numel() > 0) raw::run(kernels::GatherBackwardArgs{dense.ref(), index.get(name()).ref(), g.ref(), axis}, g);
    gx.put(0, g);
  }
  void release() override { index = {}; }
};

/// Ties a fresh tensor to the op that made it, when anybody wants its gradient.
template <class MadeNode, class... Args>
Tensor recorded(Tensor y, const Tensor& x, Args&&... args) {
  if (!any_requires_grad({&x})) return y;
  return record(std::move(y), std::make_shared<MadeNode>(std::forward<Args>(args)...), {x});
}

Tensor contiguous_index(const Tensor& index, const Tensor& x, const char* op) {
  check(index.defined() && index.dtype() == DType::i64, op, ": index must be i64, got ", index);
  raw::check_same_device(op, x, index);
  return raw::with_format(index, MemoryFormat::contiguous);
}

}  // namespace

// --- members of Tensor
// ------------------------------------------------------------------------------------------------

Tensor Tensor::to(Device device) const {
  check(defined(), "to: the tensor is undefined");
  if (device == this->device()) return *this;
  return recorded<TransferNode>(raw::transfer(*this, device), *this, this->device());
}

Tensor Tensor::to(DType dtype) const {
  check(defined(), "to: the tensor is undefined");
  if (dtype == this->dtype()) return *this;
  Tensor y = raw::cast(*this, dtype);
  if (!is_floating(dtype)) return y;
  return recorded<CopyNode>(y, *this, this->dtype());
}

Tensor Tensor::clone() const {
  check(defined(), "clone: the tensor is undefined");
  return recorded<CopyNode>(raw::cast(*this, dtype()), *this, dtype());
}

Tensor Tensor::contiguous(MemoryFormat format) const {
  check(defined(), "contiguous: the tensor is undefined");
  check(format == MemoryFormat::contiguous || dim() == 4, "contiguous: channels-last needs rank 4, the tensor is ",
        *this);
  Tensor y = raw::with_format(*this, format);
  if (y.is_same(*this)) return *this;
  return recorded<CopyNode>(y, *this, dtype());
}

Tensor Tensor::reshape(const Shape& shape) const {
  check(defined(), "reshape: the tensor is undefined");
  return recorded<ReshapeNode>(raw::reshape(*this, shape), *this, this->shape());
}

Tensor Tensor::flatten(int start, int end) const {
  check(defined(), "flatten: the tensor is undefined");
  if (dim() == 0) return reshape({1});
  const int first = raw::dimension(start, dim(), "flatten"), last = raw::dimension(end, dim(), "flatten");
  check(first <= last, "flatten: start ", start, " lies behind end ", end);
  Shape shape_out;
  std::int64_t merged = 1;
  for (int i = 0; i < dim(); ++i) {
    if (i >= first && i <= last) merged *= shape()[i];
    if (i == last) shape_out.push_back(merged);
    if (i < first || i > last) shape_out.push_back(shape()[i]);
  }
  return reshape(shape_out);
}

// --- free functions
// ---------------------------------------------------------------------------------------------------

Tensor permute(const Tensor& x, const std::vector<int>& order) {
  check(x.defined(), "permute: x is undefined");
  check(static_cast<int>(order.size()) == x.dim(), "permute: x has rank ", x.dim(), ", the order names ", order.size(),
        " dimensions");
  Shape shape, strides;
  std::vector<int> dims;
  unsigned seen = 0;
  for (int dim : order) {
    const int d = raw::dimension(dim, x.dim(), "permute");
    check((seen >> d & 1u) == 0, "permute: dimension ", dim, " is named twice");
    seen |= 1u << d;
    dims.push_back(d);
    shape.push_back(x.shape()[d]);
    strides.push_back(x.strides()[d]);
  }
  return recorded<PermuteNode>(make_view(x, shape, strides, x.storage_offset()), x, dims);
}

Tensor transpose(const Tensor& x, int a, int b) {
  check(x.defined(), "transpose: x is undefined");
  std::vector<int> order;
  for (int i = 0; i < x.dim(); ++i) order.push_back(i);
  std::swap(order[static_cast<std::size_t>(raw::dimension(a, x.dim(), "transpose"))],
            order[static_cast<std::size_t>(raw::dimension(b, x.dim(), "transpose"))]);
  return permute(x, order);
}

Tensor slice(const Tensor& x, int dim, std::int64_t start, std::int64_t end, std::int64_t step) {
  check(x.defined(), "slice: x is undefined");
  const int axis = raw::dimension(dim, x.dim(), "slice");
  check(step >= 1, "slice: expected step >= 1, got ", step);
  const std::int64_t size = x.shape()[axis];
  const auto clamp = [size](std::int64_t i) { return std::clamp<std::int64_t>(i < 0 ? i + size : i, 0, size); };
  const std::int64_t first = clamp(start), last = std::max(first, clamp(end));
  Shape shape = x.shape(), strides = x.strides();
  shape[axis] = last > first ? (last - first - 1) / step + 1 : 0;
  if (shape[axis] > 1) strides[axis] *= step;
  const std::int64_t offset = x.storage_offset() + (shape[axis] > 0 ? first * x.strides()[axis] : 0);
  return recorded<SliceNode>(make_view(x, shape, strides, offset), x, x.shape(), axis, shape[axis] > 0 ? first : 0,
                             step);
}

Tensor expand(const Tensor& x, const Shape& shape) {
  check(x.defined(), "expand: x is undefined");
  for (std::int64_t size : shape) check(size >= 0, "expand: negative size in ", shape);
  Tensor y = raw::expand(x, shape, "expand");
  if (y.is_same(x)) return x;
  return recorded<ExpandNode>(y, x, x.shape());
}

Tensor unsqueeze(const Tensor& x, int dim) {
  check(x.defined(), "unsqueeze: x is undefined");
  const int axis = raw::dimension(dim, x.dim() + 1, "unsqueeze");
  Shape shape;
  for (int i = 0; i <= x.dim(); ++i) {
    if (i == axis) shape.push_back(1);
    if (i < x.dim()) shape.push_back(x.shape()[i]);
  }
  return x.reshape(shape);
}

Tensor squeeze(const Tensor& x, int dim) {
  check(x.defined(), "squeeze: x is undefined");
  const int axis = raw::dimension(dim, x.dim(), "squeeze");
  check(x.shape()[axis] == 1, "squeeze: dimension ", dim, " of ", x, " is not 1");
  return recorded<ReshapeNode>(raw::drop(x, 1u << axis), x, x.shape());
}

Tensor concat(const std::vector<Tensor>& parts, int dim) {
  check(!parts.empty(), "concat: no tensors given");
  for (const Tensor& part : parts) check(part.defined(), "concat: a part is undefined");
  const Tensor& first = parts[0];
  const int axis = raw::dimension(dim, first.dim(), "concat");
  Shape shape = first.shape();
  shape[axis] = 0;
  std::vector<std::int64_t> sizes;
  bool wanted = false;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Tensor& part = parts[i];
    Shape expected = first.shape();
    if (part.dim() == first.dim()) expected[axis] = part.shape()[axis];
    check(part.shape() == expected && part.dtype() == first.dtype(), "concat: part ", i, " is ", part,
          ", which does not fit ", first, " along dimension ", dim);
    raw::check_same_device("concat", first, part);
    shape[axis] += part.shape()[axis];
    sizes.push_back(part.shape()[axis]);
    wanted = wanted || any_requires_grad({&part});
  }
  const bool images = first.dim() == 4 && !first.is_contiguous() && first.is_channels_last();
  Tensor y = Tensor::empty(shape, first.dtype(), first.device(),
                           images ? MemoryFormat::channels_last : MemoryFormat::contiguous);
  std::int64_t start = 0;
  for (const Tensor& part : parts) {
    Tensor place = make_view(y, part.shape(), y.strides(), start * y.strides()[axis]);
    raw::copy_into(place, part);
    start += part.shape()[axis];
  }
  if (!wanted) return y;
  return record(y, std::make_shared<ConcatNode>(axis, sizes), std::span<const Tensor>(parts));
}

Tensor index_select(const Tensor& x, int dim, const Tensor& index) {
  check(x.defined(), "index_select: x is undefined");
  const int axis = raw::dimension(dim, x.dim(), "index_select");
  const Tensor positions = contiguous_index(index, x, "index_select");
  check(positions.dim() == 1, "index_select: index must have rank 1, got ", index);
  const Tensor dense = raw::with_format(x, MemoryFormat::contiguous);
  Shape shape = x.shape();
  shape[axis] = positions.numel();
  Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  if (y.numel() > 0) raw::run(kernels::IndexSelectArgs{dense.ref(), positions.ref(), y.ref(), axis}, x);
  return recorded<IndexSelectNode>(y, x, x.shape(), axis, positions);
}

Tensor gather(const Tensor& x, int dim, const Tensor& index) {
  check(x.defined(), "gather: x is undefined");
  const int axis = raw::dimension(dim, x.dim(), "gather");
  const Tensor positions = contiguous_index(index, x, "gather");
  check(positions.dim() == x.dim(), "gather: index must have x's rank ", x.dim(), ", got ", index);
  for (int i = 0; i < x.dim(); ++i)
    check(i == axis || positions.shape()[i] <= x.shape()[i], "gather: index ", index.shape(), " is larger than x ",
          x.shape(), " in dimension ", i);
  const Tensor dense = raw::with_format(x, MemoryFormat::contiguous);
  Tensor y = Tensor::empty(positions.shape(), x.dtype(), x.device());
  if (y.numel() > 0) raw::run(kernels::GatherArgs{dense.ref(), positions.ref(), y.ref(), axis}, x);
  return recorded<GatherNode>(y, x, x.shape(), axis, positions);
}

}  // namespace graft
