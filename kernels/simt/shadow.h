// What the checker knows of each byte of the watched memory (the reservation of memory.h), found by arithmetic.
//
// state: a byte for every 4 bytes. Bit i: byte i may be touched (it lies in a live allocation or a declared shared
// variable); bit 4 + i: something has been written to it.
//
// cells: who touched it in this launch, one cell a word of 4 bytes as long as it is used in whole words. The first
// access to a half of it splits the word: from then on its two half cells count, and in the same way the four cells of
// its bytes. Nothing is ever erased: what a cell says has a serial number, and that of an earlier launch is void.
#pragma once

#include <cstddef>
#include <cstdint>

namespace graft::simt {

inline constexpr std::uint8_t kTouchable = 0x0f, kWritten = 0xf0, kTouchableAndWritten = 0xff;

/// A moment of a thread. Bits 0..13: the thread (asynchronous operations count as threads, behind the real ones);
/// 14..32: its clock; 33: a flag; 34, 35: how the word is split; 36..63: the serial number of the group of blocks that
/// ran.
using Moment = std::uint64_t;
inline constexpr int kThreadBits = 14, kClockBits = 19, kFlagBit = 33, kSplitBit = 34, kSerialBit = 36;
inline constexpr Moment kFlag = Moment{1} << kFlagBit;  // of a write: atomic; of a read: a set of readers
inline constexpr Moment kSplitHalves = Moment{1} << kSplitBit, kSplitBytes = Moment{2} << kSplitBit,
                        kSplit = Moment{3} << kSplitBit;

inline std::uint32_t serial_of(Moment m) { return static_cast<std::uint32_t>(m >> kSerialBit); }
inline unsigned thread_of(Moment m) { return static_cast<unsigned>(m) & ((1u << kThreadBits) - 1); }
inline std::uint32_t clock_of(Moment m) {
  return static_cast<std::uint32_t>(m >> kThreadBits) & ((1u << kClockBits) - 1);
}

struct Cell {
  Moment write = 0;  // the last write
  Moment read = 0;   // the last read since, or the set of the readers
  std::uint32_t write_site = 0, read_site = 0;
  std::uint32_t other = 0;       // serial number of another group of this launch that read it, or changed it atomically
  std::uint32_t other_site = 0;  // the lowest bit of `other` tells which: 1 is atomic. Or, with the highest bit, the
                                 // number of a moment (checker_access.h)
};
static_assert(sizeof(Cell) == 32);

struct Shadow {
  std::uint8_t* state = nullptr;  // nullptr: nothing is kept (a build whose kernels are not instrumented)
  Cell *words = nullptr, *halves = nullptr, *bytes = nullptr;
};
extern Shadow shadow;

void reserve_shadow(std::size_t watched_bytes);
/// Gives the real pages of the cells back.
void drop_cells();
void drop_cells(std::size_t offset, std::size_t bytes);

}  // namespace graft::simt
