// The events around one launch, for profile.h.
#pragma once

#include <graft/kernels/api/device.h>

namespace graft::runtime {

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
