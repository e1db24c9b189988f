// Choosing the fastest of several candidates by running them, and the memory that they work in. Internal.
#pragma once

#include <cstddef>
#include <limits>
#include <string>

#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/device_memory.h>
#include <graft/kernels/runtime/streams.h>

namespace graft::kernels::vendor {

/// Memory of the device for one call, from the caching allocator.
class Workspace {
 public:
  Workspace(std::size_t bytes, const Stream& stream) : stream_(stream), bytes_(bytes) {
    const runtime::AllocationName name("workspace of a vendor library");
    data_ = runtime::device_allocate(bytes, stream);
  }
  ~Workspace() { runtime::device_free(data_, stream_); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

 private:
  const Stream& stream_;
  void* data_ = nullptr;
  std::size_t bytes_;
};

/// The candidates that a shape's first call tries.
inline constexpr int kCandidates = 16;

/// Milliseconds that the device takes for `run()`: the best of three, after one that loads the code.
template <class Run>
float milliseconds(const Stream& stream, Run&& run) {
  run();
  float best = std::numeric_limits<float>::max();
  runtime::Event begin(stream.device.index, true), end(stream.device.index, true);
  for (int i = 0; i < 3; ++i) {
    begin.record(stream);
    run();
    end.record(stream);
    end.synchronize();
    best = std::min(best, end.elapsed_ms(begin));
  }
  return best;
}

/// The index of the candidate for which `run(i)` takes the least time. One that fails is passed over. Throws the first
/// one's Error when all fail.
template <class Run>
std::size_t fastest(std::size_t count, const Stream& stream, Run&& run) {
  std::size_t best = count;
  float best_time = std::numeric_limits<float>::max();
  std::string first_error;
  for (std::size_t i = 0; i < count; ++i) {
    try {
      const float time = milliseconds(stream, [&] { run(i); });
      if (best == count || time < best_time) best = i, best_time = time;
    } catch (const Error& error) {
      if (first_error.empty()) first_error = error.what();
    }
  }
  check(best < count, "none of ", count, " candidates runs; the first: ", first_error);
  return best;
}

}  // namespace graft::kernels::vendor
