#include <graft/core/tensor.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>

#include <graft/core/autograd/engine.h>
#include <graft/core/autograd/node.h>
#include <graft/core/ops/raw.h>
#include <graft/core/tensor_state.h>

namespace graft {
namespace {

/// Throws Error unless sizes and strides of a tensor of this shape can be computed without overflow: the product of the
/// sizes, empty dimensions counted as 1, must fit.
void check_shape(const Shape& shape) {
  std::int64_t elements = 1;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] < 0) fail("Tensor: dimension ", i, " of shape ", to_string(shape), " is negative");
    if (__builtin_mul_overflow(elements, std::max<std::int64_t>(shape[i], 1), &elements) ||
        elements > std::numeric_limits<std::int64_t>::max() / 16)
      fail("Tensor: shape ", to_string(shape), " has more elements than can be addressed");
  }
}

/// The shape was checked.
Tensor make_tensor(const Shape& shape, const Shape& strides, DType dtype, Device device) {
  auto state = std::make_shared<TensorState>();
  state->shape = shape;
  state->strides = strides;
  state->dtype = dtype;
  state->storage = std::make_shared<Storage>(static_cast<std::size_t>(shape.numel()) * size_of(dtype), device);
  return Tensor(std::move(state));
}

/// Does a view with these strides stay inside [0, capacity)? Sizes and strides are not negative.
bool stays_inside(const Shape& shape, const Shape& strides, std::int64_t offset, std::int64_t capacity) {
  if (offset < 0 || offset > capacity) return false;
  for (std::int64_t size : shape)
    if (size == 0) return true;
  std::int64_t last = offset;
  for (int i = 0; i < shape.rank(); ++i) {
    std::int64_t reach = 0;
    if (__builtin_mul_overflow(shape[i] - 1, strides[i], &reach) || __builtin_add_overflow(last, reach, &last))
      return false;
  }
  return last < capacity;
}

}  // namespace

Tensor make_view(const Tensor& base, const Shape& shape, const Shape& strides, std::int64_t offset) {
  auto state = std::make_shared<TensorState>();
  state->shape = shape;
  state->strides = strides;
  state->offset = offset;
  state->dtype = base.dtype();
  state->storage = base.storage();
  return Tensor(std::move(state));
}

// --- making tensors
// ---------------------------------------------------------------------------------------------------

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device, MemoryFormat format) {
  check_shape(shape);
  return make_tensor(shape,
                     format == MemoryFormat::channels_last ? channels_last_strides(shape) : contiguous_strides(shape),
                     dtype, device);
}

Tensor Tensor::full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  raw::fill(t, value);
  return t;
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) { return full(shape, 0, dtype, device); }
Tensor Tensor::ones(const Shape& shape, DType dtype, Device device) { return full(shape, 1, dtype, device); }

Tensor Tensor::arange(std::int64_t n, Device device) {
  check(n >= 0, "arange: expected n >= 0, got ", n);
  Tensor t = empty({n}, DType::i64);
  auto* values = t.data<std::int64_t>();
  for (std::int64_t i = 0; i < n; ++i) values[i] = i;
  return t.to(device);
}

Tensor Tensor::from_bytes(const void* values, std::size_t count, DType dtype, const Shape& shape, Device device) {
  Tensor t = empty(shape, dtype);
  check(static_cast<std::int64_t>(count) == t.numel(), "Tensor::from: shape ", shape, " holds ", t.numel(),
        " elements, got ", count);
  if (count > 0) std::memcpy(t.host_pointer(dtype), values, count * size_of(dtype));
  return t.to(device);
}

Tensor Tensor::wrap(void* data, const Shape& shape, DType dtype, std::shared_ptr<void> owner) {
  check_shape(shape);
  check(data != nullptr || shape.numel() == 0, "Tensor::wrap: no memory (null pointer) for shape ", shape);
  auto state = std::make_shared<TensorState>();
  state->shape = shape;
  state->strides = contiguous_strides(shape);
  state->dtype = dtype;
  state->storage = std::make_shared<Storage>(data, static_cast<std::size_t>(shape.numel()) * size_of(dtype),
                                             Device::cpu(), std::move(owner));
  return Tensor(std::move(state));
}

Tensor Tensor::empty_like() const {
  const TensorState& s = checked();
  return make_tensor(s.shape, is_dense() ? s.strides : contiguous_strides(s.shape), s.dtype, device());
}

Tensor Tensor::zeros_like() const {
  Tensor t = empty_like();
  raw::fill(t, 0);
  return t;
}

// --- what it is
// -------------------------------------------------------------------------------------------------------

const TensorState& Tensor::checked() const {
  check(state_ != nullptr, "an undefined tensor was used: it has no shape and no elements");
  return *state_;
}

