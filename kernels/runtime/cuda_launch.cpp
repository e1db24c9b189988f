#include <graft/kernels/runtime/cuda_launch.h>

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define GRAFT_NVTX 1
#else
#define GRAFT_NVTX 0
#endif

#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/activity_counters.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/cuda_check.h>
#include <graft/kernels/runtime/profile.h>
#include <graft/kernels/runtime/settings.h>
#include <graft/kernels/runtime/streams.h>
#include <graft/kernels/runtime/tickets.h>

namespace graft::runtime {
namespace {

/// The last launches of all streams. Kernel names are literals, so keeping pointers is enough.
class LaunchRing {
 public:
  void add(const char* kernel, void* stream) {
    const std::lock_guard lock(mutex_);
    entries_[next_ % kLength] = {kernel, stream};
    ++next_;
  }

  /// Oldest first. A null stream: of all.
  std::vector<const char*> last(void* stream) {
    constexpr std::size_t kShown = 8;
    const std::lock_guard lock(mutex_);
    std::vector<const char*> names;
    for (std::size_t age = 1; age <= kLength && age <= next_ && names.size() < kShown; ++age) {
      const Entry& entry = entries_[(next_ - age) % kLength];
      if (stream == nullptr || entry.stream == stream) names.insert(names.begin(), entry.kernel);
    }
    return names;
  }

 private:
  struct Entry {
    const char* kernel;
    void* stream;
  };
  static constexpr std::size_t kLength = 64;
  std::mutex mutex_;
  std::array<Entry, kLength> entries_{};
  std::size_t next_ = 0;
};

LaunchRing& ring() {
  static LaunchRing* instance = new LaunchRing;
  return *instance;
}

std::atomic<bool>& synchronous() {
  static std::atomic<bool> on = switch_setting("GRAFT_SYNC");
  return on;
}

std::string dims(const std::array<unsigned, 3>& d) { return cat("(", d[0], ", ", d[1], ", ", d[2], ")"); }

}  // namespace

int prepare_kernel(const void* kernel, int device, std::size_t dynamic_bytes) {
  constexpr std::size_t kForAll = 48 * 1024;  // static and dynamic together
  static std::mutex mutex;
  // Dynamic bytes, of kernels that are loaded. Never destroyed: a program may launch kernels while it ends.
  static auto& allowed = *new std::map<std::pair<const void*, int>, std::size_t>;
  const std::lock_guard lock(mutex);
  auto known = allowed.find({kernel, device});
  if (known == allowed.end()) {
    const OutsideCapture outside;  // the first question about a kernel loads it, under lazy loading
    cudaFuncAttributes attributes{};
    const cudaError_t status = cudaFuncGetAttributes(&attributes, kernel);
    if (status != cudaSuccess) return status;
    known = allowed.emplace(std::pair(kernel, device), kForAll - std::min(attributes.sharedSizeBytes, kForAll)).first;
  }
  if (dynamic_bytes <= known->second) return cudaSuccess;
  const OutsideCapture outside;
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(dynamic_bytes));
  if (status == cudaSuccess) known->second = dynamic_bytes;
  return status;
}

void set_synchronous_launches(bool on) { synchronous().store(on); }
bool synchronous_launches() { return synchronous().load(std::memory_order_relaxed); }

std::string recent_launches(const Stream& stream) {
  const std::vector<const char*> names = ring().last(stream.native);
  if (names.empty()) return {};
  std::string text = stream.native != nullptr ? "the last launches of its stream: " : "the last launches: ";
  for (std::size_t i = 0; i < names.size(); ++i) text += cat(i == 0 ? "" : ", ", names[i]);
  return text + " (newest last)";
}

LaunchScope::LaunchScope(const char* kernel, const Stream& stream) : kernel_(kernel), stream_(stream) {
  make_current(stream.device.index);
  if (profiling()) timed_.begin(stream);
#if GRAFT_NVTX
  nvtxRangePushA(kernel);
#endif
}

LaunchScope::~LaunchScope() {
#if GRAFT_NVTX
  nvtxRangePop();
#endif
}

void LaunchScope::finish(int status, std::array<unsigned, 3> grid, std::array<unsigned, 3> block,
                         std::size_t shared_bytes) {
  if (status == cudaSuccess) [[likely]] {
    timed_.done(kernel_);
    count_one(activity_counters().launches);
    ring().add(kernel_, stream_.native);
    if (!synchronous_launches() || is_capturing(stream_)) return;
    const OutsideCapture outside;  // of another stream, by this thread
    status = cudaStreamSynchronize(static_cast<cudaStream_t>(stream_.native));
    if (status == cudaSuccess) return;
  }
  if (is_sticky(status)) drop_tickets();
  if (is_sticky(status) && !synchronous_launches()) {
    // Either this kernel, where launches are performed at once, or one before it.
    ring().add(kernel_, stream_.native);
    const auto error = static_cast<cudaError_t>(status);
    const std::string text =
        cat("kernel ", kernel_, " on ", stream_.device, ": ", cudaGetErrorName(error), " (", cudaGetErrorString(error),
            ") was found at its launch: it, or a kernel before it, failed; ", recent_launches(stream_),
            "; run with GRAFT_SYNC=1 to find which");
    cudaGetLastError();
    fail(text);
  }
  const auto error = static_cast<cudaError_t>(status);
  const std::string text = cat(
      "kernel ", kernel_, " on ", stream_.device, ", grid ", dims(grid), ", block ", dims(block), ", ", shared_bytes,
      " bytes of dynamic shared memory: ", cudaGetErrorName(error), " (", cudaGetErrorString(error), ")");
  cudaGetLastError();
  fail(text);
}

}  // namespace graft::runtime
