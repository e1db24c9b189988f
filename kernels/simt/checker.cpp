// Who knows of whom: the clocks of the checker, the groups and grids; and the accesses that the emulator performs
// itself. The check of an access is in checker_access.h, the texts in checker_report.cpp.
#include <graft/kernels/simt/checker.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include <graft/kernels/simt/checker_access.h>
#include <graft/kernels/simt/checker_knowledge.h>
#include <graft/kernels/simt/checker_report.h>

namespace graft::simt::checker {

bool active = false;
Watch watch;

namespace {

constexpr std::uint32_t kLastClock = (1u << kClockBits) - 2;
constexpr std::uint32_t kLastSerial = (1u << (64 - kSerialBit)) - 2;

}  // namespace

Knowledge& knowledge() {
  static auto* const k = new Knowledge;
  return *k;
}

std::vector<SharedRange>& declared() {
  static auto* const d = new std::vector<SharedRange>;
  return *d;
}

void refresh() {
  const Knowledge& k = knowledge();
  if (k.clock.empty()) return;
  watch.now = Moment{watch.serial} << kSerialBit | Moment{k.clock[watch.thread]} << kThreadBits | watch.thread;
  watch.warp_base = k.warp_base[watch.warp];
  watch.overlay = k.overlay[watch.thread] == nullptr ? nullptr : k.overlay[watch.thread]->data();
}

namespace {

void next_serial() {
  if (watch.serial < kLastSerial) ++watch.serial;
  note_group(watch.serial);
}

// What any thread knows of the agents, all do from now on.
void share_knowledge_of_agents() {
  Knowledge& k = knowledge();
  const Vector* added = nullptr;
  for (unsigned t = 0; t < watch.first_agent; ++t) {
    const Vector* const overlay = k.overlay[t].get();
    if (overlay == nullptr || overlay == added) continue;
    for (unsigned a = 0; a < kAgents; ++a)
      k.agent_base[a] = std::max(k.agent_base[a], (*overlay)[watch.first_agent + a]);
    added = overlay;
  }
}

// Everything up to now happened before everything from now on, but for what asynchronous operations do.
void all_meet() {
  Knowledge& k = knowledge();
  const bool new_serial = k.top >= kLastClock / 2;
  if (watch.has_agents && !new_serial) share_knowledge_of_agents();
  if (!k.drawn.empty()) share_drawn();
  if (new_serial) {
    next_serial();
    k.top = 0;
    std::fill(k.agent_base.begin(), k.agent_base.end(), 0u);
    std::fill(k.fenced.begin(), k.fenced.end(), 0u);
  }
  watch.base = k.top++;
  std::fill(k.clock.begin(), k.clock.end(), k.top);
  if (watch.base == 0) std::fill(k.warp_base.begin(), k.warp_base.end(), 0u);
  if (k.overlaid) {
    std::fill(k.overlay.begin(), k.overlay.end(), nullptr);
    k.overlaid = false;
  }
  if (watch.has_agents && !new_serial) return;  // objects and sets may tell of agents, which met nobody
  k.objects.clear();
  forget_sets();
}

}  // namespace

std::uint32_t tick() {
  Knowledge& k = knowledge();
  if (k.top >= kLastClock) all_meet();
  return ++k.top;
}

void raise(Vector& to, const Vector& from) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] = std::max(to[i], from[i]);
}

void add_knowledge(Vector& to, unsigned thread, bool with_warp) {
  const Knowledge& k = knowledge();
  if (with_warp) {
    if (k.overlay[thread] != nullptr) raise(to, *k.overlay[thread]);
    const unsigned warp = thread / 32;
    for (unsigned t = warp * 32; t < std::min(warp * 32 + 32, watch.first_agent); ++t)
      to[t] = std::max(to[t], k.warp_base[warp]);
  }
  to[thread] = std::max(to[thread], k.clock[thread]);
}

namespace {

Knowledge::Object* find_object(const void* address) {
  for (Knowledge::Object& o : knowledge().objects)
    if (o.address == address) return &o;
  return nullptr;
}

template <Kind kind>
void emulated_access(const void* p, std::size_t bytes, Loc where) {
  const std::size_t offset = reinterpret_cast<std::uintptr_t>(p) - watch.begin;
  if (offset >= watch.bytes || bytes == 0) return;
  check_range<kind>(offset, bytes, place_of(where));
}

bool unwatched = false;  // a grid has run that nobody watched

}  // namespace

void set_active(bool on) {
  reservation();
  active = on && shadow.state != nullptr;
  if (!active) unwatched = true;
}

// --- told by the scheduler ------------------------------------------------------------------------------------------

void grid_begin(const LaunchDims& dims) {
  if (!active) return;
  if (unwatched) mark_all_written();
  unwatched = false;
  if (watch.serial > kLastSerial / 2) {  // half of the serial numbers are used up: all cells become void
    drop_cells();
    watch.serial = 1;
  }
  watch.begin = reinterpret_cast<std::uintptr_t>(reservation().begin);
  watch.bytes = reservation().bytes;
  watch.launch_serial = watch.serial + 1;
  begin_groups(dims, watch.launch_serial);
  begin_launch_tickets();
}

