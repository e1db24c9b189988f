// Where memory lies and work runs.
#pragma once

#include <cstdint>
#include <string>

#include <graft/kernels/api/export.h>

namespace graft {

enum class DeviceType : std::uint8_t { cpu, cuda };

struct GRAFT_API Device {
  DeviceType type = DeviceType::cpu;
  std::int8_t index = 0;

  static constexpr Device cpu() { return {DeviceType::cpu, 0}; }
  static constexpr Device cuda(int index = 0) { return {DeviceType::cuda, static_cast<std::int8_t>(index)}; }
  /// cuda:0 where it can be used, else the CPU. (In the runtime, which can ask.)
  static Device best();

  bool is_cpu() const { return type == DeviceType::cpu; }
  bool is_cuda() const { return type == DeviceType::cuda; }
  friend bool operator==(const Device&, const Device&) = default;
};

/// "cpu" or "cuda:0".
GRAFT_API std::string to_string(Device device);

/// The queue that work runs on. On the CPU work is done when the call returns; on CUDA `native` is a cudaStream_t.
struct GRAFT_API Stream {
  Device device = Device::cpu();
  void* native = nullptr;
};

}  // namespace graft
