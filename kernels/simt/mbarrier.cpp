// mbarriers: a phase is complete when all arrivals have come and as many bytes as were announced. What a barrier holds
// stands in a record here; its 64 bits in shared memory are the record's number, so that a barrier that something has
// overwritten is none any more.
#include <graft/kernels/simt/group.h>

#include <deque>

namespace graft::simt {
namespace {

constexpr std::uint64_t kMark = 0x6772616674000000;  // no number or pointer, no NaN of a fill
constexpr unsigned kMostCount = (1u << 20) - 1;

struct Waiter {
  unsigned thread;
};

struct Record {
  std::uint64_t* barrier = nullptr;
  unsigned count = 0, missing = 0;  // arrivals of a phase; of this one, still to come
  long long bytes = 0;              // announced and not brought; negative: brought and not announced yet
  std::uint64_t phase = 0;
  unsigned maker = 0;      // the thread that initialised it
  std::uint64_t made_at = 0;  // as the checker counts
  bool published = false;  // with a fence after that
  Loc made{};
  std::vector<Waiter> waiting;
  char arrived = 0, completed = 0;  // their addresses name to the checker what comes with this phase, and came before
};

// A deque: the checker knows parts of its elements by address.
struct Records {
  std::deque<Record> all;
};
Records& records() {
  static auto* const r = new Records;
  return *r;
}
std::size_t used = 0;

std::uint64_t word_of(std::size_t number) { return kMark + number; }

Record* find(const std::uint64_t* barrier) {
  const std::uint64_t number = *barrier - kMark;
  if (number >= used || records().all[number].barrier != barrier) return nullptr;
  return &records().all[number];
}

// What every operation begins with: a barrier in shared memory (of the thread's own block, unless remote).
Record& check(std::uint64_t* barrier, bool remote, const char* what, Loc where) {
  if (reinterpret_cast<std::uintptr_t>(barrier) % 8 != 0)
    refuse(where, what, ": the mbarrier's address is not a multiple of 8 (misaligned)");
  if (!is_shared(barrier)) refuse(where, what, ": the mbarrier does not lie in shared memory");
  if (!remote && shared_rank(barrier) != group.current->block)
    refuse(where, what, ": the mbarrier lies in the shared memory of another block of the cluster");
  Record* const record = find(barrier);
  if (record == nullptr) refuse(where, what, ": the mbarrier has not been initialised, or was overwritten since");
  if (!checker::enabled()) return *record;
  // The memory's own last write may be an arrival since.
  if (!checker::knows(record->made_at))
    refuse(where, what, ": race with the mbarrier's initialisation at ", record->made, " by ",
           thread_name(record->maker).c_str(), ": nothing orders the two");
  checker::atomic(barrier, sizeof *barrier, where);
  return *record;
}

void complete_phase(Record& r) {
  if (r.missing != 0 || r.bytes != 0) return;
  ++r.phase;
  r.missing = r.count;
  ++statistics.barriers;
  if (checker::enabled()) checker::pass_on(&r.arrived, &r.completed);
  for (const Waiter& w : r.waiting) wake_lanes(group.thread[w.thread].warp, 1u << group.thread[w.thread].lane);
  r.waiting.clear();
}

void arrive(Record& r, unsigned count, Loc where) {
  if (count > r.missing)
    refuse(where, "mbarrier_arrive: ", count, " arrival(s), but phase ", r.phase, " of the mbarrier made at ", r.made,
           " lacks only ", r.missing, " of ", r.count, " (too many arrivals)");
  if (checker::enabled()) checker::release(&r.arrived, group.number(*group.current));
  r.missing -= count;
  complete_phase(r);
}

void expect(Record& r, unsigned bytes, Loc where) {
  if (bytes > kMostCount) refuse(where, "an mbarrier can wait for at most ", kMostCount, " bytes, not ", bytes);
  r.bytes += bytes;
}

// The phase of this parity is over, as far as one can tell.
bool is_over(const Record& r, unsigned parity) { return (r.phase & 1) != (parity & 1); }

void leave(const Record& r) {
  if (checker::enabled()) checker::acquire(&r.completed, group.number(*group.current));
}

}  // namespace

void prepare_mbarriers() {
  for (std::size_t i = 0; i < used; ++i) {
    records().all[i].barrier = nullptr;
    records().all[i].waiting.clear();
  }
  used = 0;
}

void mbarrier_init(std::uint64_t* barrier, unsigned count, Loc where) {
  if (reinterpret_cast<std::uintptr_t>(barrier) % 8 != 0)
    refuse(where, "mbarrier_init: the address is not a multiple of 8 (misaligned)");
  if (!is_shared(barrier) || shared_rank(barrier) != group.current->block)
    refuse(where, "mbarrier_init: the mbarrier does not lie in the block's shared memory");
  if (count == 0 || count > kMostCount)
    refuse(where, "mbarrier_init: ", count, " arrivals a phase: expected 1 to ", kMostCount);
  if (const Record* const old = find(barrier))
    refuse(where, "mbarrier_init: the mbarrier was initialised at ", old->made, " already (mbarrier_invalidate first)");
  if (checker::enabled()) checker::write(barrier, sizeof *barrier, where);
  if (used == records().all.size()) records().all.emplace_back();
  Record& r = records().all[used];
  r.barrier = barrier;
  r.count = r.missing = count;
  r.bytes = 0;
  r.phase = 0;
  r.maker = group.number(*group.current);
  r.made_at = checker::enabled() ? checker::moment() : 0;
  r.published = false;
  r.made = where;
  *barrier = word_of(used++);
}

void mbarrier_invalidate(std::uint64_t* barrier, Loc where) {
  Record& r = check(barrier, false, "mbarrier_invalidate", where);
  if (checker::enabled()) checker::write(barrier, sizeof *barrier, where);
  if (!r.waiting.empty()) refuse(where, "mbarrier_invalidate: threads wait for the mbarrier");
  if (r.bytes != 0) refuse(where, "mbarrier_invalidate: ", r.bytes, " bytes are still to come");
  r.barrier = nullptr;
  *barrier = ~std::uint64_t{0};
}

void mbarrier_arrive(std::uint64_t* barrier, unsigned count, unsigned bytes, Loc where) {
  if (omitted(where, "mbarrier_arrive")) return;
  Record& r = check(barrier, false, "mbarrier_arrive", where);
  if (bytes != 0) expect(r, bytes, where);
  arrive(r, count, where);
}

void mbarrier_arrive_remote(std::uint64_t* barrier, unsigned rank, Loc where) {
  if (omitted(where, "mbarrier_arrive_remote")) return;
  auto* const there = static_cast<std::uint64_t*>(map_shared(barrier, rank, where));
  Record& r = check(there, true, "mbarrier_arrive_remote", where);
  if (rank != group.current->block && !r.published)
    refuse(where, "mbarrier_arrive_remote: the mbarrier of ", block_name(rank).c_str(), " was initialised at ", r.made,
           " without a fence_mbarrier_init after it");
  arrive(r, 1, where);
}

void mbarrier_expect(std::uint64_t* barrier, unsigned bytes, Loc where) {
  expect(check(barrier, false, "mbarrier_expect", where), bytes, where);
}

bool mbarrier_test(std::uint64_t* barrier, unsigned parity, Loc where) {
  const Record& r = check(barrier, false, "mbarrier_try_wait", where);
  if (!is_over(r, parity)) yield_spin(where, "mbarrier_try_wait");
  if (!is_over(r, parity)) return false;
  leave(r);
  return true;
}

void mbarrier_wait(std::uint64_t* barrier, unsigned parity, Loc where) {
  if (omitted(where, "mbarrier_wait")) return;
  Record& r = check(barrier, false, "mbarrier_wait", where);
  if (!is_over(r, parity)) {
    const std::uint64_t phase = r.phase;
    r.waiting.push_back({group.number(*group.current)});
    wait_here(where, "mbarrier_wait");
    if (r.phase > phase + 1)
      refuse(where, "mbarrier_wait: phase ", phase, " of the mbarrier made at ", r.made,
             " is over, and the next too: a device's thread may have seen neither end, and wait for ever");
  }
  leave(r);
}

std::string mbarrier_state(const Thread& thread) {
  std::string text;
  for (std::size_t i = 0; i < used; ++i) {
    const Record& r = records().all[i];
    for (const Waiter& w : r.waiting) {
      if (w.thread != group.number(thread)) continue;
      append(text, " (phase ");
      append(text, r.phase);
      append(text, " of the mbarrier made at ");
      append(text, r.made);
      append(text, ": ");
      append(text, r.missing);
      append(text, " of ");
      append(text, r.count);
      append(text, " arrival(s) missing");
      if (r.bytes > 0) {
        append(text, ", ");
        append(text, r.bytes);
        append(text, " bytes announced but not brought");
      }
      if (r.bytes < 0) {
        append(text, ", ");
        append(text, -r.bytes);
        append(text, " bytes brought but not announced");
      }
      append(text, ")");
    }
  }
  return text;
}

// --- what bulk copies do to them ------------------------------------------------------------------------------------

void check_completes_on(std::uint64_t* barrier, Loc where) {
  const Record& r = check(barrier, true, "bulk copy", where);
  if (!r.published)
    refuse(where, "bulk copy: its mbarrier was initialised at ", r.made,
           " without a fence_mbarrier_init (or fence_proxy_async) after it");
}

void mbarrier_bytes(std::uint64_t* barrier, unsigned bytes, const checker::Operation& operation, const Thread& thread,
                    Loc where) {
  Record* const r = find(barrier);
  if (r == nullptr)
    return blame(thread, where,
                 "bulk copy: its mbarrier was overwritten, or invalidated, before the copy was complete");
  if (checker::enabled()) checker::tell(operation, &r->arrived);
  r->bytes -= bytes;
  if (r->bytes < 0 && r->missing == 0)
    return blame(thread, where, "bulk copy of ", bytes, " bytes: phase ", r->phase, " of its mbarrier got ", -r->bytes,
                 " bytes more than mbarrier_expect announced");
  complete_phase(*r);
}

void fence_mbarrier_init(Loc where) {
  if (omitted(where, "fence_mbarrier_init")) return;
  const unsigned me = group.number(*group.current);
  for (std::size_t i = 0; i < used; ++i)
    if (records().all[i].maker == me) records().all[i].published = true;
}

void fence_proxy_async(Loc where) {
  if (omitted(where, "fence_proxy_async")) return;
  fence_mbarrier_init(where);
  if (checker::enabled()) checker::fence(group.number(*group.current));
}

}  // namespace graft::simt
