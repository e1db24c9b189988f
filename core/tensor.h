// Tensor: a cheap handle on shared state. Copying a Tensor copies the handle, not the elements.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <graft/core/storage.h>
#include <graft/kernels/api/export.h>
#include <graft/kernels/api/tensor_ref.h>

namespace graft {

class Node;
struct TensorState;

/// How a 4-D tensor lies in memory. Shapes are logical NCHW either way.
enum class MemoryFormat : std::uint8_t { contiguous, channels_last };

class GRAFT_API Tensor {
 public:
  /// An undefined tensor: no storage, no shape. `defined()` is false and most calls throw.
  Tensor() = default;

  // --- making tensors
  // -------------------------------------------------------------------------------------------------
  /// Uninitialised elements.
  static Tensor empty(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu(),
                      MemoryFormat format = MemoryFormat::contiguous);
  static Tensor full(const Shape& shape, double value, DType dtype = DType::f32, Device device = Device::cpu());
  static Tensor zeros(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu());
  static Tensor ones(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu());
  /// 0, 1, .., n - 1 as i64.
  static Tensor arange(std::int64_t n, Device device = Device::cpu());
  /// Copies `values` (row-major). Throws Error unless there are shape.numel() of them.
  template <class T>
  static Tensor from(std::span<const T> values, const Shape& shape, Device device = Device::cpu()) {
    return from_bytes(values.data(), values.size(), dtype_of<T>, shape, device);
  }
  template <class T>
  static Tensor from(const std::vector<T>& values, const Shape& shape, Device device = Device::cpu()) {
    return from(std::span<const T>(values), shape, device);
  }
  template <class T>
  static Tensor from(std::initializer_list<T> values, const Shape& shape, Device device = Device::cpu()) {
    return from(std::span<const T>(values.begin(), values.size()), shape, device);
  }
  /// A view on memory that `owner` keeps alive. Row-major.
  static Tensor wrap(void* data, const Shape& shape, DType dtype, std::shared_ptr<void> owner);
  /// An uninitialised tensor of the same shape, dtype, device and (where dense) memory order.
  Tensor empty_like() const;
  Tensor zeros_like() const;

  // --- what it is
  // -----------------------------------------------------------------------------------------------------
  bool defined() const { return state_ != nullptr; }
  const Shape& shape() const;
  const Shape& strides() const;
  int dim() const { return shape().rank(); }
  /// The size of dimension i; negative i counts from the end. Throws Error when out of range.
  std::int64_t size(int i) const;
  std::int64_t numel() const { return shape().numel(); }
  DType dtype() const;
  Device device() const;
  bool is_contiguous() const;
  bool is_channels_last() const;
  /// The elements fill a block without gaps or overlap, in some order of the dimensions.
  bool is_dense() const;

  // --- elements
  // -------------------------------------------------------------------------------------------------------
  /// Pointer to the first element. Throws Error when T is not the dtype or the memory is not the host's. Never
  /// migrates. Who writes through a pointer kept for later calls bump_version() afterwards.
  template <class T>
  T* data() {
    touch();
    return static_cast<T*>(host_pointer(dtype_of<T>));
  }
  template <class T>
  const T* data() const {
    return static_cast<const T*>(host_pointer(dtype_of<T>));
  }
  /// The only element of a one-element tensor, as a double. Throws Error when there is not exactly one. On a device
  /// this waits for its work.
  double item() const;
  /// All elements in logical row-major order, converted to T. On a device this waits for its work.
  template <class T>
  std::vector<T> to_vector() const {
    std::vector<T> values(static_cast<std::size_t>(numel()));
    copy_out(values.data(), dtype_of<T>);
    return values;
  }
  kernels::TensorRef ref() const;