void grid_end() { watch.bytes = 0; }

void block_begin(std::uint64_t first_block, unsigned, unsigned threads) {
  for (const SharedRange& range : declared()) make_shared_untouchable(range.begin, range.bytes);
  declared().clear();
  if (!active) return;
  group_is(first_block);
  next_serial();
  watch.group_serial = watch.serial;
  Knowledge& k = knowledge();
  k.top = 1;
  watch.base = 0;
  watch.first_agent = threads;
  watch.threads = threads + kAgents;
  k.clock.assign(watch.threads, 1);
  k.warp_base.assign((threads + 31) / 32, 0);
  if (k.overlaid || k.overlay.size() != threads) k.overlay.assign(threads, nullptr);
  k.overlaid = false;
  k.objects.clear();
  begin_agents();
  begin_group_tickets();
  watch.next_set = 0;
  forget_sets();
  running(0);
}

void declare_shared(const void* begin, std::size_t bytes) {
  if (watched_offset(begin) >= kSharedBytes || bytes == 0) return;
  declared().push_back({begin, bytes});
  make_shared_touchable(begin, bytes);
}

void block_end() { watch.overlay = nullptr; }

void running(unsigned thread) {
  watch.thread = thread;
  watch.warp = thread / 32;
  watch.registers = knowledge().registers[thread].begin;
  watch.register_bytes = knowledge().registers[thread].bytes;
  refresh();
}

Vector& known_by(const void* object) {
  Knowledge& k = knowledge();
  Knowledge::Object* o = find_object(object);
  if (o == nullptr) {
    k.objects.push_back({object, nullptr, nullptr});
    o = &k.objects.back();
  }
  // The vector is written in place unless some thread has taken it over.
  if (o->known == nullptr || o->known.use_count() != 1)
    o->known = o->known != nullptr ? std::make_shared<Vector>(*o->known) : std::make_shared<Vector>(watch.threads, 0u);
  return *std::const_pointer_cast<Vector>(o->known);
}

void pass_on(const void* from, const void* to) {
  Knowledge& k = knowledge();
  Knowledge::Object* const o = find_object(from);
  if (o == nullptr) return;
  const SharedVector known = std::move(o->known);
  const SharedDrawn drawn = std::move(o->drawn);
  *o = std::move(k.objects.back());
  k.objects.pop_back();
  raise(known_by(to), *known);
  if (drawn != nullptr) find_object(to)->drawn = both(find_object(to)->drawn, drawn);
}

void learn(const SharedVector& known, unsigned thread) {
  Knowledge& k = knowledge();
  if (k.overlay[thread] == known) return;
  if (k.overlay[thread] == nullptr) {
    k.overlay[thread] = known;
  } else {  // often the same for one lane of a warp after another
    static SharedVector last_known, last_overlay, last_both;
    if (last_known != known || last_overlay != k.overlay[thread]) {
      const auto both = std::make_shared<Vector>(*known);
      raise(*both, *k.overlay[thread]);
      last_known = known;
      last_overlay = k.overlay[thread];
      last_both = both;
    }
    k.overlay[thread] = last_both;
  }
  k.overlaid = true;
  refresh();
}

std::uint64_t moment() { return watch.now; }
bool knows(std::uint64_t moment) { return happened_before(moment); }

void join_all() {
  all_meet();
  refresh();
}

void join(std::span<const unsigned> threads) {
  Knowledge& k = knowledge();
  if (threads.size() == watch.first_agent) return join_all();
  if (threads.size() < 2) return;
  const std::uint32_t now = tick();
  if (!k.drawn.empty()) {
    SharedDrawn drawn;
    for (const unsigned t : threads) drawn = both(drawn, k.drawn[t]);
    for (const unsigned t : threads) k.drawn[t] = drawn;
  }
  const unsigned warp = threads[0] / 32;
  std::uint32_t lanes = 0;
  bool alike = true;
  for (const unsigned t : threads) {
    if (t / 32 != warp || k.overlay[t] != k.overlay[threads[0]]) {
      alike = false;
      break;
    }
    lanes |= 1u << t % 32;
  }
  if (alike && lanes == ~0u) {  // a whole warp that knows the same of the others
    for (const unsigned t : threads) k.clock[t] = now;
    k.warp_base[warp] = now - 1;
  } else {
    const auto known = std::make_shared<Vector>(watch.threads, 0u);
    const Vector* added = nullptr;
    unsigned added_warp = ~0u;
    for (const unsigned t : threads) {
      const bool same = t / 32 == added_warp && k.overlay[t].get() == added;
      add_knowledge(*known, t, !same);
      added_warp = t / 32;
      added = k.overlay[t].get();
    }
    for (const unsigned t : threads) {
      k.clock[t] = now;
      k.overlay[t] = known;
    }
    k.overlaid = true;
  }
  refresh();
}

void release(const void* object, unsigned thread) {
  const std::uint32_t now = tick();
  add_knowledge(known_by(object), thread, true);
  Knowledge& k = knowledge();
  if (!k.drawn.empty()) find_object(object)->drawn = both(find_object(object)->drawn, k.drawn[thread]);
  k.clock[thread] = now;
  refresh();
}

