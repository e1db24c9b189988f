// Small things that every file of this backend uses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include <graft/kernels/api/contracts.h>
#include <graft/kernels/cpu/simd/kernels.h>
#include <graft/kernels/runtime/host_memory.h>
#include <graft/kernels/runtime/parallel.h>

namespace graft::kernels::cpu {

/// Elements of simple work that make a thread worth waking: ten to thirty microseconds of one core.
inline constexpr std::int64_t kGrain = 32768;

/// The grain for items of `size` elements each.
constexpr std::int64_t grain_of(std::int64_t size) { return size >= kGrain ? 1 : kGrain / (size > 0 ? size : 1); }

/// The grain of a map: exp and the like cost some ten times an addition.
constexpr std::int64_t grain_of_op(UnaryOp op) {
  switch (op) {
    case UnaryOp::exp:
    case UnaryOp::log:
    case UnaryOp::gelu:
    case UnaryOp::gelu_tanh:
    case UnaryOp::sigmoid:
    case UnaryOp::tanh:
    case UnaryOp::silu:
      return kGrain / 8;
    default:
      return kGrain;
  }
}

/// Yes when every defined tensor is f32.
inline Support f32_only(std::initializer_list<const TensorRef*> tensors) {
  for (const TensorRef* t : tensors)
    if (t->defined() && t->dtype != DType::f32) return Support::no(cat("runs f32 only, got ", to_string(*t)));
  return Support::yes();
}

/// The contract first, then f32_only.
template <class Args>
Support contract_and_f32(const Args& args, std::initializer_list<const TensorRef*> tensors) {
  Support support = check_contract(args);
  return support.ok ? f32_only(tensors) : support;
}

/// Scratch memory for one call, from the cache of host blocks: no system allocation once the sizes have been seen.
class Workspace {
 public:
  explicit Workspace(std::size_t bytes) : block_(runtime::host_allocate(bytes)), bytes_(bytes) {}
  ~Workspace() { runtime::host_free(block_, bytes_); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  template <class T>
  T* as() const {
    return static_cast<T*>(block_);
  }

 private:
  void* block_;
  std::size_t bytes_;
};

/// y = max(y, 0), NaN kept, on a dense f32 or bf16 tensor that was just written.
void relu_in_place(const TensorRef& y);

/// `count` floats.
inline Workspace float_workspace(std::int64_t count) {
  return Workspace(static_cast<std::size_t>(count) * sizeof(float));
}

}  // namespace graft::kernels::cpu
