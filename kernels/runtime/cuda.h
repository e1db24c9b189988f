// The CUDA runtime behind plain functions: is there a device, memory, copies, waiting. No CUDA header.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <graft/kernels/api/device.h>

namespace graft::runtime {

/// Empty when cuda:index can be used; else the reason: built without CUDA, no driver, no GPU, an architecture that this
/// build has no code for, a process made by fork() after its parent had used CUDA. Never throws.
std::string cuda_unavailable(int index = 0);

/// Why code that was built for `architectures` ("80 90a"; PTX of the first goes along) does not run on a device of this
/// compute capability; "" where it does. cuda_unavailable asks it of this build.
std::string no_code_for(std::string_view architectures, int major, int minor);

/// Reads the environment variables of this part (GRAFT_SYNC, GRAFT_PROFILE, GRAFT_ALLOCATOR). Throws Error for one that
/// makes no sense. Asks no device.
void check_cuda_settings();

/// The number of CUDA devices; 0 where there is no GPU or no driver.
int cuda_device_count();

struct CudaProperties {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  std::size_t memory = 0;            // bytes of device memory
  std::size_t shared_per_block = 0;  // bytes that a block may opt in to
};
const CudaProperties& cuda_properties(int index);

/// Throws Error unless `status` (a cudaError_t) is success: names the call, CUDA's error name and text, the device,
/// and, where a kernel failed, the kernels last launched.
void check_cuda(int status, const char* call);

/// The stream that work of `device` goes to when nobody says otherwise: one of our own, non-blocking, one a device.
Stream default_stream(int device);

// --- memory ---------------------------------------------------------------------------------------------------------

/// Device memory for work on `stream`, at least 256-byte aligned; nullptr for 0 bytes. From the caching allocator.
/// Throws Error that says what was asked for, what is free and what is held.
void* device_allocate(std::size_t bytes, const Stream& stream);

/// Gives a block back; later work on the same stream may get it at once. `block` may be nullptr.
void device_free(void* block, const Stream& stream) noexcept;

/// Page-locked host memory, which copies to and from the device need to overlap with work.
void* pinned_allocate(std::size_t bytes);
void pinned_free(void* block) noexcept;
/// Gives it back once the work that the stream has by now is done.
void pinned_free_after(void* block, const Stream& stream);
/// Whether these bytes lie in memory of pinned_allocate.
bool is_pinned(const void* begin, std::size_t bytes);

/// Starts a copy of `bytes` on the stream. Host memory that is not pinned may be changed as soon as the call returns
/// where it is the source; pinned memory may not before the copy is done. While a graph is being captured only pinned
/// host memory takes part; anything else throws Error.
void copy_to_device(void* to, const void* from, std::size_t bytes, const Stream& stream);
void copy_to_host(void* to, const void* from, std::size_t bytes, const Stream& stream);
void copy_on_device(void* to, const void* from, std::size_t bytes, const Stream& stream);
void set_bytes(void* to, int value, std::size_t bytes, const Stream& stream);

/// Waits for all work of the stream. Throws Error where a kernel failed, or where a kernel reported a fault of its data
/// (an index outside, a division by zero: faults.h).
void synchronize(const Stream& stream);

}  // namespace graft::runtime
