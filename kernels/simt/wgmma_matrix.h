// The matrices that wgmma reads from shared memory: where a descriptor says that their 16-byte chunks lie. Internal to
// the emulator.
//
// A descriptor (PTX: wgmma, matrix descriptor): bits 0-13 the first byte's address / 16; 16-29 the leading, 32-45 the
// stride byte offset / 16; 49-51 a base offset, which must be 0 here; 62-63 the swizzle: none, 128, 64, 32 bytes.
// Depth (K) innermost, in rows of `span` bytes, 8 rows an atom:
//   swizzled   row / 8 by the stride offset, row % 8 by the span, chunk of the row by 16
//   none       row / 8 by the stride offset, row % 8 by 16, chunk of the row by the leading offset
// M or N innermost (16-bit types only), a row one step of depth:
//   swizzled   chunk / chunks a span by the leading offset, the rest by 16; row / 8 by the stride offset, row % 8 by
//   the
//              span
//   none       chunk by the stride offset; row / 8 by the leading offset, row % 8 by 16
#pragma once

#include <cstdint>

namespace graft::simt {

struct MatrixDescriptor {
  std::uint32_t start, leading, stride;  // bytes
  unsigned span;                         // of the swizzle; 0: none
  bool is_valid;

  explicit MatrixDescriptor(std::uint64_t bits)
      : start(static_cast<std::uint32_t>(bits & 0x3fff) << 4),
        leading(static_cast<std::uint32_t>(bits >> 16 & 0x3fff) << 4),
        stride(static_cast<std::uint32_t>(bits >> 32 & 0x3fff) << 4),
        span(bits >> 62 == 0 ? 0u : 256u >> (bits >> 62)),
        is_valid((bits & 0x3fffc000c000c000u) == 0) {}

  /// Whether the matrix begins where the swizzle's pattern does (chunks of the first row aside).
  bool begins_a_pattern() const { return span == 0 || (start >> 7 & (span / 16 - 1)) == 0; }

  /// The place of a chunk: row and chunk of M or N, or with `by_columns` of the depth.
  std::uint32_t chunk(unsigned row, unsigned index, bool by_columns) const {
    const std::uint32_t high = row / 8, low = row % 8;
    std::uint32_t at = start;
    if (span == 0) {
      at += by_columns ? index * stride + high * leading : high * stride + index * leading;
      return at + low * 16;
    }
    const std::uint32_t chunks = span / 16;
    at += high * stride + low * span;
    at += by_columns ? index / chunks * leading + index % chunks * 16 : index * 16;
    return at ^ (at >> 7 & (chunks - 1)) << 4;
  }
};

}  // namespace graft::simt