const Shape& Tensor::shape() const { return checked().shape; }
const Shape& Tensor::strides() const { return checked().strides; }
DType Tensor::dtype() const { return checked().dtype; }
Device Tensor::device() const { return checked().storage->device(); }
const std::shared_ptr<Storage>& Tensor::storage() const { return checked().storage; }
std::int64_t Tensor::storage_offset() const { return checked().offset; }
const std::string& Tensor::name() const { return checked().name; }

Tensor& Tensor::set_name(std::string name) {
  checked();
  state_->name = std::move(name);
  return *this;
}

std::int64_t Tensor::size(int i) const {
  const int rank = dim();
  check(i >= -rank && i < rank, "size: dimension ", i, " is out of range for shape ", shape());
  return shape()[i < 0 ? i + rank : i];
}

bool Tensor::is_contiguous() const { return kernels::is_contiguous(ref()); }
bool Tensor::is_channels_last() const { return kernels::is_channels_last(ref()); }

bool Tensor::is_dense() const {
  const TensorState& s = checked();
  if (s.shape.numel() == 0) return true;
  // From the innermost dimension out, each must begin where those before it end.
  std::int64_t filled = 1;
  unsigned left = 0;
  for (int i = 0; i < s.shape.rank(); ++i)
    if (s.shape[i] != 1) left |= 1u << i;
  while (left != 0) {
    int next = -1;
    for (int i = 0; i < s.shape.rank() && next < 0; ++i)
      if ((left >> i & 1u) != 0 && s.strides[i] == filled) next = i;
    if (next < 0) return false;
    filled *= s.shape[next];
    left &= ~(1u << next);
  }
  return true;
}

// --- elements
// ---------------------------------------------------------------------------------------------------------

void* Tensor::host_pointer(DType dtype) const {
  const TensorState& s = checked();
  check(s.dtype == dtype, "data: the tensor", s.name.empty() ? "" : " '", s.name, s.name.empty() ? "" : "'", " holds ",
        graft::name(s.dtype), ", asked for as ", graft::name(dtype));
  check(s.storage->device().is_cpu(), "data: the tensor lies on ", s.storage->device(),
        "; copy it with to(Device::cpu()) first");
  return ref().data;
}

void Tensor::touch() {
  if (state_) state_->storage->touch();
}

kernels::TensorRef Tensor::ref() const {
  const TensorState& s = checked();
  auto* base = static_cast<std::byte*>(s.storage->data());
  return {base ? base + s.offset * static_cast<std::int64_t>(size_of(s.dtype)) : nullptr, s.dtype, s.shape, s.strides};
}

double Tensor::item() const {
  check(numel() == 1, "item: expected a tensor of one element, got ", *this);
  double value = 0;
  copy_out(&value, DType::f64);
  return value;
}

void Tensor::copy_out(void* destination, DType dtype) const {
  NoGrad no_grad;
  const Tensor host = detach().to(Device::cpu()).to(dtype).contiguous();
  if (host.numel() > 0)
    std::memcpy(destination, host.ref().data, static_cast<std::size_t>(host.numel()) * size_of(dtype));
}

std::string to_string(const Tensor& t) {
  return t.defined() ? cat(name(t.dtype()), " ", to_string(t.shape()), " on ", to_string(t.device())) : "undefined";
}

// --- in-place changes
// -------------------------------------------------------------------------------------------------

namespace {

void check_in_place(const char* op, const Tensor& t, const Tensor* other = nullptr) {
  if (!grad_enabled()) return;
  const std::string quoted = t.name().empty() ? std::string() : cat(" '", t.name(), "'");
  check(!(t.is_leaf() && t.requires_grad()), op, ": the leaf", quoted,
        " requires grad, so changing it in place would make its gradient wrong; do it under NoGrad");
  check(!t.requires_grad(), op, ": the tensor", quoted,
        " is part of the graph, and in-place changes are not recorded; use the op that returns a new tensor");
  check(other == nullptr || !other->requires_grad(), op,
        ": the source requires grad, and in-place changes are not recorded; detach() it or use NoGrad");
}

/// x, or a copy of it where writing to `target` could change elements of x that are yet to be read.
Tensor apart(const Tensor& x, const Tensor& target) {
  if (x.storage() != target.storage()) return x;
  const bool same = x.storage_offset() == target.storage_offset() && x.dtype() == target.dtype() &&
                    x.shape() == target.shape() && x.strides() == target.strides();
  return same ? x : raw::cast(x, x.dtype());
}

}  // namespace

Tensor& Tensor::copy_(const Tensor& source) {
  check_in_place("copy_", *this, &source);
  const Tensor moved = apart(source.detach().to(device()), *this);
  raw::copy_into(*this, raw::expand(moved, shape(), "copy_"));
  bump_version();
  return *this;
}

