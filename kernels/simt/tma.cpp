// Bulk copies: boxes of tensors and plain runs of bytes, between global and shared memory. A load completes on an
// mbarrier; eager, when it is issued, lazy, when no thread can go on without one. A store belongs to its thread's
// groups; eager, it happens when it is issued, lazy, when the thread waits for its group.
#include <graft/kernels/simt/group.h>
#include <graft/kernels/simt/tensor_map.h>

namespace graft::simt {
namespace {

constexpr std::uint32_t kMostPlainBytes = 1u << 20;

// A box, or a plain run of bytes.
struct Copy {
  TensorMap map;  // of a box
  TensorPlace place;
  char* global;  // of a plain run
  char* shared;
  unsigned bytes;
  bool is_box;
  Loc where;
};

struct Load {
  Copy copy;
  std::uint64_t* barrier;
  unsigned thread;
  checker::Operation operation;
};
struct Loads {
  std::vector<Load> under_way;
};
Loads loads;

struct Store {
  Copy copy;
  unsigned group;
  bool done, read_seen;
  checker::Operation reading, writing;
};
struct StoreQueue {
  std::vector<Store> stores;
  unsigned groups = 0;
};
struct StoreQueues {
  std::vector<StoreQueue> of_thread;
};
StoreQueues queues;

template <class Piece>
void for_pieces(const Copy& copy, Piece piece) {
  if (!copy.is_box) return piece(0u, copy.global, copy.bytes);
  for_pieces(copy.map, copy.place, shared_address(copy.shared), piece);
}

void load(const Copy& copy) {
  for_pieces(copy, [&](std::uint32_t offset, const char* source, unsigned bytes) {
    if (source == nullptr)
      std::memset(copy.shared + offset, 0, bytes);
    else
      std::memcpy(copy.shared + offset, source, bytes);
  });
}

void store(const Copy& copy) {
  for_pieces(copy, [&](std::uint32_t offset, char* target, unsigned bytes) {
    if (target != nullptr) std::memcpy(target, copy.shared + offset, bytes);
  });
}

bool is_aligned(const void* p, unsigned to) { return reinterpret_cast<std::uintptr_t>(p) % to == 0; }

const TensorMap& check_map(const void* p, const char* what, Loc where) {
  if (!is_aligned(p, 64)) refuse(where, what, ": the tensor map's address is not a multiple of 64 (misaligned)");
  const auto& map = *static_cast<const TensorMap*>(p);
  if (map.mark != TensorMap::kMark) refuse(where, what, ": this is no tensor map (make_tensor_map)");
  return map;
}

void check_shared(const void* p, unsigned alignment, const char* what, Loc where) {
  if (!is_shared(p) || shared_rank(p) != group.current->block)
    refuse(where, what, ": the address does not lie in the block's shared memory");
  if (!is_aligned(p, alignment))
    refuse(where, what, ": the address in shared memory is not a multiple of ", alignment, " (misaligned)");
}

Copy box(const void* map_pointer, const void* shared, const TensorPlace& place, const char* what, Loc where) {
  const TensorMap& map = check_map(map_pointer, what, where);
  if (map.rank != place.rank)
    refuse(where, what, ": ", place.rank, " coordinates for a tensor map of ", unsigned{map.rank}, " dimensions");
  if ((map.im2col != 0) != place.im2col)
    refuse(where, what, map.im2col != 0 ? ": a tile of a tensor map made for im2col" : ": im2col of a map of tiles");
  const int furthest = map.rank == 3 ? 65536 : map.rank == 4 ? 256 : 32;
  for (int d = 0; place.im2col && d < map.rank - 2; ++d)
    if (place.offset[d] >= furthest)
      refuse(where, what, ": an offset of ", place.offset[d], " in im2col, less than ", furthest, " is possible");
  // Seen on an H100: an illegal instruction, wherever the box lies.
  if (const std::int64_t bytes = std::int64_t{place.at[0]} * map.element_bytes; bytes % 16 != 0)
    refuse(where, what, ": the innermost coordinate, ", place.at[0], ", is ", bytes,
           " bytes into its row, expected a multiple of 16 (misaligned)");
  check_shared(shared, 128, what, where);
  return {map, place, nullptr, static_cast<char*>(const_cast<void*>(shared)), map.bytes(), true, where};
}

Copy run(void* global, void* shared, unsigned bytes, const char* what, Loc where) {
  check_shared(shared, 16, what, where);
  if (!is_aligned(global, 16))
    refuse(where, what, ": the address in global memory is not a multiple of 16 (misaligned)");
  if (bytes == 0 || bytes % 16 != 0 || bytes >= kMostPlainBytes)
    refuse(where, what, " of ", bytes, " bytes: expected a multiple of 16 below ", kMostPlainBytes);
  return {{}, {}, static_cast<char*>(global), static_cast<char*>(shared), bytes, false, where};
}

void perform(const Load& l) {
  load(l.copy);
  if (checker::enabled()) checker::arrived(l.copy.shared, l.copy.bytes);
  mbarrier_bytes(l.barrier, l.copy.bytes, l.operation, group.thread[l.thread], l.copy.where);
}

void begin_load(const Copy& copy, std::uint64_t* barrier) {
  check_completes_on(barrier, copy.where);
  Load l{copy, barrier, group.number(*group.current), {}};
  if (checker::enabled()) {
    l.operation = checker::begin(checker::copy_agent());
    for_pieces(copy, [&](std::uint32_t, const char* source, unsigned bytes) {
      if (source != nullptr) checker::read(source, bytes, copy.where);
    });
    checker::async_write(copy.shared, copy.bytes, copy.where);
    checker::end();
  }
  if (settings.lazy_async) {
    loads.under_way.push_back(std::move(l));
    group.idle_rounds = 0;
    return;
  }
  perform(l);
}

void begin_store(const Copy& copy) {
  StoreQueue& queue = queues.of_thread[group.number(*group.current)];
  Store s{copy, queue.groups, false, false, {}, {}};
  if (checker::enabled()) {
    s.reading = checker::begin(checker::copy_agent());
    for_pieces(copy, [&](std::uint32_t offset, const char* target, unsigned bytes) {
      if (target != nullptr) checker::async_read(copy.shared + offset, bytes, copy.where);
    });
    checker::end();
    s.writing = checker::begin(checker::copy_agent());
    for_pieces(copy, [&](std::uint32_t, const char* target, unsigned bytes) {
      if (target != nullptr) checker::write(target, bytes, copy.where);
    });
    checker::end();
  }
  if (!settings.lazy_async) {
    store(copy);
    s.done = true;
  }
  queue.stores.push_back(std::move(s));
}

}  // namespace

void prepare_tma() {
  loads.under_way.clear();
  if (queues.of_thread.size() < group.threads) queues.of_thread.resize(group.threads);
  for (StoreQueue& queue : queues.of_thread) {
    queue.stores.clear();
    queue.groups = 0;
  }
}

// --- loads ----------------------------------------------------------------------------------------------------------

void tensor_load(void* to, const void* map, std::uint64_t* barrier, const TensorPlace& place, unsigned blocks,
                 Loc where) {
  const Copy copy = box(map, to, place, "bulk tensor load", where);
  if (blocks == 0) {
    if (is_shared(barrier) && shared_rank(barrier) != group.current->block)
      refuse(where, "bulk tensor load: the mbarrier does not lie in the block's shared memory");
    return begin_load(copy, barrier);
  }
  if (blocks >> group.blocks != 0)
    refuse(where, "bulk tensor load: the multicast ", Hex{blocks}, " names blocks outside the cluster of ",
           group.blocks);
  for (unsigned rank = 0; rank < group.blocks; ++rank) {
    if ((blocks >> rank & 1) == 0) continue;
    Copy there = copy;
    there.shared = static_cast<char*>(map_shared(to, rank, where));
    begin_load(there, static_cast<std::uint64_t*>(map_shared(barrier, rank, where)));
  }
}

void tensor_prefetch(const void* map, Loc where) { check_map(map, "tensor_prefetch", where); }

void bulk_load(void* to, const void* from, unsigned bytes, std::uint64_t* barrier, Loc where) {
  begin_load(run(const_cast<void*>(from), to, bytes, "bulk load", where), barrier);
}

bool perform_one_load() {
  std::vector<Load>& all = loads.under_way;
  if (all.empty()) return false;
  const std::size_t index = settings.order == Order::Forward   ? 0
                            : settings.order == Order::Reverse ? all.size() - 1
                                                               : schedule_random() % all.size();
  const Load one = std::move(all[index]);
  all.erase(all.begin() + static_cast<std::ptrdiff_t>(index));
  perform(one);
  return true;
}

void check_loads_done(const Thread& last) {
  for (const Load& l : loads.under_way)
    if (shared_rank(l.copy.shared) == last.block)
      return blame(group.thread[l.thread], l.copy.where, block_name(last.block).c_str(),
                   " returns while this bulk load into its shared memory is under way: nobody has waited for it");
}

// --- stores ---------------------------------------------------------------------------------------------------------

void tensor_store(const void* map, const void* from, const TensorPlace& place, Loc where) {
  begin_store(box(map, from, place, "bulk tensor store", where));
}

void bulk_store(void* to, const void* from, unsigned bytes, Loc where) {
  begin_store(run(to, const_cast<void*>(from), bytes, "bulk store", where));
}

void bulk_commit(Loc where) {
  if (omitted(where, "bulk_commit")) return;
  ++queues.of_thread[group.number(*group.current)].groups;
}

void bulk_wait(int keep, bool only_reads, Loc where) {
  const char* const what = only_reads ? "bulk_wait_read" : "bulk_wait";
  if (omitted(where, what)) return;
  const unsigned me = group.number(*group.current);
  StoreQueue& queue = queues.of_thread[me];
  std::size_t finished = 0;
  for (Store& s : queue.stores) {
    if (s.group + static_cast<unsigned>(keep) >= queue.groups) break;
    if (!s.done) store(s.copy);
    s.done = true;
    s.read_seen = true;
    if (checker::enabled()) {
      checker::learn(s.reading, me);
      if (!only_reads) checker::learn(s.writing, me);
    }
    ++finished;
  }
  if (!only_reads)
    queue.stores.erase(queue.stores.begin(), queue.stores.begin() + static_cast<std::ptrdiff_t>(finished));
}

void check_stores_waited(const Thread& thread) {
  for (const Store& s : queues.of_thread[group.number(thread)].stores)
    if (!s.read_seen)
      return blame(thread, s.copy.where,
                   "the thread returns while this bulk store may still read shared memory: bulk_wait_read is missing",
                   s.group == queues.of_thread[group.number(thread)].groups ? " (and bulk_commit before it)" : "");
}

}  // namespace graft::simt
