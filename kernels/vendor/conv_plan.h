// Convolutions as graphs of one operation in cuDNN's graph API: which engines there are for one, and running it.
// Internal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <graft/kernels/api/conv2d.h>
#include <graft/kernels/vendor/context.h>

namespace graft::kernels::vendor {

enum class ConvKind : std::int64_t { forward, backward_data, backward_weight };

/// All that an engine's choice depends on. x, w and y are those of the forward; what the operation writes is
/// beta (what lies there) + the result.
struct ConvSpec {
  ConvKind kind{};
  DType dtype{};
  Shape x, w, y;  // logical NCHW and KCRS sizes; all lie channels-last
  Conv2dGeometry geometry;
  std::int64_t x_alignment = 0, w_alignment = 0, y_alignment = 0;  // bytes
  float beta = 0;
  graft::vendor::Engines engines{};

  PlanKey key() const;
};

/// A descriptor of cuDNN's graph API.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(cudnnBackendDescriptorType_t type);
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }

  cudnnBackendDescriptor_t get() const { return handle_; }

  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count, const void* values);
  void set(cudnnBackendAttributeName_t name, const Descriptor& other);
  void set(cudnnBackendAttributeName_t name, std::int64_t value);
  void finalize();

 private:
  cudnnBackendDescriptor_t handle_ = nullptr;
};

/// What the engines are chosen for: the device of a handle, or one that is only described (CUDNN_BACKEND_DEVICEPROP).
struct ConvTarget {
  cudnnHandle_t handle = nullptr;
  const Descriptor* described = nullptr;
};

/// One engine that can run a convolution.
class ConvPlan {
 public:
  ConvPlan(Descriptor engine_config, const ConvTarget& target);

  std::size_t workspace_bytes() const { return workspace_bytes_; }
  /// x, w and y of the forward, whichever of them is written.
  void run(Context& context, void* x, void* w, void* y, void* workspace) const;

 private:
  Descriptor engine_config_, plan_;
  std::size_t workspace_bytes_ = 0;
};

/// Plans of at most `limit` engines that keep the promises of spec.engines, in the order in which cuDNN expects them to
/// be fast. Throws Error when there is none.
std::vector<std::unique_ptr<ConvPlan>> conv_plans(const ConvSpec& spec, const ConvTarget& target, int limit);

}  // namespace graft::kernels::vendor
