// Who runs next, from the first thread of a grid to the last. See core.h for why the schedule is greedy.
//
// There is no central loop: a thread that waits or ends picks its successor and switches to it. A thread that has not
// begun runs on the fiber of one that has just ended, without a switch, so kernels that never wait cost no switch at
// all.
#include <graft/kernels/simt/group.h>

#include <bit>
#include <mutex>
#include <new>

namespace graft::simt {

Group group;
Stats statistics;

Stats& stats() { return statistics; }
bool in_kernel() { return group.running && group.current != nullptr; }

namespace {

constexpr unsigned kMostIdleRounds = 20000;
std::uint64_t random_state;

// One lane of a warp with ready lanes.
unsigned pick_lane(const Warp& warp) {
  const unsigned ready = warp.ready;
  if (settings.order == Order::Random) {
    const unsigned start = static_cast<unsigned>(schedule_random() % kWarpLanes);
    return (start + static_cast<unsigned>(std::countr_zero(std::rotr(ready, static_cast<int>(start))))) % kWarpLanes;
  }
  if (settings.order == Order::Reverse) {
    const unsigned below = ready & ((1u << warp.last) - 1);
    return 31u - static_cast<unsigned>(std::countl_zero(below ? below : ready));
  }
  const unsigned above = ready & ~((2u << warp.last) - 1);
  return static_cast<unsigned>(std::countr_zero(above ? above : ready));
}

Thread* pick_ready() {
  const bool reverse = settings.order == Order::Reverse;
  unsigned w = group.current_warp;
  if (settings.order == Order::Random && schedule_random() % 16 == 0)
    w = static_cast<unsigned>(schedule_random() % group.warps);
  for (unsigned i = 0; i < group.warps; ++i) {
    Warp& warp = group.warp[w];
    if (warp.ready) {
      const unsigned lane = pick_lane(warp);
      warp.ready &= ~(1u << lane);
      warp.last = lane;
      group.current_warp = w;
      return &group.thread[w / group.block_warps * group.block_threads + w % group.block_warps * kWarpLanes + lane];
    }
    if (reverse)
      w = w == 0 ? group.warps - 1 : w - 1;
    else
      w = w + 1 == group.warps ? 0 : w + 1;
  }
  return nullptr;
}

bool release_spinning() {
  bool any = false;
  for (Warp& warp : group.warp) {
    any |= warp.spinning != 0;
    warp.ready |= warp.spinning;
    warp.spinning = 0;
  }
  return any;
}

void report_deadlock() {
  const OutsideKernel outside;
  std::string report = "deadlock: no thread can go on";
  const Thread *first = nullptr, *previous = nullptr;
  unsigned shown = 0;
  for (const Thread& t : group.thread) {
    const bool as_before = previous != nullptr && previous->block == t.block && previous->done == t.done &&
                           (t.done || (previous->waits == t.waits && same_place(previous->where, t.where)));
    previous = &t;
    if (as_before || ++shown > 8) continue;
    report += "; from ";
    report += thread_name(group.number(t));
    report += t.done ? " on: returned" : " on: in ";
    if (t.done) continue;
    report += t.waits;
    report += " at ";
    append(report, t.where);
    report += mbarrier_state(t);
    if (!t.done && first == nullptr) first = &t;
  }
  fail(first, first != nullptr ? first->where : Loc{"?", 0}, report);
}

// The next thread to run; nullptr when the group has ended or failed.
Thread* pick() {
  while (!group.failed && group.done < group.threads) {
    if (Thread* next = pick_ready()) return next;
    if (perform_one_load()) {  // as late as possible: when nothing else can happen
      group.idle_rounds = 0;
      continue;
    }
    if (++group.idle_rounds <= kMostIdleRounds && release_spinning()) continue;
    report_deadlock();
  }
  return nullptr;
}

void make_current(Thread* thread) {
  group.current = thread;
  if (thread == nullptr) return;
  *coordinates.thread = thread->index;
  if (group.blocks > 1) *coordinates.block = group.block_of(*thread).index;
  if (checker::enabled()) checker::running(group.number(*thread));
}

void end_thread(Thread& thread) {
  drop_cp_async(thread);
  check_stores_waited(thread);
  check_wgmma_waited(thread);
  thread.done = true;
  ++group.done;
  ++group.block_of(thread).done;
  group.warp[thread.warp].done |= 1u << thread.lane;
  group.idle_rounds = 0;
  warp_without(thread);
  barriers_without(thread);
  if (group.failed || group.block_of(thread).done < group.block_threads) return;
  check_loads_done(thread);
  if (checker::enabled() && !group.failed) checker::block_leaves(thread.block);
}

void run_fiber();

// From `self`, the running fiber, to wherever `next` goes on.
void continue_with(Fiber* self, Thread* next) {
  make_current(next);
  Fiber* target = next == nullptr          ? host_fiber()
                  : next->fiber != nullptr ? next->fiber
                                           : next->fiber = take_fiber(run_fiber);
  if (target == self) return;
  group.fiber = target;
  ++statistics.switches;
  switch_fiber(self, target);
}

// A worker: runs its current thread and, while those that come next are new, these too. Between two lives it lies in
// the pool.
void run_fiber() {
  for (;;) {
    Thread& me = *group.current;
    Fiber* const self = me.fiber;
    (*group.body)();
    end_thread(me);
    me.fiber = nullptr;
    Thread* next = pick();
    if (next != nullptr && next->fiber == nullptr) {
      next->fiber = self;
      make_current(next);
      continue;
    }
    give_back(self);
    continue_with(self, next);
  }
}

void run_group(std::uint64_t first_block) {
  group.failed = false;
  group.done = 0;
  group.idle_rounds = 0;
  for (Thread& t : group.thread) {
    t.fiber = nullptr;
    t.waits = nullptr;
    t.done = false;
  }
  for (Warp& warp : group.warp) {
    warp.ready = warp.exist;
    warp.spinning = warp.done = 0;
    warp.last = settings.order == Order::Reverse ? 0 : 31;
    for (WarpCall& call : warp.calls) call.arrived = 0;
  }
  prepare_barriers();
  prepare_cp_async();
  prepare_mbarriers();
  prepare_tma();
  prepare_wgmma();
  checker::block_begin(first_block, group.blocks, group.threads);
  prepare_shared_memory();
  group.current_warp = settings.order == Order::Reverse ? group.warps - 1 : 0;
  *coordinates.block = group.block[0].index;

  group.running = true;
  if (Thread* first = pick()) continue_with(host_fiber(), first);
  group.running = false;
  group.current = nullptr;

  if (group.failed) {  // the threads that never end: their stacks are taken back as they are
    for (Thread& t : group.thread)
      if (t.fiber != nullptr) {
        reset_fiber(t.fiber);
        give_back(t.fiber);
        t.fiber = nullptr;
      }
  }
  statistics.blocks += group.blocks;
  statistics.threads += group.threads;
  checker::block_end();
}

// What stays the same from block to block.
void prepare_group(const LaunchDims& dims, const std::function<void()>& body) {
  group.dims = dims;
  group.body = &body;
  group.blocks = dims.cluster.x * dims.cluster.y * dims.cluster.z;
  group.block_threads = dims.block.x * dims.block.y * dims.block.z;
  group.block_warps = (group.block_threads + kWarpLanes - 1) / kWarpLanes;
  group.threads = group.blocks * group.block_threads;
  group.warps = group.blocks * group.block_warps;
  group.thread.resize(group.threads);
  group.warp.resize(group.warps);
  group.block.resize(group.blocks);
  for (Warp& warp : group.warp) warp.exist = 0;
  for (unsigned i = 0; i < group.threads; ++i) {
    Thread& t = group.thread[i];
    const unsigned in_block = i % group.block_threads;
    t.index = {in_block % dims.block.x, in_block / dims.block.x % dims.block.y, in_block / dims.block.x / dims.block.y};
    t.block = i / group.block_threads;
    t.warp = t.block * group.block_warps + in_block / kWarpLanes;
    t.lane = in_block % kWarpLanes;
    group.warp[t.warp].exist |= 1u << t.lane;
  }
}

// The blocks of cluster number `cluster`, x fastest.
void place_blocks(std::uint64_t cluster) {
  const dim3 &of = group.dims.cluster, &grid = group.dims.grid;
  const std::uint64_t across = grid.x / of.x, down = grid.y / of.y;
  const auto x = static_cast<unsigned>(cluster % across), y = static_cast<unsigned>(cluster / across % down),
             z = static_cast<unsigned>(cluster / across / down);
  for (unsigned r = 0; r < group.blocks; ++r)
    group.block[r].index = {x * of.x + r % of.x, y * of.y + r / of.x % of.y, z * of.z + r / of.x / of.y};
}

// A permutation of 0..n-1 without a table: i -> (i * step + start) mod n, step and n without a common divisor.
struct ShuffledOrder {
  std::uint64_t n, step = 1, start = 0;
  explicit ShuffledOrder(std::uint64_t count) : n(count) {
    start = schedule_random() % n;
    for (step = n > 2 ? 1 + schedule_random() % (n - 1) : 1;; ++step) {
      std::uint64_t a = n, b = step;
      while (b != 0) {
        const std::uint64_t rest = a % b;
        a = b;
        b = rest;
      }
      if (a == 1) break;
    }
  }
  std::uint64_t operator()(std::uint64_t i) const {
    return static_cast<std::uint64_t>((static_cast<__uint128_t>(i) * step + start) % n);
  }
};

}  // namespace

std::uint64_t schedule_random() {  // splitmix64
  std::uint64_t z = random_state += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

void wait_here(Loc where, const char* what) {
  Thread& me = *group.current;
  me.where = where;
  me.waits = what;
  continue_with(me.fiber, pick());
  me.waits = nullptr;
}

void wake_lanes(unsigned warp, unsigned lanes) {
  group.warp[warp].ready |= lanes;
  group.idle_rounds = 0;
}

void yield_spin(Loc where, const char* what) {
  const Thread& me = *group.current;
  group.warp[me.warp].spinning |= 1u << me.lane;
  wait_here(where, what);
}

void report_failure(Loc where, std::string_view what) { fail(group.current, where, what); }

void abandon_thread() {
  continue_with(group.fiber, nullptr);
  __builtin_unreachable();
}

void device_fail(Loc where, std::string_view what) {
  report_failure(where, what);
  abandon_thread();
}

void run_grid(const LaunchDims& dims, const std::function<void()>& body) {
  static std::mutex one_grid_at_a_time;
  const std::lock_guard lock(one_grid_at_a_time);
  random_state = settings.seed;
  prepare_sites(dims.name);
  const dim3& cluster = dims.cluster;
  group.dims = dims;
  group.failed = false;
  const std::uint64_t blocks_together = static_cast<std::uint64_t>(cluster.x) * cluster.y * cluster.z;
  if (blocks_together == 0 || blocks_together > kMostBlocks || dims.grid.x % cluster.x || dims.grid.y % cluster.y ||
      dims.grid.z % cluster.z) {
    fail(nullptr, {}, "the grid does not consist of whole clusters of at most 8 blocks");
    return;
  }
  prepare_group(dims, body);
  *coordinates.block_dims = dims.block;
  *coordinates.grid_dims = dims.grid;
  checker::grid_begin(dims);
  const std::uint64_t clusters = static_cast<std::uint64_t>(dims.grid.x) * dims.grid.y * dims.grid.z / group.blocks;
  const ShuffledOrder shuffled(clusters);
  for (std::uint64_t i = 0; i < clusters && !group.failed; ++i) {
    const std::uint64_t cluster_number = settings.order == Order::Forward   ? i
                                         : settings.order == Order::Reverse ? clusters - 1 - i
                                                                            : shuffled(i);
    place_blocks(cluster_number);
    run_group(cluster_number * group.blocks);
  }
  checker::grid_end();
}

}  // namespace graft::simt
