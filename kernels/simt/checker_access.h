// The check of one access, inlined into every hook. Internal to the checker.
//
// Order is kept by vector clocks, made cheap by what kernels do. A thread's clock is the number of the group's
// synchronisation in which it last took part. What a thread knows of the others has three layers, of which the first
// that answers decides:
//   base      all moments up to it happened before a barrier of the whole group: one number for everybody
//   warp_base the same for the threads of one warp, after a __syncwarp
//   overlay   a full vector, shared by the threads that left the same partial barrier; made by named barriers and
//             mbarriers only, dropped at the next full barrier
// Asynchronous operations (bulk copies, wgmma) are threads too, the agents: numbered behind the real ones, never part
// of a barrier, so that neither base nor warp_base speaks of them. What all threads know of them is in agent_base. A
// cell keeps the last write, and the reads since: one moment, or a set. Sets are bitmaps as long as all readers read at
// the same clock (they nearly always do), a few pairs of thread and clock, or one clock a thread. Without agents a full
// barrier makes them all history at once; with them each goes when its cell is written.
#pragma once

#include <graft/kernels/simt/checker.h>
#include <graft/kernels/simt/memory.h>
#include <graft/kernels/simt/shadow.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace graft::simt::checker {

inline constexpr unsigned kMostThreads = 1u << kThreadBits;

/// Where an access stands in the program: an instruction, as its distance from anchor(), or kNamed + a Loc's number.
using Place = std::uint32_t;
inline constexpr Place kNamed = 0x80000000u;

enum class Kind : std::uint8_t { read, write, atomic };

using Vector = std::vector<std::uint32_t>;  // a clock for each thread of the group

struct Watch {
  // The running thread.
  Moment now = 0;
  unsigned thread = 0, warp = 0;
  std::uint32_t warp_base = 0;
  const std::uint32_t* overlay = nullptr;  // nullptr: nothing beyond base and warp_base
  // Where the thread's registers lie that wgmma works on, in its stack: checker_async.cpp.
  std::uintptr_t registers = 0;
  std::size_t register_bytes = 0;
  // The group.
  std::uint32_t base = 0;
  std::uint32_t launch_serial = 1, group_serial = 1,
                serial = 1;  // the first of the launch, the first of the group, the present one
  unsigned threads = 0;      // agents included
  unsigned first_agent = 0;
  const std::uint32_t* agent_base = nullptr;
  bool has_agents = false;  // some have been at work
  unsigned left = 0;        // the blocks of the group that have returned, as bits
  // Sets of readers, in words: {highest clock, kind}, then a bitmap or a clock a thread. A set is named by its number,
  // counted through the whole group; those below first_set are history.
  std::uint32_t* sets = nullptr;
  std::uint64_t first_set = 0, next_set = 0;
  std::size_t set_capacity = 0;
  std::uint32_t free_set[3] = {};  // of each kind the first that may be used again, as its place among the words + 1
  // The watched addresses; no bytes while nothing is watched.
  std::uintptr_t begin = 0;
  std::size_t bytes = 0;
};
extern Watch watch;

/// The text of what is wrong, and the end of the grid.
struct Access {
  std::size_t offset;
  unsigned bytes;
  Kind kind;
  Place place;
};
[[noreturn]] void report_state(const Access& access);
[[noreturn]] void report_misaligned(const Access& access, unsigned alignment);
/// An earlier moment whose clock is 0 tells the group but not the thread.
[[noreturn]] void report_race(const Access& access, Moment earlier, Place earlier_place, bool earlier_reads);
void more_sets(std::size_t words);

