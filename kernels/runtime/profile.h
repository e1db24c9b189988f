// How long each kernel ran, by events around every launch: GRAFT_PROFILE=1. No CUDA header.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <graft/kernels/api/export.h>

namespace graft::runtime {

/// All launches of one name.
struct GRAFT_API KernelTime {
  std::string kernel;
  std::uint64_t launches = 0;
  double milliseconds = 0;  // of the device, in all; what a launch waited for in its stream is not in it
};

/// Whether launches are timed: GRAFT_PROFILE=1 in the environment (then the table goes to stderr when the program
/// ends), or what was set last. Launches that a graph replays have no events around them, so train() captures none
/// while launches are timed.
GRAFT_API bool profiling();
GRAFT_API void set_profiling(bool on);

/// Of all launches that were timed since the last reset, the longest in all first. Waits for them.
GRAFT_API std::vector<KernelTime> kernel_times();
GRAFT_API void reset_kernel_times();

/// The same as a table: kernel, launches, milliseconds, microseconds a launch, share of the sum.
GRAFT_API std::string kernel_time_table();

}  // namespace graft::runtime
