// What the emulated driver writes into a CUtensorMap, and which bytes a box of it is. Internal to the emulator.
#pragma once

#include <graft/kernels/simt/core.h>
#include <graft/kernels/simt/device_calls.h>

#include <algorithm>
#include <cstdint>

namespace graft::simt {

struct TensorMap {
  static constexpr std::uint32_t kMark = 0x544d4150;
  std::uint32_t mark;
  std::uint8_t rank, element_bytes;
  std::uint8_t span;  // of the swizzle in bytes: 128, 64, 32, or 0
  std::uint8_t im2col;
  char* address;
  std::uint64_t strides[5];  // bytes; the first is the element's
  std::uint32_t last[5];     // sizes - 1
  std::uint16_t box[5];      // elements that a tile has; of im2col channels and pixels
  std::uint8_t steps[5];
  std::int16_t lower[3], upper[3];

  std::int64_t size(int d) const { return std::int64_t{last[d]} + 1; }
  unsigned row_bytes() const { return box[0] * unsigned{element_bytes}; }
  unsigned rows() const {
    unsigned n = 1;
    for (int d = 1; d < (im2col != 0 ? 2 : rank); ++d) n *= box[d];
    return n;
  }
  unsigned bytes() const { return row_bytes() * rows(); }
};
static_assert(sizeof(TensorMap) <= 128);

/// The swizzle moves 16-byte chunks: the bits of an address that count them are changed by those that count rows.
inline std::uint32_t swizzled(std::uint32_t address, unsigned span) {
  const std::uint32_t mask = span == 0 ? 0 : span / 16 - 1;
  return address ^ (address >> 7 & mask) << 4;
}

/// Calls piece(offset, source, bytes) for the runs of bytes that make up a box, in shared memory from `address` on:
/// `offset` from the box's begin (swizzled), `source` in global memory, nullptr where the box reaches beyond the
/// tensor.
template <class Piece>
void for_pieces(const TensorMap& map, const TensorPlace& place, std::uint32_t address, Piece piece) {
  const unsigned row_bytes = map.row_bytes(), rows = map.rows(), chunk = map.span == 0 ? row_bytes : 16;
  // Of the innermost dimension the bytes [from, to) of a row lie in the tensor.
  const std::int64_t first = place.at[0], length = map.box[0];
  const auto clamp = [&](std::int64_t element) {
    return static_cast<unsigned>(std::clamp<std::int64_t>(element, 0, length)) * map.element_bytes;
  };
  const unsigned from = clamp(-first), to = clamp(map.size(0) - first);

  std::int64_t at[5] = {};  // of the row, innermost dimension aside
  for (int d = 1; d < map.rank; ++d) at[d] = place.at[d];
  unsigned index[5] = {};  // in the tile
  for (unsigned row = 0; row < rows; ++row) {
    bool inside = to > from;
    std::int64_t source = first * map.element_bytes;
    for (int d = 1; d < map.rank; ++d) {
      const std::int64_t c = at[d] + (map.im2col != 0 && d < map.rank - 1 ? place.offset[d - 1] : 0);
      inside = inside && c >= 0 && c < map.size(d);
      source += c * static_cast<std::int64_t>(map.strides[d]);
    }
    for (unsigned begin = 0; begin < row_bytes; begin += chunk) {
      const std::uint32_t offset = swizzled(address + row * row_bytes + begin, map.span) - address;
      const unsigned end = std::min(begin + chunk, row_bytes);
      const unsigned low = inside ? std::clamp(from, begin, end) : end, high = inside ? std::clamp(to, low, end) : end;
      if (low > begin) piece(offset, static_cast<char*>(nullptr), low - begin);
      if (high > low) piece(offset + (low - begin), map.address + source + low, high - low);
      if (end > high) piece(offset + (high - begin), static_cast<char*>(nullptr), end - high);
    }
    // The next row: of a tile in the order of its dimensions; of im2col the next pixel of the bounding box, a whole
    // image after another.
    for (int d = 1; d < map.rank; ++d) {
      const bool spatial = map.im2col != 0 && d < map.rank - 1;
      at[d] += map.steps[d];
      if (map.im2col != 0) {
        if (!spatial || at[d] <= std::int64_t{map.last[d]} + map.upper[d - 1]) break;
        at[d] = map.lower[d - 1];
      } else {
        if (++index[d] < map.box[d]) break;
        index[d] = 0;
        at[d] = place.at[d];
      }
    }
  }
}

}  // namespace graft::simt