// Cell::other: a serial number and a bit, or, where tickets may order it, a moment that is kept here: kOtherMoment + its
// number. A cell's number below the first is of an earlier launch.
inline constexpr std::uint32_t kOtherMoment = 0x80000000u;
struct OtherMoments {
  std::uint32_t first = 0;
  std::vector<Moment> moments;
};
OtherMoments& other_moments();
/// What Cell::other says of a read by another block.
std::uint32_t other_read(Moment read);
inline Moment other_moment(std::uint32_t other) {
  if ((other & kOtherMoment) == 0) return Moment{other >> 1} << kSerialBit;
  const OtherMoments& kept = other_moments();
  const std::uint32_t number = other - kOtherMoment;
  return number < kept.first ? 0 : kept.moments[number - kept.first];
}
inline std::uint32_t other_serial(std::uint32_t other) {
  return (other & kOtherMoment) == 0 ? other >> 1 : serial_of(other_moment(other));
}
inline bool other_is_atomic(std::uint32_t other) { return (other & (kOtherMoment | 1)) == 1; }
bool other_known_by_ticket(std::uint32_t other);

/// Whether a ticket orders this moment, of whatever block of the launch, before the running thread's present. Asked
/// where nothing else does.
bool known_by_ticket(Moment earlier);
/// The same for all that a block did, of which only the serial number was kept: whether the block has drawn a ticket
/// since, of which the running thread knows.
bool known_by_ticket_of(std::uint32_t serial);

/// Asynchronous reads see ordinary writes only behind a fence: whether the write at this moment has one.
bool is_fenced(Moment write);
/// The running thread touches what lies between its registers that wgmma works on.
void touch_registers(const void* p, std::size_t bytes, Kind kind, Place place);

inline bool happened_before(std::uint32_t clock, unsigned thread) {
  if (thread == watch.thread) return true;
  if (thread >= watch.first_agent) {
    if (clock <= watch.agent_base[thread - watch.first_agent]) return true;
  } else if (clock <= watch.base) {
    return true;
  }
  if (thread / 32 == watch.warp && clock <= watch.warp_base) return true;
  return watch.overlay != nullptr && clock <= watch.overlay[thread];
}
inline bool happened_before(Moment m) {
  return serial_of(m) < watch.serial || happened_before(clock_of(m), thread_of(m));
}

// --- sets of readers ------------------------------------------------------------------------------------------------

enum : std::uint32_t { kBitmap, kClocks, kPairs, kSetKind = 0xff, kSeveralCells = 0x100 };
inline constexpr std::size_t kMostPairs = 4;

inline std::uint64_t set_number(Moment read) { return read & (kFlag - 1); }
inline bool is_history(Moment set) { return set_number(set) < watch.first_set || serial_of(set) < watch.serial; }
inline std::uint32_t* set_words(Moment set) { return watch.sets + (set_number(set) - watch.first_set); }

inline std::size_t set_size(std::uint32_t kind) {
  return 2 + (kind == kBitmap ? (watch.threads + 31) / 32 : kind == kPairs ? 2 * kMostPairs : watch.threads);
}

inline Moment new_set(std::uint32_t clock, std::uint32_t kind) {
  const std::size_t words = set_size(kind);
  std::size_t place = watch.next_set - watch.first_set;
  if (watch.free_set[kind] != 0) {
    place = watch.free_set[kind] - 1;
    watch.free_set[kind] = watch.sets[place];
  } else {
    if (place + words > watch.set_capacity) more_sets(words);
    watch.next_set += words;
  }
  std::uint32_t* const set = watch.sets + place;
  std::fill_n(set, words, 0u);
  set[0] = clock;
  set[1] = kind;
  return Moment{watch.serial} << kSerialBit | kFlag | (watch.first_set + place);
}

/// Nobody asks for this set any more.
inline void drop_set(Moment set) {
  std::uint32_t* const words = set_words(set);
  if (words[1] & kSeveralCells) return;
  const std::uint32_t kind = words[1] & kSetKind;
  words[0] = watch.free_set[kind];
  watch.free_set[kind] = static_cast<std::uint32_t>(words - watch.sets) + 1;
}
inline void forget_sets() {
  watch.first_set = watch.next_set;
  std::fill_n(watch.free_set, 3, 0u);
}
/// A cell is about to be copied.
inline void share_set(const Cell& cell) {
  if ((cell.read & kFlag) != 0 && serial_of(cell.read) >= watch.serial && !is_history(cell.read))
    set_words(cell.read)[1] |= kSeveralCells;
}

