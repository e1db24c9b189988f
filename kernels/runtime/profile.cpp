#include <graft/kernels/runtime/profile.h>

#include <cuda_runtime_api.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>

#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/cuda_check.h>
#include <graft/kernels/runtime/settings.h>
#include <graft/kernels/runtime/streams.h>
#include <graft/kernels/runtime/timed_launch.h>

namespace graft::runtime {
namespace {

class Times {
 public:
  /// An event of the current device.
  cudaEvent_t event(int device) {
    const std::lock_guard lock(mutex_);
    std::vector<cudaEvent_t>& spare = spare_[device];
    if (spare.empty()) {
      cudaEvent_t made = nullptr;
      check_cuda(cudaEventCreate(&made), "cudaEventCreate");
      return made;
    }
    const cudaEvent_t last = spare.back();
    spare.pop_back();
    return last;
  }

  void give_back(int device, cudaEvent_t event) {
    const std::lock_guard lock(mutex_);
    spare_[device].push_back(event);
  }

  void add(const char* kernel, int device, cudaEvent_t begin, cudaEvent_t end) {
    constexpr std::size_t kMostPending = 4096;  // events are kept until then, so that nothing waits in between
    const std::lock_guard lock(mutex_);
    pending_.push_back({kernel, device, begin, end});
    if (pending_.size() >= kMostPending) collect(pending_.size() / 2);
  }

  std::vector<KernelTime> all() {
    const std::lock_guard lock(mutex_);
    collect(pending_.size());
    std::vector<KernelTime> sorted;
    for (const auto& [kernel, time] : times_) sorted.push_back({kernel, time.launches, time.milliseconds});
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const KernelTime& a, const KernelTime& b) { return a.milliseconds > b.milliseconds; });
    return sorted;
  }

  void reset() {
    const std::lock_guard lock(mutex_);
    collect(pending_.size());
    times_.clear();
  }

 private:
  struct Pending {
    const char* kernel;
    int device;
    cudaEvent_t begin, end;
  };
  struct Time {
    std::uint64_t launches = 0;
    double milliseconds = 0;
  };

  // Waits for the first `count` launches and adds them up.
  void collect(std::size_t count) {
    const OutsideCapture outside;  // by this thread
    for (; count > 0; --count) {
      const Pending launch = pending_.front();
      pending_.pop_front();
      float milliseconds = 0;
      // A kernel that failed is told by whoever waits for its stream; here it only has no time.
      if (cudaEventSynchronize(launch.end) == cudaSuccess &&
          cudaEventElapsedTime(&milliseconds, launch.begin, launch.end) == cudaSuccess) {
        Time& time = times_[launch.kernel];
        ++time.launches;
        time.milliseconds += milliseconds;
      }
      spare_[launch.device].insert(spare_[launch.device].end(), {launch.begin, launch.end});
    }
  }

  std::mutex mutex_;
  std::map<int, std::vector<cudaEvent_t>> spare_;
  std::deque<Pending> pending_;
  std::map<std::string, Time> times_;
};

Times& times() {
  static Times* instance = new Times;
  return *instance;
}

bool asked_for() {
  static const bool asked = switch_setting("GRAFT_PROFILE");
  return asked;
}

std::atomic<bool>& switched_on() {
  static std::atomic<bool> on = asked_for();
  return on;
}

// Called when the CUDA runtime has started, so that it is registered after the runtime's own end and runs before it.
void print_at_exit() {
  [[maybe_unused]] static const int registered = std::atexit([] {
    if (!cuda_lost_by_fork()) std::fputs(kernel_time_table().c_str(), stderr);  // else the parent prints it
  });
}

}  // namespace

bool profiling() { return switched_on().load(std::memory_order_relaxed); }
void set_profiling(bool on) { switched_on().store(on); }

std::vector<KernelTime> kernel_times() { return times().all(); }
void reset_kernel_times() { times().reset(); }

std::string kernel_time_table() {
  const std::vector<KernelTime> all = kernel_times();
  KernelTime sum{"sum"};
  for (const KernelTime& time : all) {
    sum.launches += time.launches;
    sum.milliseconds += time.milliseconds;
  }
  char line[160];
  const auto row = [&](const KernelTime& time) {
    std::snprintf(line, sizeof line, "%-40s %10llu %12.3f %12.2f %6.1f%%\n", time.kernel.c_str(),
                  static_cast<unsigned long long>(time.launches), time.milliseconds,
                  1e3 * time.milliseconds / static_cast<double>(std::max<std::uint64_t>(time.launches, 1)),
                  sum.milliseconds > 0 ? 100 * time.milliseconds / sum.milliseconds : 0.0);
    return std::string(line);
  };
  std::snprintf(line, sizeof line, "%-40s %10s %12s %12s %7s\n", "kernel", "launches", "ms", "us a launch", "share");
  std::string table = line;
  for (const KernelTime& time : all) table += row(time);
  return table + row(sum);
}

// The launch failed.
TimedLaunch::~TimedLaunch() {
  if (stream_ != nullptr) times().give_back(stream_->device.index, static_cast<cudaEvent_t>(begin_));
}

void TimedLaunch::begin(const Stream& stream) {
  if (is_capturing(stream)) return;
  const cudaEvent_t begin = times().event(stream.device.index);
  if (asked_for()) print_at_exit();
  stream_ = &stream;
  begin_ = begin;
  check_cuda(cudaEventRecord(begin, static_cast<cudaStream_t>(stream.native)), "cudaEventRecord");
}

void TimedLaunch::done(const char* kernel) {
  if (stream_ == nullptr) return;
  const cudaEvent_t end = times().event(stream_->device.index);
  check_cuda(cudaEventRecord(end, static_cast<cudaStream_t>(stream_->native)), "cudaEventRecord");
  times().add(kernel, stream_->device.index, static_cast<cudaEvent_t>(begin_), end);
  stream_ = nullptr;
}

}  // namespace graft::runtime
