// The caching allocator of each CUDA device: statistics, and what streams and captures must tell it. No CUDA header.
#pragma once

#include <cstddef>
#include <cstdint>

#include <graft/kernels/api/device.h>
#include <graft/kernels/api/export.h>

namespace graft::runtime {

struct GRAFT_API DeviceMemoryStats {
  std::size_t in_use = 0;          // bytes of the blocks handed out
  std::size_t peak = 0;            // highest in_use since the last reset
  std::size_t reserved = 0;        // bytes taken from the device, in use or kept for reuse
  std::size_t blocks = 0;          // handed out
  std::uint64_t system_calls = 0;  // cudaMalloc
};

GRAFT_API DeviceMemoryStats device_memory_stats(int device);
/// Bytes that could be allocated now, in pieces: what the device has free and what is cached here. Other programs may
/// take them.
GRAFT_API std::size_t device_memory_available(int device);
GRAFT_API void device_reset_peak(int device);

/// Waits for the device and gives all memory that nobody uses back to it.
GRAFT_API void device_release_cache(int device);

/// Tells that work on `stream` uses a block that was allocated on another stream: the block is given to nobody else
/// until that work is done. `block` may be nullptr.
GRAFT_API void device_record_stream(void* block, const Stream& stream);

/// Gives a block back on the stream that it was allocated on. `block` may be nullptr.
GRAFT_API void device_free(void* block, Device device) noexcept;

/// While it lives, memory allocated by the calling thread carries this name in the out-of-memory message. The text must
/// live as long as the memory: a literal.
class GRAFT_API AllocationName {
 public:
  explicit AllocationName(const char* name);
  ~AllocationName();
  AllocationName(const AllocationName&) = delete;
  AllocationName& operator=(const AllocationName&) = delete;

 private:
  const char* previous_;
};
GRAFT_API const char* allocation_name();

}  // namespace graft::runtime
