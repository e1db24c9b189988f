// How long each kernel ran, by events around every launch: GRAFT_PROFILE=1. No CUDA header.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <graft/kernels/api/device.h>

namespace graft::runtime {

/// All launches of one name.
struct KernelTime {
  std::string kernel;
  std::uint64_t launches = 0;
  double milliseconds = 0;  // of the device, in all; what a launch waited for in its stream is not in it
};

/// Whether launches are timed: GRAFT_PROFILE=1 in the environment (then the table goes to stderr when the program
/// ends), or what was set last. Launches that a graph replays have no events around them, so train() captures none
/// while launches are timed.
bool profiling();
void set_profiling(bool on);

/// Of all launches that were timed since the last reset, the longest in all first. Waits for them.
std::vector<KernelTime> kernel_times();
void reset_kernel_times();

/// The same as a table: kernel, launches, milliseconds, microseconds a launch, share of the sum.
std::string kernel_time_table();

/// Around one launch. Without begin(), or where the stream is being captured, it does nothing.
class TimedLaunch {
 public:
  TimedLaunch() = default;
  TimedLaunch(const TimedLaunch&) = delete;
  TimedLaunch& operator=(const TimedLaunch&) = delete;
  ~TimedLaunch();
  /// The stream's device is the current one.
  void begin(const Stream& stream);
  /// The launch was given to the stream. `kernel` is a literal.
  void done(const char* kernel);

 private:
  const Stream* stream_ = nullptr;  // null: not timed
  void* begin_ = nullptr;           // a cudaEvent_t
};

}  // namespace graft::runtime
