// The caching allocator of one device: segments are taken from the device rarely, and cut into blocks that are handed
// out and taken back without asking it. Pure bookkeeping; what touches the device stands behind MemorySource.
//
// Requests are rounded up to 512 bytes. Those up to 1 MiB share segments of 2 MiB, larger ones segments of 20 MiB, and
// from 10 MiB up they get one of their own (a multiple of 2 MiB). A request takes the smallest free block that fits and
// splits off the rest; a freed block merges with its free neighbours. Blocks belong to a stream: work on one stream is
// ordered, so what it frees it may get again at once, and no other stream may. A block that was used on another stream
// too waits for an event of that stream.
//
// Memory checkers see segments, not blocks. For them there is GRAFT_ALLOCATOR=direct: a segment of exactly its size for
// every request, given back when it is freed (slow: the device is waited for at every one).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include <graft/kernels/runtime/device_memory.h>
#include <graft/kernels/runtime/memory_observer.h>

namespace graft::runtime {

/// A stream as the allocator sees it: cudaStream_t.
using StreamKey = void*;

/// What the allocator needs of a device.
class MemorySource {
 public:
  virtual ~MemorySource() = default;
  virtual std::string name() const = 0;       // "cuda:0"
  virtual void* take(std::size_t bytes) = 0;  // nullptr when there is no more
  virtual void give(void* segment) noexcept = 0;
  virtual void wait_for_all() = 0;  // until no work of the device is under way
  struct Room {
    std::size_t free = 0, total = 0;
  };
  virtual Room room() = 0;
  virtual void* record(StreamKey stream) = 0;  // an event
  virtual bool passed(void* event) = 0;        // and if so the event is given back
  virtual bool is_capturing(StreamKey stream) = 0;
};

class CachingAllocator {
 public:
  enum class Mode { caching, direct };
  explicit CachingAllocator(MemorySource& source, Mode mode = Mode::caching) : source_(source), mode_(mode) {}
  CachingAllocator(const CachingAllocator&) = delete;
  CachingAllocator& operator=(const CachingAllocator&) = delete;

  static constexpr std::size_t kGranularity = 512;
  static constexpr std::size_t kSmall = std::size_t{1} << 20;
  static constexpr std::size_t kSmallSegment = std::size_t{2} << 20;
  static constexpr std::size_t kLargeSegment = std::size_t{20} << 20;
  static constexpr std::size_t kOwnSegment = std::size_t{10} << 20;  // from here on a request has its own

  /// nullptr for 0 bytes. `name`: for the out-of-memory message, may be nullptr.
  void* allocate(std::size_t bytes, StreamKey stream, const char* name);
  void free(void* block);
  /// The block must be in use.
  void record_stream(void* block, StreamKey stream);
  /// The stream ends, its work is done: its blocks are `heir`'s from now on.
  void hand_over(StreamKey stream, StreamKey heir);
  void release_cache();

  /// From now on allocations on streams that are being captured come from a pool of their own, until end_capture.
  std::uint64_t begin_capture();
  void end_capture();
  /// The pool of the capture that the stream takes part in; 0: of none.
  std::uint64_t capture_pool(StreamKey stream);
  /// The graph that the pool belongs to is gone, and its work done: its memory is everybody's.
  void retire_pool(std::uint64_t pool);

  DeviceMemoryStats stats();
  std::size_t available();  // what is free on the device, and what is cached
  void reset_peak();
  void set_observer(const MemoryObserver& observer);

 private:
  struct Block {
    std::byte* data = nullptr;
    std::size_t bytes = 0, requested = 0;
    StreamKey stream = nullptr;
    std::uint64_t pool = 0;  // 0: everybody's
    bool small = false, in_use = false;
    Block *previous = nullptr, *next = nullptr;  // neighbours in the segment
    const char* name = nullptr;
    std::vector<StreamKey> also_used_on;
    int waiting_for = 0;    // events
    bool deferred = false;  // in deferred_
  };
  struct Order {  // best fit of a stream first
    using is_transparent = void;
    bool operator()(const Block* a, const Block* b) const;
  };
  using FreeList = std::set<Block*, Order>;
  struct Pending {
    void* event;
    Block* block;
  };

  static bool is_small(std::size_t bytes) { return bytes <= kSmall; }
  FreeList& free_list(const Block& block) { return free_[{block.pool, block.small}]; }
  Block* find_free(std::size_t bytes, StreamKey stream, std::uint64_t pool);
  Block* new_segment(std::size_t bytes, StreamKey stream, std::uint64_t pool);
  void split(Block* block, std::size_t bytes);
  void put_back(Block* block);
  void give_segment(Block* block);
  Block* merge(Block* block, Block* neighbour);
  void look_at_events();
  void record_deferred();
  std::size_t release_free_segments();
  [[noreturn]] void out_of_memory(std::size_t bytes);

  MemorySource& source_;
  const Mode mode_;
  std::mutex mutex_;
  std::map<std::pair<std::uint64_t, bool>, FreeList> free_;
  std::unordered_map<void*, std::unique_ptr<Block>> blocks_;  // by address, in use or free
  std::list<Pending> pending_;
  std::vector<Block*> deferred_;  // freed while a capture was under way, where no event can be recorded
  std::uint64_t last_pool_ = 0, capture_pool_ = 0;
  DeviceMemoryStats stats_;
  MemoryObserver observer_;
};

}  // namespace graft::runtime