/// A thread of the set that did not read before the present; kMostThreads when all did.
unsigned unordered_reader(Moment set);
/// The set and the present thread.
Moment with_reader(Moment set);
Moment two_readers(Moment first);

// --- a cell ---------------------------------------------------------------------------------------------------------

template <Kind kind>
[[gnu::always_inline]] inline void touch(Cell& cell, const Access& access, std::uint32_t oldest) {
  Watch& w = watch;
  const Moment write = cell.write, read = cell.read;
  if (kind == Kind::read && read == w.now) return;
  if (kind == Kind::write && write == w.now && read == 0) return;

  // against the last write
  if (serial_of(write) >= oldest) {
    const bool atomics = kind == Kind::atomic && (write & kFlag) != 0;
    if (!atomics) {
      if ((serial_of(write) < w.group_serial || !happened_before(write)) && !known_by_ticket(write))
        report_race(access, write, cell.write_site, false);
    } else if (serial_of(write) < w.group_serial) {
      cell.other = serial_of(write) << 1 | 1;
      cell.other_site = cell.write_site;
    }
  }

  const bool read_now = serial_of(read) >= w.group_serial;
  const bool read_elsewhere = !read_now && serial_of(read) >= oldest && read != 0;
  if (kind == Kind::read) {
    if (other_is_atomic(cell.other) && cell.other >> 1 >= oldest && cell.other >> 1 < w.group_serial &&
        !other_known_by_ticket(cell.other))
      report_race(access, Moment{cell.other >> 1} << kSerialBit | kFlag, cell.other_site, false);
    if (read_elsewhere) {
      cell.other = other_read(read);
      cell.other_site = cell.read_site;
    }
    if (!read_now)
      cell.read = w.now;
    else if ((read & kFlag) == 0)
      cell.read = happened_before(read) ? w.now : two_readers(read);
    else
      cell.read = is_history(read) ? w.now : with_reader(read);
    cell.read_site = access.place;
    return;
  }

  // a change: against the reads since the last one. Of the blocks that have read the cell, the last two are known.
  if (read_elsewhere && !((read & kFlag) == 0 ? known_by_ticket(read) : known_by_ticket_of(serial_of(read))))
    report_race(access, read, cell.read_site, true);
  if (read_now) {
    if ((read & kFlag) == 0) {
      if (!happened_before(read) && !known_by_ticket(read)) report_race(access, read, cell.read_site, true);
    } else if (!is_history(read)) {
      const unsigned reader = unordered_reader(read);
      if (reader != kMostThreads)
        report_race(access, Moment{serial_of(read)} << kSerialBit | Moment{1} << kThreadBits | reader, cell.read_site,
                    true);
      drop_set(read);
    }
  }
  if (const std::uint32_t other = other_serial(cell.other);
      other >= oldest && other < w.group_serial && !(kind == Kind::atomic && other_is_atomic(cell.other)) &&
      !other_known_by_ticket(cell.other))
    report_race(access, other_moment(cell.other), cell.other_site, !other_is_atomic(cell.other));
  cell.write = kind == Kind::atomic ? w.now | kFlag : w.now;
  cell.write_site = access.place;
  cell.read = 0;
}

inline bool is_void(const Cell& cell, std::uint32_t oldest) {
  return serial_of(cell.write) < oldest && serial_of(cell.read) < oldest && other_serial(cell.other) < oldest;
}

/// Makes a word's cells fit an access of `split` (kSplitHalves or kSplitBytes) grain; returns the word's grain.
inline Moment split_word(std::size_t word, Moment split, std::uint32_t oldest) {
  Cell& cell = shadow.words[word];
  Moment grain = serial_of(cell.write) >= oldest ? cell.write & kSplit : 0;
  if (grain >= split) return grain;
  if (grain == 0) share_set(cell);
  if (grain == kSplitHalves) {
    share_set(shadow.halves[2 * word]);
    share_set(shadow.halves[2 * word + 1]);
  }
  Cell* const halves = shadow.halves + 2 * word;
  Cell* const bytes = shadow.bytes + 4 * word;
  const bool fresh = grain == 0 && is_void(cell, oldest);
  if (split == kSplitHalves) {
    if (!fresh) halves[0] = halves[1] = cell;
  } else if (grain == kSplitHalves) {
    bytes[0] = bytes[1] = halves[0];
    bytes[2] = bytes[3] = halves[1];
  } else if (!fresh) {
    std::fill_n(bytes, 4, cell);
  }
  cell.write = Moment{watch.serial} << kSerialBit | split;
  cell.read = 0;
  cell.other = 0;
  return split;
}

