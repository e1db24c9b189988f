#include <graft/kernels/simt/memory.h>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include <graft/kernels/simt/sanitizers.h>
#include <graft/kernels/simt/shadow.h>

#if GRAFT_SIMT_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(begin, bytes) (static_cast<void>(begin), static_cast<void>(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(begin, bytes) (static_cast<void>(begin), static_cast<void>(bytes))
#endif

namespace graft::simt {

Shadow shadow;

namespace {

#if defined(GRAFT_SIMT_INSTRUMENTED)
constexpr bool kInstrumented = true;
#else
constexpr bool kInstrumented = false;
#endif
#if GRAFT_SIMT_ASAN
constexpr bool kPoisoned = true;
#else
constexpr bool kPoisoned = false;
#endif

constexpr std::size_t kDeviceBytes = std::size_t{64} << 30;
constexpr std::size_t kAlignment = 512;
constexpr std::size_t kPage = 4096;
constexpr std::size_t kRestingBytes = std::size_t{256} << 20;  // how much freed memory is kept from being used again
constexpr std::size_t kFilledBytes = std::size_t{64} << 20;    // larger allocations are filled at both ends only
constexpr int kFresh = 0xff, kGuard = 0xfb;

constexpr std::size_t round_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

void* reserve(std::size_t bytes) {
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? nullptr : p;
}

Reservation make_reservation() {
  for (std::size_t device = kDeviceBytes; device >= (std::size_t{1} << 30); device /= 4) {  // a limit on address space?
    const std::size_t bytes = kSharedBytes + device;
    if (void* begin = reserve(bytes)) {
      madvise(begin, bytes, MADV_DONTDUMP);
      if constexpr (kInstrumented) reserve_shadow(bytes);
      ASAN_POISON_MEMORY_REGION(begin, kSharedBytes);
      return {static_cast<char*>(begin), bytes};
    }
  }
  std::fprintf(stderr, "SIMT emulator: cannot reserve address space for the emulated device (ulimit -v?)\n");
  std::abort();
}

// One cudaMalloc: [begin, begin + bytes), inside an extent that also holds its red zone.
struct Segment {
  std::size_t bytes = 0, extent = 0;
  bool held = true;      // false: cudaFreeAsync has been called, the stream has not come to it
  bool divided = false;  // a caching allocator cuts it into blocks
};

// A range that may be touched, or that could be and was freed: what reports name.
struct Named {
  std::size_t bytes = 0;
  bool live = true;
};

struct Memory {
  std::map<char*, Segment> segments;
  std::map<char*, std::size_t> blocks;  // that the program holds in divided segments
  std::map<char*, Named> named;
  std::map<char*, std::size_t> free, resting;
  std::size_t resting_bytes = 0, held_bytes = 0;
  char* untouched = nullptr;  // from here on nothing has ever been handed out
  std::map<char*, std::size_t> host;
};
Memory& memory() {  // immortal: used by exit handlers
  static auto* const m = [] {
    auto* made = new Memory;
    made->untouched = reservation().begin + kSharedBytes + kDeviceRedZone;
    made->untouched += (kAlignment - reinterpret_cast<std::uintptr_t>(made->untouched) % kAlignment) % kAlignment;
    return made;
  }();
  return *m;
}

// The entry whose range begins at or before p; end() where none does.
template <class Map>
auto at_or_before(Map& map, const void* p) {
  auto i = map.upper_bound(static_cast<char*>(const_cast<void*>(p)));
  return i == map.begin() ? map.end() : std::prev(i);
}

std::uint8_t* state_of(const void* p) { return shadow.state + watched_offset(p) / 4; }

// Sets the state of a range that begins at a multiple of 4.
void set_state(const void* begin, std::size_t bytes, std::uint8_t flags) {
  if (shadow.state == nullptr) return;
  std::uint8_t* state = state_of(begin);
  std::memset(state, flags, bytes / 4);
  if (bytes % 4 != 0) {
    const unsigned low = (1u << bytes % 4) - 1;
    state[bytes / 4] = static_cast<std::uint8_t>(flags & (low | low << 4));
  }
}

void fill(char* begin, std::size_t bytes) {
  if (bytes <= kFilledBytes) {
    std::memset(begin, kFresh, bytes);
  } else {
    std::memset(begin, kFresh, 1 << 20);
    std::memset(begin + bytes - (1 << 20), kFresh, 1 << 20);
  }
}

void make_touchable(char* begin, std::size_t bytes) {
  ASAN_UNPOISON_MEMORY_REGION(begin, bytes);
  fill(begin, bytes);
  if constexpr (!kPoisoned) std::memset(begin + bytes, kGuard, kDeviceRedZone);
  set_state(begin, bytes, kTouchable);
}

void make_untouchable(char* begin, std::size_t bytes) {
  ASAN_POISON_MEMORY_REGION(begin, round_up(bytes, 8));
  set_state(begin, bytes, 0);
}

std::string damage_behind(const char* begin, std::size_t bytes) {
  if constexpr (kPoisoned) return {};
  const auto* zone = reinterpret_cast<const unsigned char*>(begin + bytes);
  const auto* damaged = std::find_if(zone, zone + kDeviceRedZone, [](unsigned char c) { return c != kGuard; });
  if (damaged == zone + kDeviceRedZone) return {};
  return "memory was written " + std::to_string(damaged - zone) + " bytes after an allocation of " +
         std::to_string(bytes) + " bytes";
}

// Names a range; ranges that were freed and lie in it are history.
void name(char* begin, std::size_t bytes) {
  auto& named = memory().named;
  auto i = at_or_before(named, begin);
  if (i == named.end() || i->first + i->second.bytes <= begin) i = named.lower_bound(begin);
  while (i != named.end() && i->first < begin + std::max<std::size_t>(bytes, 1)) i = named.erase(i);
  named[begin] = {bytes, true};
}

// Space of `extent` bytes; nullptr when the reservation is used up.
char* take_extent(std::size_t extent) {
  Memory& m = memory();
  for (auto i = m.free.begin(); i != m.free.end(); ++i) {
    if (i->second < extent) continue;
    char* const begin = i->first;
    const std::size_t rest = i->second - extent;
    m.free.erase(i);
    if (rest > 0) m.free[begin + extent] = rest;
    return begin;
  }
  const Reservation& r = reservation();
  if (static_cast<std::size_t>(r.begin + r.bytes - m.untouched) < extent) return nullptr;
  char* const begin = m.untouched;
  m.untouched += extent;
  ASAN_POISON_MEMORY_REGION(begin, extent);
  return begin;
}

void wake_resting() {
  Memory& m = memory();
  for (auto [begin, bytes] : m.resting) {
    auto i = m.free.emplace(begin, bytes).first;
    if (auto next = std::next(i); next != m.free.end() && begin + bytes == next->first) {
      i->second += next->second;
      m.free.erase(next);
    }
    if (i != m.free.begin()) {
      if (auto before = std::prev(i); before->first + before->second == i->first) {
        before->second += i->second;
        m.free.erase(i);
      }
    }
  }
  m.resting.clear();
  m.resting_bytes = 0;
}

void let_rest(char* begin, std::size_t extent) {
  char* const first = reinterpret_cast<char*>(round_up(reinterpret_cast<std::uintptr_t>(begin), kPage));
  char* const last = begin + extent - (reinterpret_cast<std::uintptr_t>(begin) + extent) % kPage;
  if (last > first) madvise(first, static_cast<std::size_t>(last - first), MADV_DONTNEED);
  drop_cells(watched_offset(begin), extent);
  Memory& m = memory();
  m.resting[begin] = extent;
  m.resting_bytes += extent;
  if (m.resting_bytes > kRestingBytes) wake_resting();
}

}  // namespace

const Reservation& reservation() {
  static const Reservation r = make_reservation();
  return r;
}

char* shared_arena(unsigned index) { return reservation().begin + index * kArenaBytes; }

void make_shared_touchable(const void* begin, std::size_t bytes) {
  ASAN_UNPOISON_MEMORY_REGION(begin, bytes);
  set_state(begin, bytes, kTouchable);
}

void make_shared_untouchable(const void* begin, std::size_t bytes) {
  ASAN_POISON_MEMORY_REGION(begin, round_up(bytes, 8));
  set_state(begin, bytes, 0);
}

bool is_device_address(const void* p) {
  const std::size_t offset = watched_offset(p);
  return offset >= kSharedBytes && offset < reservation().bytes;
}

// --- shadow ---------------------------------------------------------------------------------------------------------

void reserve_shadow(std::size_t watched_bytes) {
  const std::size_t words = watched_bytes / 4;
  const std::size_t bytes[] = {words, words * sizeof(Cell), 2 * words * sizeof(Cell), 4 * words * sizeof(Cell)};
  void* parts[4];
  for (int i = 0; i < 4; ++i) {
    parts[i] = reserve(bytes[i]);
    if (parts[i] == nullptr) {
      std::fprintf(stderr, "SIMT emulator: no address space for the memory checker: kernels run unchecked\n");
      return;
    }
    madvise(parts[i], bytes[i], MADV_DONTDUMP);
  }
  shadow = {static_cast<std::uint8_t*>(parts[0]), static_cast<Cell*>(parts[1]), static_cast<Cell*>(parts[2]),
            static_cast<Cell*>(parts[3])};
}

void drop_cells(std::size_t offset, std::size_t bytes) {
  if (shadow.words == nullptr) return;
  const auto drop = [](Cell* cells, std::size_t first, std::size_t count) {
    const std::uintptr_t begin = round_up(reinterpret_cast<std::uintptr_t>(cells + first), kPage);
    const std::uintptr_t end = reinterpret_cast<std::uintptr_t>(cells + first + count) / kPage * kPage;
    if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  };
  drop(shadow.words, offset / 4, bytes / 4);
  drop(shadow.halves, offset / 2, bytes / 2);
  drop(shadow.bytes, offset, bytes);
}

void drop_cells() { drop_cells(0, reservation().bytes); }

// --- allocations ----------------------------------------------------------------------------------------------------

void* allocate_device(std::size_t bytes) {
  const std::size_t extent = round_up(bytes + kDeviceRedZone, kAlignment);
  char* begin = take_extent(extent);
  if (begin == nullptr) {
    wake_resting();
    begin = take_extent(extent);
    if (begin == nullptr) return nullptr;
  }
  Memory& m = memory();
  m.segments[begin] = {bytes, extent};
  m.held_bytes += bytes;
  name(begin, bytes);
  make_touchable(begin, bytes);
  return begin;
}

Freed free_device(void* block, std::string& damaged) {
  Memory& m = memory();
  char* const begin = static_cast<char*>(block);
  const auto i = m.segments.find(begin);
  if (i == m.segments.end()) {
    const auto n = m.named.find(begin);
    return n != m.named.end() && !n->second.live ? Freed::already : Freed::unknown;
  }
  const Segment segment = i->second;
  m.segments.erase(i);
  m.held_bytes -= segment.bytes;
  char* const end = begin + segment.bytes;
  if (!segment.divided) damaged = damage_behind(begin, segment.bytes);
  m.blocks.erase(m.blocks.lower_bound(begin), m.blocks.lower_bound(end));
  for (auto n = m.named.lower_bound(begin); n != m.named.end() && n->first < end; ++n) n->second.live = false;
  make_untouchable(begin, segment.extent);
  let_rest(begin, segment.extent);
  return Freed::yes;
}

Freed give_up_device(void* block) {
  Memory& m = memory();
  const auto i = m.segments.find(static_cast<char*>(block));
  if (i != m.segments.end()) {
    if (!i->second.held) return Freed::already;
    i->second.held = false;
    return Freed::yes;
  }
  const auto n = m.named.find(static_cast<char*>(block));
  return n != m.named.end() && !n->second.live ? Freed::already : Freed::unknown;
}

void hold_block(void* block, std::size_t bytes) {
  Memory& m = memory();
  const auto i = at_or_before(m.segments, block);
  if (i != m.segments.end() && static_cast<char*>(block) < i->first + i->second.bytes) i->second.divided = true;
  m.blocks[static_cast<char*>(block)] = bytes;
}

void drop_block(void* block) { memory().blocks.erase(static_cast<char*>(block)); }

void begin_block(void* block, std::size_t bytes) {
  Memory& m = memory();
  char* const begin = static_cast<char*>(block);
  const auto i = at_or_before(m.segments, begin);
  if (i == m.segments.end() || begin >= i->first + i->second.bytes) return;
  if (const auto whole = m.named.find(i->first); whole != m.named.end() && whole->second.live &&
                                                 whole->second.bytes == i->second.bytes &&
                                                 !(begin == i->first && bytes == i->second.bytes)) {
    make_untouchable(i->first, i->second.extent);  // the first block: from now on the segment as a whole is nobody's
    m.named.erase(whole);
  }
  if (const auto same = m.named.find(begin);
      same != m.named.end() && same->second.live && same->second.bytes == bytes) {
    if (!(begin == i->first && bytes == i->second.bytes)) return;  // a graph's block that was not freed since
  }
  name(begin, bytes);
  ASAN_UNPOISON_MEMORY_REGION(begin, bytes);
  fill(begin, bytes);
  set_state(begin, bytes, kTouchable);
  const std::size_t behind = static_cast<std::size_t>(i->first + i->second.extent - (begin + bytes));
  if constexpr (!kPoisoned) std::memset(begin + bytes, kGuard, std::min(behind, kDeviceRedZone));
}

void end_block(void* block, std::string& damaged) {
  char* const begin = static_cast<char*>(block);
  const auto i = memory().named.find(begin);
  if (i == memory().named.end() || !i->second.live) return;
  damaged = damage_behind(begin, i->second.bytes);
  i->second.live = false;
  make_untouchable(begin, i->second.bytes);
}

bool is_held(const void* p, std::size_t bytes, std::string& why) {
  Memory& m = memory();
  const char* const begin = static_cast<const char*>(p);
  const auto outside = [&](const char* of, std::size_t size, const char* what) {
    why = std::to_string(bytes) + " bytes at ";
    if (begin >= of + size)
      why += std::to_string(begin - (of + size)) + " bytes after ";
    else
      why += "offset " + std::to_string(begin - of) + " of ";
    why += std::string(what) + " of " + std::to_string(size) + " bytes";
    return false;
  };
  const auto s = at_or_before(m.segments, p);
  if (s == m.segments.end() || begin >= s->first + s->second.extent || !s->second.held) {
    why = std::to_string(bytes) + " bytes at an address that is in no allocation (freed, or never allocated)";
    return false;
  }
  if (!s->second.divided)
    return begin + bytes <= s->first + s->second.bytes || outside(s->first, s->second.bytes, "an allocation");
  const auto b = at_or_before(m.blocks, p);
  if (b == m.blocks.end() || b->first < s->first) {
    why = std::to_string(bytes) + " bytes in memory that the caching allocator has not handed out";
    return false;
  }
  return begin + bytes <= b->first + b->second || outside(b->first, b->second, "a block");
}

std::string describe_device_address(const void* p) {
  auto& named = memory().named;
  const char* const address = static_cast<const char*>(p);
  const auto below = at_or_before(named, p);
  const auto above = named.upper_bound(static_cast<char*>(const_cast<void*>(p)));
  const auto text = [](const Named& n) {
    return std::string(n.live ? "an allocation of " : "a freed allocation of ") + std::to_string(n.bytes) + " bytes";
  };
  if (below != named.end() && address < below->first + below->second.bytes)
    return "offset " + std::to_string(address - below->first) + " of " + text(below->second);
  const auto behind =
      below == named.end() ? SIZE_MAX : static_cast<std::size_t>(address - below->first) - below->second.bytes;
  const auto before = above == named.end() ? SIZE_MAX : static_cast<std::size_t>(above->first - address);
  if (behind == SIZE_MAX && before == SIZE_MAX) return "there is no allocation at all";
  if (behind <= before) return std::to_string(behind) + " bytes after " + text(below->second);
  return std::to_string(before) + " bytes before " + text(above->second);
}

bool was_freed(const void* p) {
  const auto i = at_or_before(memory().named, p);
  return i != memory().named.end() && static_cast<const char*>(p) < i->first + i->second.bytes && !i->second.live;
}

std::size_t device_bytes_held() { return memory().held_bytes; }

void forget_device_memory() {
  std::string ignored;
  while (!memory().segments.empty()) free_device(memory().segments.begin()->first, ignored);
}

std::string leaked_device_memory() {
  Memory& m = memory();
  std::size_t count = 0, bytes = 0;
  for (const auto& [begin, segment] : m.segments) {
    if (segment.divided) continue;
    ++count;
    bytes += segment.bytes;
  }
  for (const auto& [begin, size] : m.blocks) {
    ++count;
    bytes += size;
  }
  if (count == 0) return {};
  return std::to_string(count) + (count == 1 ? " allocation" : " allocations") + " of device memory (" +
         std::to_string(bytes) + " bytes)";
}

// --- memory of the host ---------------------------------------------------------------------------------------------

void* allocate_host(std::size_t bytes) {
  void* p = nullptr;
  if (posix_memalign(&p, kPage, std::max<std::size_t>(bytes, 1)) != 0) return nullptr;
  std::memset(p, kFresh, bytes);
  memory().host[static_cast<char*>(p)] = bytes;
  return p;
}

bool free_host(void* block) {
  if (memory().host.erase(static_cast<char*>(block)) == 0) return false;
  std::free(block);
  return true;
}

void* find_host(const void* p) {
  const auto i = at_or_before(memory().host, p);
  return i != memory().host.end() && static_cast<const char*>(p) < i->first + std::max<std::size_t>(i->second, 1)
             ? i->first
             : nullptr;
}

std::string leaked_host_memory() {
  std::size_t bytes = 0;
  const std::size_t count = memory().host.size();
  for (const auto& [begin, size] : memory().host) bytes += size;
  if (count == 0) return {};
  return std::to_string(count) + (count == 1 ? " allocation" : " allocations") + " of page-locked memory (" +
         std::to_string(bytes) + " bytes)";
}

void forget_host_memory() {
  while (!memory().host.empty()) free_host(memory().host.begin()->first);
}

// --- what is known of the bytes -------------------------------------------------------------------------------------

void mark_written(const void* p, std::size_t bytes) {
  if (shadow.state == nullptr || !is_device_address(p)) return;
  std::size_t offset = watched_offset(p);
  for (; bytes > 0 && offset % 4 != 0; ++offset, --bytes)
    shadow.state[offset / 4] |= static_cast<std::uint8_t>(0x10u << offset % 4);
  std::uint8_t* const state = shadow.state + offset / 4;
  for (std::size_t i = 0; i < bytes / 4; ++i) state[i] |= kWritten;
  for (std::size_t i = 0; i < bytes % 4; ++i) state[bytes / 4] |= static_cast<std::uint8_t>(0x10u << i);
}

void copy_written(const void* to, const void* from, std::size_t bytes) {
  if (shadow.state == nullptr || !is_device_address(to)) return;
  if (!is_device_address(from)) return mark_written(to, bytes);
  const std::size_t target = watched_offset(to), source = watched_offset(from);
  if (target % 4 == 0 && source % 4 == 0 && bytes % 4 == 0) {
    for (std::size_t i = 0; i < bytes / 4; ++i) {
      std::uint8_t& state = shadow.state[target / 4 + i];
      state = static_cast<std::uint8_t>((state & kTouchable) | (shadow.state[source / 4 + i] & kWritten));
    }
    return;
  }
  for (std::size_t i = 0; i < bytes; ++i) {
    std::uint8_t& state = shadow.state[(target + i) / 4];
    const auto bit = static_cast<std::uint8_t>(0x10u << (target + i) % 4);
    const bool written = shadow.state[(source + i) / 4] >> (4 + (source + i) % 4) & 1;
    state = static_cast<std::uint8_t>(written ? state | bit : state & ~bit);
  }
}

void mark_all_written() {
  if (shadow.state == nullptr) return;
  for (const auto& [begin, range] : memory().named)
    if (range.live) mark_written(begin, range.bytes);
}

}  // namespace graft::simt
