#include <graft/kernels/runtime/host_memory.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <vector>

#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/fork.h>

namespace graft::runtime {
namespace {

// Sizes are rounded up to a class so that a freed block fits the next request of about its size: powers of two cut in
// four, at most a quarter wasted.
constexpr std::size_t kSmallest = 256;
constexpr int kClasses = 4 * 44;

struct SizeClass {
  int index;
  std::size_t bytes;
};

SizeClass size_class(std::size_t bytes) {
  bytes = std::max(bytes, kSmallest);
  const int log2 = std::bit_width(bytes - 1) - 1;  // 2^log2 < bytes <= 2^(log2 + 1), but for bytes == kSmallest
  const std::size_t quarter = std::size_t{1} << (log2 - 2);
  const std::size_t steps = (bytes - (std::size_t{1} << log2) + quarter - 1) / quarter;
  return {4 * (log2 - 7) + static_cast<int>(steps), (std::size_t{1} << log2) + steps * quarter};
}

class Cache {
 public:
  Cache() { hold_while_forking(mutex_); }  // a loader's thread may be allocating

  void* allocate(std::size_t bytes) {
    const SizeClass c = size_class(bytes);
    check(c.index < kClasses && c.bytes >= bytes, "host memory: a request of ", bytes, " bytes is beyond any machine");
    {
      std::lock_guard lock(mutex_);
      auto& free = free_[static_cast<std::size_t>(c.index)];
      if (!free.empty()) {
        void* block = free.back();
        free.pop_back();
        stats_.cached -= c.bytes;
        note_in_use(c.bytes);
        return block;
      }
    }
    void* block = std::aligned_alloc(kHostAlignment, c.bytes);
    if (block == nullptr) {
      release();
      block = std::aligned_alloc(kHostAlignment, c.bytes);
    }
    std::lock_guard lock(mutex_);
    if (block == nullptr)
      fail("host memory: the system has no more: asked for ", bytes, " bytes, ", stats_.in_use, " in use, peak ",
           stats_.peak, ", nothing cached; use a smaller batch or fewer images");
    ++stats_.system_calls;
    note_in_use(c.bytes);
    return block;
  }

  void free(void* block, std::size_t bytes) noexcept {
    const SizeClass c = size_class(bytes);
    std::lock_guard lock(mutex_);
    stats_.in_use -= c.bytes;
    try {
      free_[static_cast<std::size_t>(c.index)].push_back(block);
      stats_.cached += c.bytes;
    } catch (...) {
      std::free(block);
    }
  }

  void release() noexcept {
    std::lock_guard lock(mutex_);
    for (auto& list : free_) {
      for (void* block : list) std::free(block);
      list = {};
    }
    stats_.cached = 0;
  }

  HostMemoryStats stats() {
    std::lock_guard lock(mutex_);
    return stats_;
  }

  void reset_peak() {
    std::lock_guard lock(mutex_);
    stats_.peak = stats_.in_use;
  }

 private:
  void note_in_use(std::size_t bytes) {
    stats_.in_use += bytes;
    stats_.peak = std::max(stats_.peak, stats_.in_use);
  }

  std::mutex mutex_;
  std::array<std::vector<void*>, kClasses> free_;
  HostMemoryStats stats_;
};

// Never destroyed: tensors in static storage may be freed after it would have been.
Cache& cache() {
  static Cache* instance = new Cache;
  return *instance;
}

}  // namespace

void* host_allocate(std::size_t bytes) { return bytes == 0 ? nullptr : cache().allocate(bytes); }

void host_free(void* block, std::size_t bytes) noexcept {
  if (block != nullptr) cache().free(block, bytes);
}

void host_release_cache() noexcept { cache().release(); }
HostMemoryStats host_memory_stats() { return cache().stats(); }
void host_reset_peak() { cache().reset_peak(); }

}  // namespace graft::runtime