  // --- copies and views (differentiable; see core/ops/view.h for more) ----------------------------------------------
  /// This tensor if it already is there, else a copy in the same memory order (row-major when this one is not dense).
  /// Beside copy_, which names its target, the only way between devices. The gradient goes back to this device.
  Tensor to(Device device) const;
  /// This tensor if it already has the dtype, else a converted copy.
  Tensor to(DType dtype) const;
  Tensor clone() const;
  /// This tensor if it already lies so, else a copy that does.
  Tensor contiguous(MemoryFormat format = MemoryFormat::contiguous) const;
  /// One -1 is computed. A view where the strides allow it, else a copy.
  Tensor reshape(const Shape& shape) const;
  /// Merges dimensions start..end in logical (row-major, so CHW) order.
  Tensor flatten(int start = 0, int end = -1) const;

  // --- in-place changes: each bumps the version; throws Error on a leaf that requires grad unless under NoGrad ------
  Tensor& copy_(const Tensor& source);  // broadcasts, converts dtype, and comes from any device
  Tensor& fill_(double value);
  Tensor& zero_() { return fill_(0); }
  Tensor& add_(const Tensor& other, double alpha = 1);
  Tensor& mul_(double factor);
  std::uint64_t version() const;
  /// Tells that the elements were changed through a pointer.
  void bump_version();

  // --- autograd
  // -------------------------------------------------------------------------------------------------------
  bool requires_grad() const;
  /// Leaves only, floating dtypes only; throws Error otherwise.
  Tensor& requires_grad_(bool value = true);
  bool is_leaf() const;
  /// The accumulated gradient of a leaf, or an undefined tensor.
  Tensor grad() const;
  /// Gives every handle on this tensor other elements: `value`'s storage, layout and dtype, on whatever device. The
  /// gradient is cleared when it no longer fits. Leaves only; throws Error when the shape differs or `value` is part of
  /// a graph.
  Tensor& set_data(const Tensor& value);
  /// An undefined tensor clears it. Throws Error when shape, dtype or device differ.
  void set_grad(const Tensor& gradient);
  /// Computes the gradient of this tensor with respect to every leaf below it that requires grad, and adds it to their
  /// grad(). `gradient` is this tensor's own gradient; it may be left out for a one-element tensor (1). The graph is
  /// freed unless `retain_graph`; a second backward through it is an error.
  void backward(const Tensor& gradient = {}, bool retain_graph = false) const;
  /// The same elements outside the graph.
  Tensor detach() const;
  /// Calls `hook` with the gradient of this tensor during backward, once it is complete; a defined result replaces it.
  /// Returns an id for remove_hook.
  int register_hook(std::function<Tensor(const Tensor&)> hook) const;
  void remove_hook(int id) const;
  /// The op that made it, or nullptr for a leaf.
  const std::shared_ptr<Node>& grad_fn() const;

  /// A name for error messages ("layer1.0.conv1.weight").
  Tensor& set_name(std::string name);
  const std::string& name() const;

  /// True when both are handles on one state.
  bool is_same(const Tensor& other) const { return state_ == other.state_; }
  const std::shared_ptr<Storage>& storage() const;
  std::int64_t storage_offset() const;  // in elements

  /// Another view on this storage, outside the graph. Throws Error when it would reach outside the storage.
  Tensor as_strided(const Shape& shape, const Shape& strides, std::int64_t offset) const;

  /// For the engine and the ops.
  TensorState* state() const { return state_.get(); }
  const std::shared_ptr<TensorState>& shared_state() const { return state_; }
  explicit Tensor(std::shared_ptr<TensorState> state) : state_(std::move(state)) {}

 private:
  static Tensor from_bytes(const void* values, std::size_t count, DType dtype, const Shape& shape, Device device);
  void* host_pointer(DType dtype) const;
  void touch();
  void copy_out(void* destination, DType dtype) const;
  const TensorState& checked() const;

  std::shared_ptr<TensorState> state_;
};

/// "f32 (2, 3) on cpu" for error messages.
GRAFT_API std::string to_string(const Tensor& t);

}  // namespace graft
