// CUDA devices as a program sees them: what there is, memory, streams, graphs. No CUDA header.
#pragma once

#include <string>

#include <graft/core/tensor.h>
#include <graft/kernels/api/export.h>
#include <graft/kernels/runtime/activity.h>
#include <graft/kernels/runtime/device_memory.h>
#include <graft/kernels/runtime/profile.h>
#include <graft/kernels/runtime/streams.h>

namespace graft::cuda {

/// Whether Device::cuda(index) can be used. Never throws.
GRAFT_API bool is_available(int index = 0);
/// Why not: no CUDA in this build, no driver, no GPU, a GPU that is too old, an index beyond those there are; "" when
/// it can be used.
GRAFT_API std::string why_not(int index = 0);
/// 0 where there is none.
GRAFT_API int device_count();
/// "NVIDIA H100 80GB HBM3". Throws Error for an index beyond those there are.
GRAFT_API std::string device_name(int index = 0);

/// Waits for all work of the calling thread's current stream on the device; nothing to do on the CPU. Throws Error
/// where a kernel failed or found a fault in its data.
GRAFT_API void synchronize(Device device = Device::cuda());
/// With true every kernel is waited for (as GRAFT_SYNC=1 does), so that an error names the kernel that made it.
GRAFT_API void set_synchronous(bool on);

using MemoryStats = runtime::DeviceMemoryStats;
GRAFT_API MemoryStats memory_stats(Device device = Device::cuda());
GRAFT_API void reset_peak_memory(Device device = Device::cuda());
/// Waits for the device and gives memory that no tensor uses back to it.
GRAFT_API void release_cache(Device device = Device::cuda());

/// What the host has done with devices so far: launches, copies, waits, allocations.
using Activity = runtime::DeviceActivity;
using runtime::device_activity;

/// How long each kernel ran: GRAFT_PROFILE=1, or set_profiling(true).
using runtime::kernel_time_table;
using runtime::kernel_times;
using runtime::KernelTime;
using runtime::profiling;
using runtime::reset_kernel_times;
using runtime::set_profiling;

/// Tells that work on `stream` uses a tensor that was made on another stream: its memory is given to nobody else until
/// that work is done.
GRAFT_API void record_stream(const Tensor& tensor, const graft::Stream& stream);

using Stream = runtime::OwnedStream;
using runtime::AllocationName;
using runtime::Event;
using runtime::Graph;
using runtime::GraphCapture;
using runtime::StreamScope;

}  // namespace graft::cuda
