// What stands around every kernel launch: the NVTX range, the check of its status, GRAFT_SYNC=1, GRAFT_PROFILE=1. No
// CUDA header.
#pragma once

#include <array>
#include <cstddef>

#include <graft/kernels/api/device.h>
#include <graft/kernels/runtime/timed_launch.h>

namespace graft::runtime {

/// Lives while one kernel is launched. Makes the stream's device current and opens an NVTX range named after the
/// kernel.
class LaunchScope {
 public:
  LaunchScope(const char* kernel, const Stream& stream);
  ~LaunchScope();
  LaunchScope(const LaunchScope&) = delete;
  LaunchScope& operator=(const LaunchScope&) = delete;

  /// Takes the launch's status (a cudaError_t). Throws Error naming the kernel when it failed; with GRAFT_SYNC=1 in the
  /// environment waits for the kernel first. Otherwise remembers the name, so that a failure seen later can say what
  /// had been launched.
  void finish(int status, std::array<unsigned, 3> grid, std::array<unsigned, 3> block, std::size_t shared_bytes);

 private:
  const char* kernel_;
  const Stream& stream_;
  TimedLaunch timed_;
};

/// Makes a kernel ready for a launch on the device, which is current: loads it at its first, and where its static shared
/// memory and this much dynamic go beyond the 48 KiB that any may have, opts in. What it was allowed before stays
/// allowed: another thread's launch or a graph may rely on it. Also while the calling thread captures: neither is part
/// of the capture. A cudaError_t.
int prepare_kernel(const void* kernel, int device, std::size_t dynamic_bytes);

/// Whether every launch is waited for, so that an error is found where it arises: GRAFT_SYNC=1 in the environment, or
/// what was set last. Not while a graph is being captured.
void set_synchronous_launches(bool on);
bool synchronous_launches();

}  // namespace graft::runtime