Tensor& Tensor::fill_(double value) {
  check_in_place("fill_", *this);
  raw::fill(*this, value);
  bump_version();
  return *this;
}

Tensor& Tensor::add_(const Tensor& other, double alpha) {
  check_in_place("add_", *this, &other);
  raw::axpy(*this, raw::expand(apart(other.detach(), *this), shape(), "add_"), alpha);
  bump_version();
  return *this;
}

Tensor& Tensor::mul_(double factor) {
  check_in_place("mul_", *this);
  raw::binary_scalar_into(kernels::BinaryOp::mul, *this, factor, *this);
  bump_version();
  return *this;
}

std::uint64_t Tensor::version() const { return checked().storage->version(); }
void Tensor::bump_version() { checked().storage->bump_version(); }

// --- autograd
// ---------------------------------------------------------------------------------------------------------

bool Tensor::requires_grad() const { return checked().requires_grad; }
bool Tensor::is_leaf() const { return checked().grad_fn == nullptr; }
Tensor Tensor::grad() const { return checked().grad; }
const std::shared_ptr<Node>& Tensor::grad_fn() const { return checked().grad_fn; }

Tensor& Tensor::requires_grad_(bool value) {
  const TensorState& s = checked();
  check(s.grad_fn == nullptr, "requires_grad_: the tensor was made by '", s.grad_fn ? s.grad_fn->name() : "",
        "', only leaves can be told; use detach()");
  check(!value || is_floating(s.dtype), "requires_grad_: gradients need a floating dtype, the tensor is ", *this);
  state_->requires_grad = value;
  return *this;
}

Tensor& Tensor::set_data(const Tensor& value) {
  const TensorState& s = checked();
  check(s.grad_fn == nullptr, "set_data: the tensor was made by '", s.grad_fn ? s.grad_fn->name() : "",
        "', only leaves can be given other elements; use detach()");
  check(value.defined() && value.shape() == s.shape, "set_data: the tensor is ", *this, ", the value ", value,
        "; expected the same shape");
  check(value.is_leaf(), "set_data: the value is the result of a recorded op; use detach()");
  check(!s.requires_grad || is_floating(value.dtype()), "set_data: the tensor requires grad, the value is ", value,
        ", expected a floating dtype");
  const TensorState& other = *value.state_;
  state_->strides = other.strides;
  state_->offset = other.offset;
  state_->dtype = other.dtype;
  state_->storage = other.storage;
  if (s.grad.defined() && (s.grad.dtype() != other.dtype || !(s.grad.device() == value.device()))) state_->grad = {};
  return *this;
}

void Tensor::set_grad(const Tensor& gradient) {
  const TensorState& s = checked();
  if (gradient.defined())
    check(gradient.shape() == s.shape && gradient.dtype() == s.dtype && gradient.device() == device(),
          "set_grad: the tensor is ", *this, ", the gradient ", gradient);
  state_->grad = gradient;
}

void Tensor::backward(const Tensor& gradient, bool retain_graph) const { run_backward(*this, gradient, retain_graph); }

Tensor Tensor::detach() const {
  const TensorState& s = checked();
  Tensor t = make_view(*this, s.shape, s.strides, s.offset);
  t.state_->name = s.name;
  return t;
}

int Tensor::register_hook(std::function<Tensor(const Tensor&)> hook) const {
  const TensorState& s = checked();
  check(s.requires_grad, "register_hook: the tensor does not require grad, so the hook would never be called");
  auto& hooks = s.grad_fn ? s.grad_fn->hooks : state_->hooks;
  static std::atomic<int> next{0};  // never given twice, so that a stale id removes nobody else's hook
  const int id = next.fetch_add(1, std::memory_order_relaxed);
  hooks.emplace_back(id, std::move(hook));
  return id;
}

void Tensor::remove_hook(int id) const {
  const TensorState& s = checked();
  auto& hooks = s.grad_fn ? s.grad_fn->hooks : state_->hooks;
  check(std::erase_if(hooks, [&](const auto& entry) { return entry.first == id; }) > 0,
        "remove_hook: no hook has the id ", id);
}

Tensor Tensor::as_strided(const Shape& shape, const Shape& strides, std::int64_t offset) const {
  const TensorState& s = checked();
  check_shape(shape);
  check(shape.rank() == strides.rank(), "as_strided: shape ", shape, " and strides ", strides, " differ in rank");
  for (std::int64_t stride : strides) check(stride >= 0, "as_strided: strides must not be negative");
  const auto capacity = static_cast<std::int64_t>(s.storage->bytes() / size_of(s.dtype));
  check(stays_inside(shape, strides, offset, capacity), "as_strided: shape ", shape, ", strides ", strides, ", offset ",
        offset, " reach outside the storage of ", capacity, " elements");
  return make_view(*this, shape, strides, offset);
}

}  // namespace graft
