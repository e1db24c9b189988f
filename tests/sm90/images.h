// Matrices as wgmma reads them from shared memory, element by element. Host only; the tests of the emulator and those
// that run on a GPU share it.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include <graft/kernels/runtime/tensor_map.h>

namespace graft::test {

inline constexpr unsigned kImageDepth = 64;  // of every product

inline unsigned span_of(runtime::Swizzle swizzle) {
  using runtime::Swizzle;
  return swizzle == Swizzle::bytes128 ? 128 : swizzle == Swizzle::bytes64 ? 64 : swizzle == Swizzle::bytes32 ? 32 : 0;
}

// A matrix of rows x kImageDepth elements as an image, and how it lies there. The atoms of each layout one after
// another: first along the rows under a swizzle, first along the depth without one. Layout is {swizzle, stride,
// leading, steps of depth a part, bytes of a part, bytes of a step}.
template <class Layout>
struct Image {
  Layout layout{};
  std::vector<std::uint32_t> words;

  // Where element (row, k) of `bytes` bytes lies.
  static unsigned place(runtime::Swizzle swizzle, bool by_columns, unsigned rows, unsigned bytes, unsigned row,
                        unsigned k) {
    const unsigned span = span_of(swizzle), a_chunk = 16 / bytes;
    const unsigned outer = by_columns ? k : row, inner = by_columns ? row : k;  // inner: neighbours in memory
    const unsigned outer_size = by_columns ? kImageDepth : rows, inner_size = by_columns ? rows : kImageDepth;
    if (span == 0) {
      const unsigned chunk = inner / a_chunk, in_chunk = inner % a_chunk * bytes;
      const unsigned a_row_of_blocks = by_columns ? outer_size / 8 * 128 : inner_size / a_chunk * 128;
      return by_columns ? chunk * a_row_of_blocks + outer / 8 * 128 + outer % 8 * 16 + in_chunk
                        : outer / 8 * a_row_of_blocks + chunk * 128 + outer % 8 * 16 + in_chunk;
    }
    const unsigned part = inner * bytes / span, byte = inner * bytes % span;
    unsigned chunk = byte / 16;
    if (span == 128) chunk ^= outer % 8;
    if (span == 64) chunk ^= outer / 2 % 4;
    if (span == 32) chunk ^= outer / 4 % 2;
    return part * outer_size * span + outer * span + chunk * 16 + byte % 16;
  }

  // bits_of(value): an element of `bytes` bytes.
  template <class Bits>
  static Image of(const std::vector<float>& values, runtime::Swizzle swizzle, bool by_columns, unsigned bytes,
                  std::size_t image_bytes, Bits bits_of) {
    const auto rows = static_cast<unsigned>(values.size() / kImageDepth);
    Image image;
    std::vector<unsigned char> memory(image_bytes, 0xff);
    for (unsigned row = 0; row < rows; ++row)
      for (unsigned k = 0; k < kImageDepth; ++k) {
        const std::uint32_t bits = bits_of(values[row * kImageDepth + k]);
        std::memcpy(&memory[place(swizzle, by_columns, rows, bytes, row, k)], &bits, bytes);
      }
    image.words.resize(image_bytes / 4);
    std::memcpy(image.words.data(), memory.data(), image_bytes);
    const unsigned span = span_of(swizzle);
    if (span == 0)
      image.layout = {swizzle, by_columns ? kImageDepth / 8 * 128 : kImageDepth * bytes / 16 * 128, 128, 1000, 0, 256};
    else if (by_columns)
      image.layout = {swizzle, 8 * span, kImageDepth * span, 1000, 0, 16 * span};
    else
      image.layout = {swizzle, 8 * span, 16, span / 32, rows * span, 32};
    return image;
  }
};

// a (64 x kImageDepth) in registers, [step][thread of 128][register], for steps of `depth` 16-bit (16) or 32-bit (8)
// elements.
template <class Bits>
std::vector<std::uint32_t> in_registers(const std::vector<float>& a, unsigned depth, Bits bits_of) {
  const auto element = [&](unsigned step, unsigned row, unsigned k) {
    return bits_of(a[row * kImageDepth + step * depth + k]);
  };
  std::vector<std::uint32_t> registers(kImageDepth / depth * 128 * 4);
  for (unsigned step = 0; step < kImageDepth / depth; ++step)
    for (unsigned t = 0; t < 128; ++t)
      for (unsigned i = 0; i < 4; ++i) {
        const unsigned row = t / 32 * 16 + t % 32 / 4 + i % 2 * 8, at = t % 4;
        registers[(step * 128 + t) * 4 + i] =
            depth == 8 ? element(step, row, at + i / 2 * 4)
                       : element(step, row, 2 * at + i / 2 * 8) | element(step, row, 2 * at + i / 2 * 8 + 1) << 16;
      }
  return registers;
}

}  // namespace graft::test
