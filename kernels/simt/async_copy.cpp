// cp.async: a thread's copies from global to shared memory, in groups. Eager, a copy happens when it is issued; lazy,
// when the thread waits for its group. And the two halves of an atomic operation.
#include <graft/kernels/simt/group.h>
#include <graft/kernels/simt/memory.h>

namespace graft::simt {
namespace {

struct PendingCopy {
  char* to;
  const char* from;
  int bytes, source_bytes;
  unsigned group;  // the thread's count of groups when it was issued
  Loc where;
};

struct CopyQueue {
  std::vector<PendingCopy> copies;  // oldest first, from `first` on
  std::size_t first = 0;
  unsigned groups = 0;  // committed so far
};
std::vector<CopyQueue> queues;  // one a thread

void perform(const PendingCopy& copy) {
  if (checker::enabled()) {
    if (copy.source_bytes != 0) checker::read(copy.from, static_cast<std::size_t>(copy.source_bytes), copy.where);
    checker::write(copy.to, static_cast<std::size_t>(copy.bytes), copy.where);
  }
  const auto brought = static_cast<std::size_t>(copy.source_bytes);
  if (brought != 0) std::memcpy(copy.to, copy.from, brought);
  std::memset(copy.to + brought, 0, static_cast<std::size_t>(copy.bytes) - brought);
}

}  // namespace

void prepare_cp_async() {
  if (queues.size() < group.threads) queues.resize(group.threads);
  for (CopyQueue& queue : queues) {  // a failed grid may have left something
    queue.copies.clear();
    queue.first = queue.groups = 0;
  }
}

void cp_async(void* to, const void* from, int bytes, int source_bytes, Loc where) {
  const auto unaligned = [&](const void* p) {
    return reinterpret_cast<std::uintptr_t>(p) % static_cast<unsigned>(bytes) != 0;
  };
  if (unaligned(to))
    refuse(where, "cp.async of ", bytes, " bytes: the destination is not a multiple of ", bytes, " (misaligned)");
  if (unaligned(from))
    refuse(where, "cp.async of ", bytes, " bytes: the source is not a multiple of ", bytes, " (misaligned)");
  if (!is_shared(to) || shared_rank(to) != group.current->block)
    refuse(where, "cp.async: the destination does not lie in the block's shared memory");
  if (source_bytes < 0 || source_bytes > bytes)
    refuse(where, "cp.async of ", bytes, " bytes with ", source_bytes, " source bytes");
  CopyQueue& queue = queues[group.number(*group.current)];
  const PendingCopy copy{
      static_cast<char*>(to), static_cast<const char*>(from), bytes, source_bytes, queue.groups, where};
  if (!settings.lazy_async) return perform(copy);
  if (checker::enabled()) checker::will_write(to, static_cast<std::size_t>(bytes), where);
  queue.copies.push_back(copy);
}

void cp_async_commit() { ++queues[group.number(*group.current)].groups; }

void cp_async_wait(int keep, Loc where) {
  CopyQueue& queue = queues[group.number(*group.current)];
  if (queue.first == queue.copies.size()) return;  // nothing to wait for, as where a kernel's type is too wide to copy so
  if (omitted(where, "cp_async_wait")) return;
  for (; queue.first < queue.copies.size(); ++queue.first) {
    const PendingCopy& copy = queue.copies[queue.first];
    if (copy.group + static_cast<unsigned>(keep) >= queue.groups) return;
    perform(copy);
  }
  queue.copies.clear();
  queue.first = 0;
}

void drop_cp_async(const Thread& thread) {
  CopyQueue& queue = queues[group.number(thread)];
  queue.copies.clear();
  queue.first = queue.groups = 0;
}

// --- atomics --------------------------------------------------------------------------------------------------------

void device_fence(Loc where) {
  if (omitted(where, "__threadfence")) return;
  if (checker::enabled()) checker::device_fence();
}

std::uint64_t atomic_load(void* p, int bytes, bool between_blocks, Loc where) {
  if (reinterpret_cast<std::uintptr_t>(p) % static_cast<unsigned>(bytes) != 0)
    refuse(where, "atomic operation on ", bytes, " bytes at an address that is not a multiple of ", bytes,
           " (misaligned)");
  if (checker::enabled()) {
    checker::atomic(p, static_cast<std::size_t>(bytes), where);
    if (between_blocks && is_device_address(p)) checker::draw(p);
  }
  std::uint64_t value = 0;
  std::memcpy(&value, p, static_cast<std::size_t>(bytes));
  return value;
}

void atomic_store(void* p, int bytes, std::uint64_t value) { std::memcpy(p, &value, static_cast<std::size_t>(bytes)); }

}  // namespace graft::simt
