// Who knows of whom: the clocks of the checker, the groups and grids; and the accesses that the emulator performs
// itself. The check of an access is in checker_access.h, the texts in checker_report.cpp.
#include <graft/kernels/simt/checker.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include <graft/kernels/simt/checker_access.h>
#include <graft/kernels/simt/checker_report.h>

namespace graft::simt::checker {

bool active = false;
Watch watch;

namespace {

constexpr std::uint32_t kLastClock = (1u << kClockBits) - 2;
constexpr std::uint32_t kLastSerial = (1u << (64 - kSerialBit)) - 2;

using SharedVector = std::shared_ptr<const Vector>;

struct Range {
  const void* begin;
  std::size_t bytes;
};

struct Knowledge {
  std::uint32_t top = 0;  // the number of the last synchronisation
  Vector clock;           // of each thread
  Vector warp_base;       // of each warp
  std::vector<SharedVector> overlay;
  bool overlaid = false;  // some thread has one
  struct Object {
    const void* address;
    SharedVector known;
  };
  std::vector<Object> objects;  // mbarriers and the like; few
};
Knowledge& knowledge() {
  static auto* const k = new Knowledge;
  return *k;
}

std::vector<Range>& declared() {
  static auto* const d = new std::vector<Range>;
  return *d;
}

// What the running thread's accesses are compared with.
void refresh() {
  const Knowledge& k = knowledge();
  if (k.clock.empty()) return;
  watch.now = Moment{watch.serial} << kSerialBit | Moment{k.clock[watch.thread]} << kThreadBits | watch.thread;
  watch.warp_base = k.warp_base[watch.warp];
  watch.overlay = k.overlay[watch.thread] == nullptr ? nullptr : k.overlay[watch.thread]->data();
}

void next_serial() {
  if (watch.serial < kLastSerial) ++watch.serial;
  note_group(watch.serial);
}

// Everything up to now happened before everything from now on.
void all_meet() {
  Knowledge& k = knowledge();
  if (k.top >= kLastClock / 2) {
    next_serial();
    k.top = 0;
  }
  watch.base = k.top++;
  std::fill(k.clock.begin(), k.clock.end(), k.top);
  if (watch.base == 0) std::fill(k.warp_base.begin(), k.warp_base.end(), 0u);
  if (k.overlaid) {
    std::fill(k.overlay.begin(), k.overlay.end(), nullptr);
    k.overlaid = false;
  }
  k.objects.clear();
  watch.first_set = watch.next_set;
}

// The number of a new synchronisation. A group of a million of them without a full barrier gets one for nothing: the
// checker then misses races, it never sees one too many.
std::uint32_t tick() {
  Knowledge& k = knowledge();
  if (k.top >= kLastClock) all_meet();
  return ++k.top;
}

void raise(Vector& to, const Vector& from) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] = std::max(to[i], from[i]);
}

// What a thread knows, itself included.
void add_knowledge(Vector& to, unsigned thread, bool with_warp) {
  const Knowledge& k = knowledge();
  if (with_warp) {
    if (k.overlay[thread] != nullptr) raise(to, *k.overlay[thread]);
    const unsigned warp = thread / 32;
    for (unsigned t = warp * 32; t < std::min<std::size_t>(warp * 32 + 32, to.size()); ++t)
      to[t] = std::max(to[t], k.warp_base[warp]);
  }
  to[thread] = std::max(to[thread], k.clock[thread]);
}

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
}

void grid_end() { watch.bytes = 0; }

void block_begin(std::uint64_t first_block, unsigned, unsigned threads) {
  for (const Range& range : declared()) make_shared_untouchable(range.begin, range.bytes);
  declared().clear();
  if (!active) return;
  group_is(first_block);
  next_serial();
  watch.group_serial = watch.serial;
  Knowledge& k = knowledge();
  k.top = 1;
  watch.base = 0;
  watch.threads = threads;
  k.clock.assign(threads, 1);
  k.warp_base.assign((threads + 31) / 32, 0);
  if (k.overlaid || k.overlay.size() != threads) k.overlay.assign(threads, nullptr);
  k.overlaid = false;
  k.objects.clear();
  watch.first_set = watch.next_set = 0;
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
  refresh();
}

void join_all() {
  all_meet();
  refresh();
}

void join(std::span<const unsigned> threads) {
  Knowledge& k = knowledge();
  if (threads.size() == watch.threads) return join_all();
  if (threads.size() < 2) return;
  const std::uint32_t now = tick();
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
  Knowledge& k = knowledge();
  const std::uint32_t now = tick();
  Knowledge::Object* o = find_object(object);
  if (o == nullptr) {
    k.objects.push_back({object, nullptr});
    o = &k.objects.back();
  }
  // The vector is written in place unless some thread has taken it over.
  const bool own = o->known != nullptr && o->known.use_count() == 1;
  const auto known = own                   ? std::const_pointer_cast<Vector>(o->known)
                     : o->known != nullptr ? std::make_shared<Vector>(*o->known)
                                           : std::make_shared<Vector>(watch.threads, 0u);
  add_knowledge(*known, thread, true);
  o->known = known;
  k.clock[thread] = now;
  refresh();
}

void acquire(const void* object, unsigned thread) {
  Knowledge& k = knowledge();
  const Knowledge::Object* const o = find_object(object);
  if (o == nullptr || k.overlay[thread] == o->known) return;
  if (k.overlay[thread] == nullptr) {
    k.overlay[thread] = o->known;
  } else {
    const auto known = std::make_shared<Vector>(*o->known);
    raise(*known, *k.overlay[thread]);
    k.overlay[thread] = known;
  }
  k.overlaid = true;
  refresh();
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
  if (words[0] <= watch.base) return kMostThreads;
  if (words[1] == kClocks) {
    for (unsigned t = 0; t < watch.threads; ++t)
      if (words[2 + t] != 0 && !happened_before(words[2 + t], t)) return t;
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
  if (words[1] == kBitmap && words[0] == clock) {
    words[2 + watch.thread / 32] |= 1u << watch.thread % 32;
    return set;
  }
  if (words[1] == kBitmap) {
    if (unordered_reader(set) == kMostThreads) return watch.now;
    const Moment clocks = new_set(words[0], kClocks);
    const std::uint32_t* const bitmap = set_words(set);  // the sets may have moved
    std::uint32_t* const of = set_words(clocks) + 2;
    for (unsigned t = 0; t < watch.threads; ++t)
      if (bitmap[2 + t / 32] >> t % 32 & 1) of[t] = bitmap[0];
    set = clocks;
    words = set_words(set);
  }
  words[0] = std::max(words[0], clock);
  words[2 + watch.thread] = clock;
  return set;
}

Moment two_readers(Moment first) {
  const std::uint32_t clock = clock_of(first);
  const Moment set = new_set(clock, kBitmap);
  set_words(set)[2 + thread_of(first) / 32] |= 1u << thread_of(first) % 32;
  return with_reader(set);
}

}  // namespace graft::simt::checker
