// Barriers of a block (all of it, or `threads` of it by number) and of a cluster.
#include <graft/kernels/simt/group.h>

#include <bit>
#include <string>

namespace graft::simt {
namespace {

ClusterBarrier cluster_barrier;
// Which of the cluster barrier's phases each thread has arrived in; a thread waits for the one it arrived in last.
struct ClusterTicket {
  std::uint64_t phase = 0;
  bool arrived = false, waits = false;
};
std::vector<ClusterTicket> tickets;

struct ThreadNumber {
  unsigned value;
};

// Tells the checker that the barrier's threads are synchronised. Those that only arrived left their part behind when
// they did (release); the others, which all wait at this moment, give theirs and take everybody's.
void join_arrived(const Barrier& barrier, unsigned first_warp) {
  static std::vector<ThreadNumber> waiting;
  static_assert(sizeof(ThreadNumber) == sizeof(unsigned));
  if (!barrier.split && barrier.arrived == group.threads) return checker::join_all();
  waiting.clear();
  for (unsigned w = 0; w < group.block_warps; ++w)
    for (unsigned lanes = barrier.waiting[w]; lanes != 0; lanes &= lanes - 1)
      waiting.push_back({first_warp / group.block_warps * group.block_threads + w * kWarpLanes +
                         static_cast<unsigned>(std::countr_zero(lanes))});
  if (!barrier.split) return checker::join({&waiting.data()->value, waiting.size()});
  for (const ThreadNumber thread : waiting) checker::release(&barrier, thread.value);
  for (const ThreadNumber thread : waiting) checker::acquire(&barrier, thread.value);
}

void release(Barrier& barrier, unsigned first_warp) {
  ++statistics.barriers;
  for (unsigned w = 0; w < group.block_warps; ++w) {
    wake_lanes(first_warp + w, barrier.waiting[w]);
    barrier.waiting[w] = 0;
  }
  barrier.result = barrier.votes;
  barrier.arrived = barrier.votes = 0;
  barrier.split = false;
}

// The running thread's part in the barrier; returns when the barrier lets it go on. `ordered`: memory is synchronised.
void take_part(Barrier& barrier, unsigned needed, bool wait, bool ordered, Loc where, const char* what) {
  Thread& me = *group.current;
  const unsigned first_warp = me.block * group.block_warps, warp = me.warp - first_warp, bit = 1u << me.lane;
  barrier.where = where;
  barrier.what = what;
  barrier.needed = needed;
  barrier.split |= !wait;
  const bool checked = ordered && checker::enabled();
  if (checked && !wait) checker::release(&barrier, group.number(me));
  if (wait) barrier.waiting[warp] |= bit;
  if (++barrier.arrived < needed) {
    if (wait) wait_here(where, what);
    return;
  }
  if (checked) join_arrived(barrier, first_warp);
  barrier.waiting[warp] &= ~bit;
  release(barrier, first_warp);
}

}  // namespace

void prepare_barriers() {
  for (Block& block : group.block) {
    block.done = 0;
    for (Barrier& barrier : block.barriers) {
      if (barrier.arrived != 0) std::memset(barrier.waiting, 0, sizeof barrier.waiting);
      barrier.arrived = barrier.votes = 0;
      barrier.split = false;
    }
  }
  cluster_barrier = {};
  if (group.blocks > 1 || !tickets.empty()) tickets.assign(group.threads, ClusterTicket{});
}

int block_barrier(Vote vote, int predicate, Loc where, const char* what) {
  Thread& me = *group.current;
  Block& block = group.block_of(me);
  Barrier& barrier = block.barriers[0];
  const bool omit = omitted(where, what);
  if (omit && vote == Vote::none) return 0;
  if (block.done != 0)
    refuse(where, what, " cannot complete: ", block.done,
           " thread(s) of the block have returned before it (early exit)");
  if (barrier.arrived != 0 && !same_place(barrier.where, where))
    refuse(where, what, " is reached while other threads of the block wait in ", barrier.what, " at ", barrier.where,
           " (divergent barrier)");
  barrier.votes += predicate != 0;
  take_part(barrier, group.block_threads, true, !omit, where, what);
  // The votes stay until the barrier's next round is complete, which needs this thread.
  const int count = static_cast<int>(barrier.result);
  return vote == Vote::count ? count : vote == Vote::all ? count == static_cast<int>(group.block_threads) : count > 0;
}

void named_barrier(int id, int threads, bool wait, Loc where) {
  const char* what = wait ? "named barrier" : "named barrier (arrive)";
  if (omitted(where, what)) return;
  if (id < 1 || id >= static_cast<int>(kBarriers))
    refuse(where, "named barrier ", id, ": expected a number from 1 to 15");
  const auto needed = static_cast<unsigned>(threads);
  if (threads <= 0 || needed % kWarpLanes != 0 || needed > group.block_warps * kWarpLanes)
    refuse(where, "named barrier ", id, " of ", threads, " threads: expected a multiple of 32 up to the block's");
  Barrier& barrier = group.block_of(*group.current).barriers[id];
  if (barrier.arrived != 0 && barrier.needed != needed)
    refuse(where, "named barrier ", id, " of ", threads, " threads, but others reached it at ", barrier.where,
           " expecting ", barrier.needed);
  take_part(barrier, needed, wait, true, where, what);
}

void barriers_without(Thread& thread) {
  const Barrier& barrier = group.block_of(thread).barriers[0];
  if (barrier.arrived != 0)
    blame(thread, barrier.where, "the thread returns while ", barrier.arrived, " thread(s) of its block wait in ",
          barrier.what, " (early exit)");
  if (group.blocks == 1) return;
  if (tickets[group.number(thread)].arrived)
    blame(thread, cluster_barrier.where, "the thread returns after cluster_arrive without cluster_wait");
  else if (cluster_barrier.arrived != 0)
    blame(thread, cluster_barrier.where,
          "the thread returns while others of its cluster wait in the cluster's barrier (early exit)");
}

// --- clusters -------------------------------------------------------------------------------------------------------

void cluster_arrive(Loc where) {
  if (omitted(where, "cluster_arrive")) return;
  if (group.blocks == 1) tickets.resize(group.threads);
  Thread& me = *group.current;
  ClusterTicket& ticket = tickets[group.number(me)];
  if (ticket.arrived) refuse(where, "cluster_arrive: the thread has arrived already and not waited since");
  if (group.done != 0)
    refuse(where, "the cluster's barrier cannot complete: ", group.done,
           " thread(s) of the cluster have returned before it (early exit)");
  ticket = {cluster_barrier.phase, true, false};
  cluster_barrier.where = where;
  if (checker::enabled()) checker::release(&cluster_barrier, group.number(me));
  if (++cluster_barrier.arrived < group.threads) return;
  ++statistics.barriers;
  cluster_barrier.arrived = 0;
  ++cluster_barrier.phase;
  for (unsigned t = 0; t < group.threads; ++t)
    if (tickets[t].waits) {
      tickets[t].waits = false;
      wake_lanes(group.thread[t].warp, 1u << group.thread[t].lane);
    }
}

void cluster_wait(Loc where) {
  Thread& me = *group.current;
  if (group.blocks == 1) tickets.resize(group.threads);
  ClusterTicket& ticket = tickets[group.number(me)];
  const bool omit = omitted(where, "cluster_wait");
  if (!ticket.arrived) {
    if (omit || settings.omit.line != 0) return;  // a test took the other half away
    refuse(where, "cluster_wait: the thread has not arrived (cluster_arrive) before");
  }
  if (!omit && cluster_barrier.phase == ticket.phase) {
    ticket.waits = true;
    wait_here(where, "cluster_wait");
  }
  ticket.arrived = false;
  if (!omit && checker::enabled()) checker::acquire(&cluster_barrier, group.number(me));
}

unsigned cluster_rank() { return group.current->block; }
unsigned cluster_size() { return group.blocks; }
dim3 cluster_dims() { return group.dims.cluster; }

}  // namespace graft::simt
