#include <graft/kernels/runtime/caching_allocator.h>

#include <algorithm>
#include <functional>
#include <tuple>
#include <utility>

#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/cuda_check.h>

namespace graft::runtime {
namespace {

std::size_t round_up(std::size_t bytes, std::size_t multiple) { return (bytes + multiple - 1) / multiple * multiple; }

}  // namespace

bool CachingAllocator::Order::operator()(const Block* a, const Block* b) const {
  const std::less<> before;
  if (a->stream != b->stream) return before(a->stream, b->stream);
  if (a->bytes != b->bytes) return a->bytes < b->bytes;
  return before(a->data, b->data);
}

void* CachingAllocator::allocate(std::size_t bytes, StreamKey stream, const char* name) {
  if (bytes == 0) return nullptr;
  const std::lock_guard lock(mutex_);
  check(bytes < std::size_t{1} << 48, source_.name(), ": a request of ", bytes, " bytes is beyond any device");
  const bool direct = mode_ == Mode::direct;
  const std::size_t rounded = direct ? bytes + observer_.red_zone : round_up(bytes + observer_.red_zone, kGranularity);
  const std::uint64_t pool = capture_pool_ != 0 && source_.is_capturing(stream) ? capture_pool_ : 0;
  if (capture_pool_ == 0) look_at_events();

  Block* block = direct ? nullptr : find_free(rounded, stream, pool);
  if (block == nullptr) block = new_segment(rounded, stream, pool);
  if (block == nullptr) {
    // What is cached may be in the way: other streams', or too finely cut. During a capture nothing may be waited for.
    if (capture_pool_ == 0) {
      source_.wait_for_all();
      look_at_events();
    }
    if (release_free_segments() > 0) block = new_segment(rounded, stream, pool);
  }
  if (block == nullptr) out_of_memory(bytes);
  if (!direct) split(block, rounded);
  block->in_use = true;
  block->requested = bytes;
  block->name = name;
  stats_.in_use += block->bytes;
  stats_.peak = std::max(stats_.peak, stats_.in_use);
  ++stats_.blocks;
  if (observer_.allocated != nullptr) observer_.allocated(block->data, bytes);
  return block->data;
}

void CachingAllocator::free(void* address) {
  if (address == nullptr) return;
  const std::lock_guard lock(mutex_);
  const auto entry = blocks_.find(address);
  check(entry != blocks_.end() && entry->second->in_use, source_.name(), ": a block was freed that is not in use");
  Block* block = entry->second.get();
  block->in_use = false;
  stats_.in_use -= block->bytes;
  --stats_.blocks;
  if (observer_.freed != nullptr) observer_.freed(block->data, block->requested);
  if (block->also_used_on.empty()) {
    put_back(block);
    return;
  }
  block->deferred = true;
  deferred_.push_back(block);
  if (capture_pool_ == 0) record_deferred();
}

void CachingAllocator::record_stream(void* address, StreamKey stream) {
  if (address == nullptr) return;
  const std::lock_guard lock(mutex_);
  const auto entry = blocks_.find(address);
  check(entry != blocks_.end() && entry->second->in_use, source_.name(),
        ": record_stream of a block that is not in use");
  Block& block = *entry->second;
  if (block.stream == stream) return;
  if (std::find(block.also_used_on.begin(), block.also_used_on.end(), stream) == block.also_used_on.end())
    block.also_used_on.push_back(stream);
}

// --- finding a block ------------------------------------------------------------------------------------------------

CachingAllocator::Block* CachingAllocator::find_free(std::size_t bytes, StreamKey stream, std::uint64_t pool) {
  FreeList& list = free_[{pool, is_small(bytes)}];
  Block wanted;
  wanted.stream = stream;
  wanted.bytes = bytes;
  const auto fit = list.lower_bound(&wanted);
  if (fit == list.end() || (*fit)->stream != stream) return nullptr;
  Block* block = *fit;
  list.erase(fit);
  return block;
}

CachingAllocator::Block* CachingAllocator::new_segment(std::size_t bytes, StreamKey stream, std::uint64_t pool) {
  const std::size_t segment = mode_ == Mode::direct ? bytes
                              : is_small(bytes)     ? kSmallSegment
                              : bytes < kOwnSegment ? kLargeSegment
                                                    : round_up(bytes, kSmallSegment);
  void* memory = source_.take(segment);
  std::size_t taken = segment;
  if (memory == nullptr && segment > round_up(bytes, kSmallSegment)) {  // little is left: what is needed, no more
    taken = round_up(bytes, kSmallSegment);
    memory = source_.take(taken);
  }
  ++stats_.system_calls;
  if (memory == nullptr) return nullptr;
  auto block = std::make_unique<Block>();
  block->data = static_cast<std::byte*>(memory);
  block->bytes = taken;
  block->stream = stream;
  block->pool = pool;
  block->small = is_small(bytes);
  stats_.reserved += taken;
  Block* made = block.get();
  blocks_.emplace(memory, std::move(block));
  return made;
}

void CachingAllocator::split(Block* block, std::size_t bytes) {
  const std::size_t rest = block->bytes - bytes;
  if (rest < (block->small ? kGranularity : kSmall + kGranularity)) return;
  auto tail = std::make_unique<Block>();
  tail->data = block->data + bytes;
  tail->bytes = rest;
  tail->stream = block->stream;
  tail->pool = block->pool;
  tail->small = block->small;
  tail->previous = block;
  tail->next = block->next;
  if (tail->next != nullptr) tail->next->previous = tail.get();
  block->next = tail.get();
  block->bytes = bytes;
  free_list(*tail).insert(tail.get());
  void* address = tail->data;
  blocks_.emplace(address, std::move(tail));
}

// --- taking a block back --------------------------------------------------------------------------------------------

void CachingAllocator::put_back(Block* block) {
  const auto mergeable = [&](const Block* other) {
    return other != nullptr && !other->in_use && other->waiting_for == 0 && !other->deferred &&
           other->stream == block->stream && other->pool == block->pool;
  };
  // A graph's block is the graph's as long as it lives, and during a capture nothing can be given back.
  if (mode_ == Mode::direct && block->pool == 0 && capture_pool_ == 0) return give_segment(block);
  if (mergeable(block->next)) block = merge(block, block->next);
  if (mergeable(block->previous)) block = merge(block->previous, block);
  free_list(*block).insert(block);
}

/// Both free; `second` lies behind `first` and ends. Neither is left in a free list.
CachingAllocator::Block* CachingAllocator::merge(Block* first, Block* second) {
  free_list(*first).erase(first);
  free_list(*second).erase(second);
  first->bytes += second->bytes;
  first->next = second->next;
  if (first->next != nullptr) first->next->previous = first;
  blocks_.erase(second->data);
  return first;
}

void CachingAllocator::record_deferred() {
  for (Block* block : std::exchange(deferred_, {})) {
    for (const StreamKey stream : block->also_used_on) {
      pending_.push_back({source_.record(stream), block});
      ++block->waiting_for;
    }
    block->also_used_on.clear();
    block->deferred = false;
    if (block->waiting_for == 0) put_back(block);  // the other streams have ended meanwhile
  }
}

void CachingAllocator::look_at_events() {
  if (!deferred_.empty()) record_deferred();
  for (auto entry = pending_.begin(); entry != pending_.end();) {
    if (!source_.passed(entry->event)) {
      ++entry;
      continue;
    }
    if (--entry->block->waiting_for == 0) put_back(entry->block);
    entry = pending_.erase(entry);
  }
}

std::size_t CachingAllocator::release_free_segments() {
  std::size_t released = 0;
  for (auto& [key, list] : free_) {
    if (key.first != 0) continue;  // a graph's pool stays as it is
    for (auto entry = list.begin(); entry != list.end();) {
      Block* block = *entry;
      if (block->previous != nullptr || block->next != nullptr) {
        ++entry;
        continue;
      }
      entry = list.erase(entry);
      released += block->bytes;
      give_segment(block);
    }
  }
  return released;
}

/// Free, without neighbours, in no free list.
void CachingAllocator::give_segment(Block* block) {
  stats_.reserved -= block->bytes;
  void* address = block->data;
  blocks_.erase(address);
  source_.give(address);
}

void CachingAllocator::release_cache() {
  const std::lock_guard lock(mutex_);
  check(capture_pool_ == 0, source_.name(), ": release_cache while a graph is being captured");
  source_.wait_for_all();
  look_at_events();
  release_free_segments();
}

void CachingAllocator::hand_over(StreamKey stream, StreamKey heir) {
  const std::lock_guard lock(mutex_);
  std::vector<Block*> moved;
  for (auto& [key, list] : free_)
    for (auto entry = list.begin(); entry != list.end();) {
      Block* block = *entry;
      entry = block->stream == stream ? (moved.push_back(block), list.erase(entry)) : std::next(entry);
    }
  for (auto& [address, block] : blocks_) {
    if (block->stream == stream) block->stream = heir;
    std::erase(block->also_used_on, stream);
  }
  for (Block* block : moved) free_list(*block).insert(block);
}

// --- captures -------------------------------------------------------------------------------------------------------

std::uint64_t CachingAllocator::begin_capture() {
  const std::lock_guard lock(mutex_);
  check(capture_pool_ == 0, source_.name(), ": a graph is being captured already, expected one capture at a time");
  look_at_events();
  return capture_pool_ = ++last_pool_;
}

void CachingAllocator::end_capture() {
  const std::lock_guard lock(mutex_);
  capture_pool_ = 0;
}

std::uint64_t CachingAllocator::capture_pool(StreamKey stream) {
  const std::lock_guard lock(mutex_);
  return capture_pool_ != 0 && source_.is_capturing(stream) ? capture_pool_ : 0;
}

void CachingAllocator::retire_pool(std::uint64_t pool) {
  const std::lock_guard lock(mutex_);
  std::vector<Block*> idle;
  for (const bool small : {false, true}) {
    const auto list = free_.find({pool, small});
    if (list == free_.end()) continue;
    idle.insert(idle.end(), list->second.begin(), list->second.end());
    free_.erase(list);
  }
  for (auto& [address, block] : blocks_)
    if (block->pool == pool) block->pool = 0;
  for (Block* block : idle) free_list(*block).insert(block);
}

// --- what is told ---------------------------------------------------------------------------------------------------

void CachingAllocator::out_of_memory(std::size_t bytes) {
  const MemorySource::Room room = source_.room();
  struct Holder {
    std::size_t total = 0, count = 0;
  };
  std::map<std::pair<std::string, std::size_t>, Holder> holders;
  for (const auto& [address, block] : blocks_) {
    if (!block->in_use) continue;
    Holder& holder = holders[{block->name != nullptr ? block->name : "", block->bytes}];
    holder.total += block->bytes;
    ++holder.count;
  }
  std::vector<std::pair<std::pair<std::string, std::size_t>, Holder>> largest(holders.begin(), holders.end());
  std::stable_sort(largest.begin(), largest.end(),
                   [](const auto& a, const auto& b) { return a.second.total > b.second.total; });
  constexpr std::size_t kShown = 5;
  std::string list;
  for (std::size_t i = 0; i < std::min(largest.size(), kShown); ++i) {
    const auto& [what, holder] = largest[i];
    list += cat(i == 0 ? "; the most is held by " : ", ", holder.count, " x ", readable_bytes(what.second));
    if (!what.first.empty()) list += cat(" (", what.first, ")");
  }
  if (largest.size() > kShown) list += cat(" and ", largest.size() - kShown, " more sizes");
  fail(source_.name(), ": out of memory: asked for ", readable_bytes(bytes), "; of ", readable_bytes(room.total),
       " on the device ", readable_bytes(room.free), " are free, ", readable_bytes(stats_.in_use), " in use here in ",
       stats_.blocks, " blocks, ", readable_bytes(stats_.reserved - stats_.in_use), " cached", list,
       "; use a smaller batch, train fewer layers, or end other programs that use the device");
}

DeviceMemoryStats CachingAllocator::stats() {
  const std::lock_guard lock(mutex_);
  return stats_;
}

std::size_t CachingAllocator::available() {
  const std::lock_guard lock(mutex_);
  return source_.room().free + stats_.reserved - stats_.in_use;
}

void CachingAllocator::reset_peak() {
  const std::lock_guard lock(mutex_);
  stats_.peak = stats_.in_use;
}

void CachingAllocator::set_observer(const MemoryObserver& observer) {
  const std::lock_guard lock(mutex_);
  check(stats_.blocks == 0, source_.name(), ": a memory observer must come before the first block is handed out");
  observer_ = observer;
}

}  // namespace graft::runtime