/// Bytes [first, first + count) of a word.
template <Kind kind>
inline void touch_part(std::size_t word, unsigned first, unsigned count, const Access& access, std::uint32_t oldest) {
  const bool in_halves = first % 2 == 0 && count % 2 == 0;
  const Cell& cell = shadow.words[word];
  const Moment grain = count == 4 && (serial_of(cell.write) < oldest || (cell.write & kSplit) == 0)
                           ? 0
                           : split_word(word, in_halves ? kSplitHalves : kSplitBytes, oldest);
  if (grain == 0)
    touch<kind>(shadow.words[word], access, oldest);
  else if (grain == kSplitHalves)
    for (unsigned i = first / 2; i < (first + count) / 2; ++i) touch<kind>(shadow.halves[2 * word + i], access, oldest);
  else
    for (unsigned i = first; i < first + count; ++i) touch<kind>(shadow.bytes[4 * word + i], access, oldest);
}

inline std::uint32_t oldest_at(std::size_t offset) {
  return offset < kSharedBytes ? watch.group_serial : watch.launch_serial;
}

// --- an access ------------------------------------------------------------------------------------------------------

/// Any bytes, at any alignment.
template <Kind kind>
void check_range(std::size_t offset, std::size_t bytes, Place place) {
  const Access access{offset, static_cast<unsigned>(bytes), kind, place};
  const std::uint32_t oldest = oldest_at(offset);
  for (std::size_t at = offset, end = offset + bytes; at < end;) {
    const unsigned first = at % 4, count = static_cast<unsigned>(std::min<std::size_t>(4 - first, end - at));
    const auto mask = static_cast<std::uint8_t>(((1u << count) - 1) << first);
    std::uint8_t& state = shadow.state[at / 4];
    if ((state & mask) != mask || (kind != Kind::write && (state >> 4 & mask) != mask)) report_state(access);
    if (kind != Kind::read) state |= static_cast<std::uint8_t>(mask << 4);
    touch_part<kind>(at / 4, first, count, access, oldest);
    at += count;
  }
}

/// An access of a power of two bytes, which must be aligned to them.
template <unsigned bytes, Kind kind>
[[gnu::always_inline]] inline void check(const void* p, Place place) {
  const std::size_t offset = reinterpret_cast<std::uintptr_t>(p) - watch.begin;
  if (offset >= watch.bytes) {
    if (reinterpret_cast<std::uintptr_t>(p) - watch.registers < watch.register_bytes)
      touch_registers(p, bytes, kind, place);
    return;
  }
  if (offset % bytes != 0) report_misaligned({offset, bytes, kind, place}, bytes);
  if constexpr (bytes < 4) return check_range<kind>(offset, bytes, place);
  const Access access{offset, bytes, kind, place};
  const std::uint32_t oldest = oldest_at(offset);
  for (std::size_t word = offset / 4; word < (offset + bytes) / 4; ++word) {
    std::uint8_t& state = shadow.state[word];
    if (state != kTouchableAndWritten) {
      if (kind != Kind::write || (state & kTouchable) != kTouchable) report_state(access);
      state = kTouchableAndWritten;
    }
    Cell& cell = shadow.words[word];
    if ((cell.write & kSplit) == 0 || serial_of(cell.write) < oldest)
      touch<kind>(cell, access, oldest);
    else
      touch_part<kind>(word, 0, 4, access, oldest);
  }
}

}  // namespace graft::simt::checker
