// Page-locked host memory, kept and reused, and copies between host and device.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <list>
#include <map>
#include <mutex>
#include <vector>

#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/activity_counters.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/cuda_check.h>
#include <graft/kernels/runtime/streams.h>

namespace graft::runtime {
namespace {

cudaStream_t native(const Stream& stream) { return static_cast<cudaStream_t>(stream.native); }

/// Blocks by size, powers of two from 4 KiB (a page, the unit of locking).
class PinnedCache {
 public:
  void* allocate(std::size_t bytes) {
    const std::size_t size = std::bit_ceil(std::max<std::size_t>(bytes, 4096));
    const std::lock_guard lock(mutex_);
    const OutsideCapture outside;
    make_current_in_use();
    look_at_events();
    auto& free = free_[size];
    if (!free.empty()) {
      void* block = free.back();
      free.pop_back();
      return block;
    }
    void* block = nullptr;
    cudaError_t status = cudaHostAlloc(&block, size, cudaHostAllocDefault);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      release();
      status = cudaHostAlloc(&block, size, cudaHostAllocDefault);
      if (status == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        fail("pinned host memory: the system has no more: asked for ", readable_bytes(bytes), ", ", sizes_.size(),
             " blocks are in use; raise the limit of locked memory (ulimit -l) or use smaller batches");
      }
    }
    check_cuda(status, "cudaHostAlloc");
    sizes_.emplace(static_cast<std::byte*>(block), size);
    return block;
  }

  void free(void* block) {
    const std::lock_guard lock(mutex_);
    free_[sizes_.at(static_cast<std::byte*>(block))].push_back(block);
  }

  /// Free once the stream's work so far is done.
  void free_after(void* block, const Stream& stream) {
    refuse_while_capturing(stream, "pinned_free_after");
    const std::lock_guard lock(mutex_);
    cudaEvent_t event = nullptr;
    make_current(stream.device.index);
    std::vector<cudaEvent_t>& idle = idle_events_[stream.device.index];
    if (idle.empty()) {
      GRAFT_CUDA(cudaEventCreateWithFlags, &event, cudaEventDisableTiming);
    } else {
      event = idle.back();
      idle.pop_back();
    }
    GRAFT_CUDA(cudaEventRecord, event, native(stream));
    pending_.push_back({stream.device.index, event, block});
  }

  bool holds(const void* begin, std::size_t bytes) {
    const auto* first = static_cast<const std::byte*>(begin);
    const std::lock_guard lock(mutex_);
    auto entry = sizes_.upper_bound(const_cast<std::byte*>(first));
    if (entry == sizes_.begin()) return false;
    --entry;
    return first + bytes <= entry->first + entry->second;
  }

 private:
  struct Pending {
    int device;
    cudaEvent_t event;
    void* block;
  };

  void look_at_events() {
    for (auto entry = pending_.begin(); entry != pending_.end();) {
      const cudaError_t status = cudaEventQuery(entry->event);
      if (status == cudaErrorNotReady) {
        ++entry;
        continue;
      }
      check_cuda(status, "cudaEventQuery");
      idle_events_[entry->device].push_back(entry->event);
      free_[sizes_.at(static_cast<std::byte*>(entry->block))].push_back(entry->block);
      entry = pending_.erase(entry);
    }
  }

  void release() {
    for (auto& [size, blocks] : free_) {
      for (void* block : blocks) {
        sizes_.erase(static_cast<std::byte*>(block));
        cudaFreeHost(block);
      }
      blocks.clear();
    }
  }

  std::mutex mutex_;
  std::map<std::size_t, std::vector<void*>> free_;
  std::map<std::byte*, std::size_t> sizes_;  // of all blocks
  std::list<Pending> pending_;
  std::map<int, std::vector<cudaEvent_t>> idle_events_;  // an event belongs to its device
};

PinnedCache& cache() {
  static PinnedCache* instance = new PinnedCache;  // never destroyed, as the host memory cache
  return *instance;
}

/// Copies go through pinned blocks of this size, so that the call need not wait for the device.
constexpr std::size_t kPiece = std::size_t{4} << 20;
/// Beyond this the host would run too far ahead with memory that it locks.
constexpr std::size_t kStaged = std::size_t{64} << 20;

void refuse_in_capture(const char* direction, const void* host, std::size_t bytes, const Stream& stream) {
  if (!is_capturing(stream) || cache().holds(host, bytes)) return;
  fail("a copy ", direction, " on ", stream.device,
       " while a graph is being captured: the graph would keep a pointer to"
       " host memory that is not pinned; copy before the capture, or use pinned memory");
}

}  // namespace

void* pinned_allocate(std::size_t bytes) { return bytes == 0 ? nullptr : cache().allocate(bytes); }

void pinned_free(void* block) noexcept {
  if (block == nullptr) return;
  try {
    cache().free(block);
  } catch (const std::exception&) {  // not a block of ours, or no memory for the list: it is lost
  }
}

void pinned_free_after(void* block, const Stream& stream) {
  if (block != nullptr) cache().free_after(block, stream);
}

bool is_pinned(const void* begin, std::size_t bytes) { return cache().holds(begin, bytes); }

void copy_to_device(void* to, const void* from, std::size_t bytes, const Stream& stream) {
  count_one(activity_counters().copies);
  if (bytes == 0) return;
  make_current(stream.device.index);
  refuse_in_capture("to the device", from, bytes, stream);
  if (cache().holds(from, bytes)) {
    check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, native(stream)), "cudaMemcpyAsync", stream);
    return;
  }
  for (std::size_t done = 0; done < bytes; done += kPiece) {
    const std::size_t piece = std::min(kPiece, bytes - done);
    void* staged = cache().allocate(piece);
    std::memcpy(staged, static_cast<const std::byte*>(from) + done, piece);
    const cudaError_t status =
        cudaMemcpyAsync(static_cast<std::byte*>(to) + done, staged, piece, cudaMemcpyHostToDevice, native(stream));
    if (status != cudaSuccess) pinned_free(staged);
    check_cuda(status, "cudaMemcpyAsync", stream);
    cache().free_after(staged, stream);
    if ((done + piece) % kStaged != 0) continue;
    const OutsideCapture outside;  // of another stream, by this thread
    check_cuda(cudaStreamSynchronize(native(stream)), "cudaStreamSynchronize", stream);
  }
}

void copy_to_host(void* to, const void* from, std::size_t bytes, const Stream& stream) {
  count_one(activity_counters().copies);
  if (bytes == 0) return;
  make_current(stream.device.index);
  refuse_in_capture("to the host", to, bytes, stream);
  if (!cache().holds(to, bytes)) refuse_while_thread_captures("a copy to the host", stream.device);  // it waits
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, native(stream)), "cudaMemcpyAsync", stream);
}

void copy_on_device(void* to, const void* from, std::size_t bytes, const Stream& stream) {
  count_one(activity_counters().copies);
  if (bytes == 0) return;
  make_current(stream.device.index);
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, native(stream)), "cudaMemcpyAsync", stream);
}

void set_bytes(void* to, int value, std::size_t bytes, const Stream& stream) {
  if (bytes == 0) return;
  make_current(stream.device.index);
  check_cuda(cudaMemsetAsync(to, value, bytes, native(stream)), "cudaMemsetAsync", stream);
}

}  // namespace graft::runtime
