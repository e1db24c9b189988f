// Collectives of a warp: each lane brings its part and waits, the last to arrive computes for all. Only __syncwarp
// orders memory; a shuffle exchanges registers.
#include <graft/kernels/simt/group.h>

#include <bit>

namespace graft::simt {
namespace {

// Finds the call that the lane joins, or opens one. Returns true to the lane that completes it.
bool arrive(Thread& me, unsigned mask, const void* kind, const char* what, Loc where) {
  Warp& warp = group.warp[me.warp];
  const unsigned bit = 1u << me.lane;
  if ((mask & bit) == 0) refuse(where, what, ": mask ", Hex{mask}, " does not name the calling lane ", me.lane);
  WarpCall *call = nullptr, *unused = nullptr;
  for (WarpCall& other : warp.calls) {
    if (other.arrived == 0) {
      if (unused == nullptr) unused = &other;
      continue;
    }
    if ((other.mask & mask) == 0) continue;  // other lanes' business
    if (other.mask != mask || other.kind != kind || !same_place(other.where, where))
      refuse(where, what, " (mask ", Hex{mask}, ") while lanes ", Hex{other.arrived}, " of the warp wait in ",
             other.what, " (mask ", Hex{other.mask}, ") at ", other.where);
    call = &other;
    break;
  }
  if (call == nullptr) {
    if ((mask & ~warp.exist) != 0)
      refuse(where, what, ": mask ", Hex{mask}, " names lanes that do not exist: the block's ", group.block_threads,
             " threads are not a multiple of 32");
    if ((mask & warp.done) != 0)
      refuse(where, what, ": mask ", Hex{mask}, " names lanes ", Hex{mask & warp.done}, ", which have returned");
    if (unused == nullptr) refuse(where, what, ": more than 8 groups of lanes of one warp wait at once");
    call = unused;
    *call = {mask, 0, kind, what, where};
  }
  call->arrived |= bit;
  if (call->arrived != mask) return false;
  call->arrived = 0;
  ++statistics.collectives;
  return true;
}

struct ThreadNumbers {
  unsigned value[kWarpLanes];
};

constexpr const char* kShuffleNames[] = {"__shfl_sync", "__shfl_up_sync", "__shfl_down_sync", "__shfl_xor_sync"};

// What a lane gets that asks a lane outside the mask: nothing sensible in any type.
constexpr std::uint64_t kNobodysValue = 0x7ff7fffe7ff7fffeull;

constexpr char kShuffleKinds[4] = {}, kVoteKind = 0, kMatchKind = 0, kReductionKinds[8] = {}, kSyncKind = 0;

template <class Each>
void for_lanes(unsigned mask, Each each) {
  for (; mask != 0; mask &= mask - 1) each(static_cast<unsigned>(std::countr_zero(mask)));
}

// The lane's value, brought; the collective's result for it, taken. `compute` works on the values of all lanes in
// place.
template <class Compute>
std::uint64_t exchange(unsigned mask, std::uint64_t value, const void* kind, const char* what, Loc where,
                       Compute compute) {
  Thread& me = *group.current;
  Warp& warp = group.warp[me.warp];
  warp.value[me.lane] = value;
  if (arrive(me, mask, kind, what, where)) {
    compute(warp.value);
    wake_lanes(me.warp, mask & ~(1u << me.lane));
  } else {
    wait_here(where, what);
  }
  return warp.value[me.lane];
}

}  // namespace

void warp_barrier(unsigned mask, Loc where) {
  if (omitted(where, "__syncwarp")) return;
  Thread& me = *group.current;
  if (!arrive(me, mask, &kSyncKind, "__syncwarp", where)) return wait_here(where, "__syncwarp");
  if (checker::enabled()) {
    ThreadNumbers numbers;
    unsigned count = 0;
    const unsigned first = group.number(me) - me.lane;
    for_lanes(mask, [&](unsigned lane) { numbers.value[count++] = first + lane; });
    checker::join({numbers.value, count});
  }
  wake_lanes(me.warp, mask & ~(1u << me.lane));
}

std::uint64_t warp_shuffle(Shuffle kind, unsigned mask, std::uint64_t value, int argument, int width, Loc where) {
  const auto k = static_cast<unsigned>(kind);
  if (width <= 0 || width > 32 || (width & (width - 1)) != 0)
    refuse(where, kShuffleNames[k], ": width ", width, ", expected a power of two up to 32");
  Thread& me = *group.current;
  group.warp[me.warp].argument[me.lane] =
      static_cast<int>(static_cast<unsigned>(argument) << 6 | static_cast<unsigned>(width));
  return exchange(mask, value, &kShuffleKinds[k], kShuffleNames[k], where, [&](std::uint64_t* values) {
    std::uint64_t result[kWarpLanes];
    const int* const arguments = group.warp[me.warp].argument;
    for_lanes(mask, [&](unsigned unsigned_lane) {
      const int lane = static_cast<int>(unsigned_lane), by = arguments[lane] >> 6, segment = arguments[lane] & 63;
      const int first = lane & ~(segment - 1);
      int source = lane;
      switch (kind) {
        case Shuffle::index:
          source = first | (by & (segment - 1));
          break;
        case Shuffle::up:
          if (lane - by >= first) source = lane - by;
          break;
        case Shuffle::down:
          if (lane + by < first + segment) source = lane + by;
          break;
        case Shuffle::exclusive_or:
          // A lane of a later segment keeps its own; one of an earlier may be read, as PTX has it.
          if ((lane ^ by) < first + segment) source = lane ^ by;
          break;
      }
      source &= 31;
      result[lane] = mask >> source & 1 ? values[source] : kNobodysValue;
    });
    for_lanes(mask, [&](unsigned lane) { values[lane] = result[lane]; });
  });
}

unsigned warp_ballot(unsigned mask, int predicate, Loc where, const char* what) {
  return static_cast<unsigned>(exchange(mask, predicate != 0, &kVoteKind, what, where, [&](std::uint64_t* values) {
    unsigned votes = 0;
    for_lanes(mask, [&](unsigned lane) { votes |= values[lane] != 0 ? 1u << lane : 0u; });
    for_lanes(mask, [&](unsigned lane) { values[lane] = votes; });
  }));
}

unsigned warp_match(unsigned mask, std::uint64_t value, Loc where, const char* what) {
  return static_cast<unsigned>(exchange(mask, value, &kMatchKind, what, where, [&](std::uint64_t* values) {
    unsigned equal[kWarpLanes] = {};
    for_lanes(mask, [&](unsigned a) {
      for_lanes(mask, [&](unsigned b) { equal[a] |= values[a] == values[b] ? 1u << b : 0u; });
    });
    for_lanes(mask, [&](unsigned lane) { values[lane] = equal[lane]; });
  }));
}

unsigned warp_reduction(Reduction kind, unsigned mask, unsigned value, Loc where) {
  static constexpr const char* names[] = {"__reduce_add_sync", "__reduce_min_sync", "__reduce_max_sync",
                                          "__reduce_min_sync", "__reduce_max_sync", "__reduce_and_sync",
                                          "__reduce_or_sync",  "__reduce_xor_sync"};
  const auto k = static_cast<unsigned>(kind);
  return static_cast<unsigned>(exchange(mask, value, &kReductionKinds[k], names[k], where, [&](std::uint64_t* values) {
    auto total = static_cast<unsigned>(values[std::countr_zero(mask)]);
    for_lanes(mask & (mask - 1), [&](unsigned lane) {
      const auto x = static_cast<unsigned>(values[lane]);
      const auto a = static_cast<int>(total), b = static_cast<int>(x);
      switch (kind) {
        case Reduction::add:
          total += x;
          break;
        case Reduction::minimum:
          total = x < total ? x : total;
          break;
        case Reduction::maximum:
          total = x > total ? x : total;
          break;
        case Reduction::minimum_signed:
          total = b < a ? x : total;
          break;
        case Reduction::maximum_signed:
          total = b > a ? x : total;
          break;
        case Reduction::bit_and:
          total &= x;
          break;
        case Reduction::bit_or:
          total |= x;
          break;
        case Reduction::bit_xor:
          total ^= x;
          break;
      }
    });
    for_lanes(mask, [&](unsigned lane) { values[lane] = total; });
  }));
}

void warp_collective(unsigned mask, void* pointer, Combine combine, const char* what, Loc where) {
  Thread& me = *group.current;
  Warp& warp = group.warp[me.warp];
  warp.pointer[me.lane] = pointer;
  if (!arrive(me, mask, reinterpret_cast<const void*>(combine), what, where)) return wait_here(where, what);
  combine(warp.pointer, mask);
  wake_lanes(me.warp, mask & ~(1u << me.lane));
}

void warp_without(Thread& thread) {
  for (const WarpCall& call : group.warp[thread.warp].calls)
    if (call.arrived != 0 && (call.mask >> thread.lane & 1) != 0)
      blame(thread, call.where, "the thread returns while lanes ", Hex{call.arrived}, " of its warp wait for it in ",
            call.what, " (mask ", Hex{call.mask}, ")");
}

}  // namespace graft::simt