void acquire(const void* object, unsigned thread) {
  const Knowledge::Object* const o = find_object(object);
  if (o == nullptr) return;
  Knowledge& k = knowledge();
  if (!k.drawn.empty()) k.drawn[thread] = both(k.drawn[thread], o->drawn);
  learn(o->known, thread);
}

// --- accesses that the emulator performs ----------------------------------------------------------------------------

void read(const void* p, std::size_t bytes, Loc where) { emulated_access<Kind::read>(p, bytes, where); }
void write(const void* p, std::size_t bytes, Loc where) { emulated_access<Kind::write>(p, bytes, where); }
void atomic(const void* p, std::size_t bytes, Loc where) { emulated_access<Kind::atomic>(p, bytes, where); }

void will_write(const void* p, std::size_t bytes, Loc where) {
  const std::size_t offset = reinterpret_cast<std::uintptr_t>(p) - watch.begin;
  if (offset >= watch.bytes || bytes == 0) return;
  check_range<Kind::write>(offset, bytes, place_of_copy(where));
  for (std::size_t at = offset; at < offset + bytes; ++at)
    shadow.state[at / 4] &= static_cast<std::uint8_t>(~(0x10u << at % 4));
}

// --- sets of readers ------------------------------------------------------------------------------------------------

void more_sets(std::size_t words) {
  watch.set_capacity = std::max(2 * watch.set_capacity, watch.set_capacity + words + 4096);
  watch.sets = static_cast<std::uint32_t*>(std::realloc(watch.sets, watch.set_capacity * sizeof(std::uint32_t)));
  if (watch.sets == nullptr) std::abort();
}

unsigned unordered_reader(Moment set) {
  const std::uint32_t* const words = set_words(set);
  const std::uint32_t kind = words[1] & kSetKind;
  if (words[0] <= watch.base && !watch.has_agents) return kMostThreads;
  if (kind == kClocks) {
    for (unsigned t = 0; t < watch.threads; ++t)
      if (words[2 + t] != 0 && !happened_before(words[2 + t], t)) return t;
    return kMostThreads;
  }
  if (kind == kPairs) {
    for (const std::uint32_t *pair = words + 2, *end = pair + 2 * kMostPairs; pair < end && pair[1] != 0; pair += 2)
      if (!happened_before(pair[1], pair[0])) return pair[0];
    return kMostThreads;
  }
  for (unsigned i = 0; i < (watch.threads + 31) / 32; ++i)
    for (std::uint32_t left = words[2 + i]; left != 0; left &= left - 1) {
      const unsigned t = i * 32 + static_cast<unsigned>(__builtin_ctz(left));
      if (!happened_before(words[0], t)) return t;
    }
  return kMostThreads;
}

Moment with_reader(Moment set) {
  const std::uint32_t clock = clock_of(watch.now);
  std::uint32_t* words = set_words(set);
  const std::uint32_t kind = words[1] & kSetKind;
  if (kind == kBitmap && words[0] == clock) {
    words[2 + watch.thread / 32] |= 1u << watch.thread % 32;
    return set;
  }
  if (kind == kPairs) {
    for (std::uint32_t *pair = words + 2, *end = pair + 2 * kMostPairs; pair < end; pair += 2)
      if (pair[1] == 0 || happened_before(pair[1], pair[0])) {  // unused, its own, or known to it
        pair[0] = watch.thread;
        pair[1] = clock;
        words[0] = std::max(words[0], clock);
        return set;
      }
  }
  if (kind != kClocks) {
    if (unordered_reader(set) == kMostThreads) {
      drop_set(set);
      return watch.now;
    }
    const Moment clocks = new_set(words[0], kClocks);
    const std::uint32_t* const old = set_words(set);  // the sets may have moved
    std::uint32_t* const of = set_words(clocks) + 2;
    if (kind == kBitmap) {
      for (unsigned t = 0; t < watch.threads; ++t)
        if (old[2 + t / 32] >> t % 32 & 1) of[t] = old[0];
    } else {
      for (const std::uint32_t *pair = old + 2, *end = pair + 2 * kMostPairs; pair < end; pair += 2)
        of[pair[0]] = pair[1];
    }
    drop_set(set);
    set = clocks;
    words = set_words(set);
  }
  words[0] = std::max(words[0], clock);
  words[2 + watch.thread] = clock;
  return set;
}

Moment two_readers(Moment first) {
  const std::uint32_t clock = clock_of(first);
  const unsigned thread = thread_of(first);
  if (thread >= watch.first_agent || watch.thread >= watch.first_agent || clock != clock_of(watch.now)) {
    const Moment pair = new_set(clock, kPairs);
    set_words(pair)[2] = thread;
    set_words(pair)[3] = clock;
    return with_reader(pair);
  }
  const Moment set = new_set(clock, kBitmap);
  set_words(set)[2 + thread / 32] |= 1u << thread % 32;
  return with_reader(set);
}

}  // namespace graft::simt::checker
