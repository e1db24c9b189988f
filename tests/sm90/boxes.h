// Boxes of tensors by plain loops: what a bulk tensor copy must bring. Host only; the tests of the emulator and those
// that run on a GPU share it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <graft/kernels/runtime/tensor_map.h>

namespace graft::test {

using Sizes = std::array<std::int64_t, 5>;

inline std::vector<std::uint32_t> numbers(std::int64_t count) {
  std::vector<std::uint32_t> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::uint32_t>(i + 1000);
  return values;
}

// The 16-byte chunk `chunk` of row `row` under a swizzle of rows of `span` bytes, in 16 bytes: written down anew from
// the tables of CUDA's programming guide, in rows and chunks.
inline unsigned swizzled_chunk(unsigned row, unsigned chunk, unsigned span) {
  if (span == 128) return row * 8 + (chunk ^ row % 8);
  if (span == 64) return row * 4 + (chunk ^ row / 2 % 4);
  if (span == 32) return row * 2 + (chunk ^ row / 4 % 2);
  return row * (span / 16) + chunk;
}

// A tensor of words with a little room behind each row, plane and so on; Array is its memory on the device.
template <class Array>
struct WordTensor {
  runtime::TensorLayout layout;
  std::vector<std::uint32_t> host;
  Array device;

  static runtime::TensorLayout spaced(int rank, const Sizes& sizes) {
    runtime::TensorLayout t;
    t.dtype = DType::i32;
    t.rank = rank;
    t.sizes = sizes;
    std::int64_t stride = 4;
    for (std::size_t d = 0; d < static_cast<std::size_t>(rank); ++d) {
      t.strides[d] = stride;
      stride = (stride * sizes[d] + 31) / 16 * 16;
    }
    t.strides[static_cast<std::size_t>(rank) % 5] = rank < 5 ? stride : t.strides[0];
    return t;
  }
  static std::int64_t words_of(const runtime::TensorLayout& t) {
    const auto last = static_cast<std::size_t>(t.rank - 1);
    return (t.sizes[last] * t.strides[last] + 64) / 4;
  }
  WordTensor(int rank, const Sizes& sizes) : layout(spaced(rank, sizes)), host(numbers(words_of(layout))), device(host) {
    layout.data = device;
  }
  // 0 outside.
  std::uint32_t at(const Sizes& c) const {
    std::int64_t offset = 0;
    for (std::size_t d = 0; d < static_cast<std::size_t>(layout.rank); ++d) {
      if (c[d] < 0 || c[d] >= layout.sizes[d]) return 0;
      offset += c[d] * layout.strides[d];
    }
    return host[static_cast<std::size_t>(offset / 4)];
  }
};

// All coordinates of a box, innermost first.
template <class Each>
void for_box(const std::array<int, 5>& box, int rank, Each each) {
  std::array<int, 5> i{};
  for (;;) {
    each(i);
    int d = 0;
    for (; d < rank; ++d) {
      const auto at = static_cast<std::size_t>(d);
      if (++i[at] < box[at]) break;
      i[at] = 0;
    }
    if (d == rank) return;
  }
}

struct Tile {
  Sizes sizes;
  std::array<int, 5> box;
  std::array<int, 5> at;
};

// What a load of the tile brings, in the order of shared memory without a swizzle.
template <class Array>
std::vector<std::uint32_t> expected_tile(const WordTensor<Array>& x, const Tile& tile,
                                         const std::array<int, 5>& steps = {1, 1, 1, 1, 1}) {
  std::vector<std::uint32_t> words;
  std::array<int, 5> count = tile.box;
  const auto rank = static_cast<std::size_t>(x.layout.rank);
  for (std::size_t d = 0; d < rank; ++d) count[d] = (tile.box[d] + steps[d] - 1) / steps[d];
  for_box(count, x.layout.rank, [&](const std::array<int, 5>& i) {
    Sizes c{};
    for (std::size_t d = 0; d < rank; ++d) c[d] = tile.at[d] + i[d] * steps[d];
    words.push_back(x.at(c));
  });
  return words;
}

// The same words as a swizzle of rows of `span` bytes has them.
inline std::vector<std::uint32_t> swizzled(const std::vector<std::uint32_t>& plain, unsigned span) {
  std::vector<std::uint32_t> words(plain.size());
  for (unsigned i = 0; i < plain.size(); ++i)
    words[swizzled_chunk(i / (span / 4), i % (span / 4) / 4, span) * 4 + i % 4] = plain[i];
  return words;
}

// Adds one to each word of y that lies in the tile.
template <class Array>
std::vector<std::uint32_t> one_more_in_tile(const WordTensor<Array>& y, const Tile& tile) {
  std::vector<std::uint32_t> expected = y.host;
  for_box(tile.box, y.layout.rank, [&](const std::array<int, 5>& i) {
    std::int64_t offset = 0;
    for (std::size_t d = 0; d < static_cast<std::size_t>(y.layout.rank); ++d) {
      const std::int64_t c = tile.at[d] + i[d];
      if (c < 0 || c >= tile.sizes[d]) return;
      offset += c * y.layout.strides[d];
    }
    ++expected[static_cast<std::size_t>(offset / 4)];
  });
  return expected;
}

struct TileCase {
  int rank;
  Tile tile;
  std::array<int, 5> steps = {1, 1, 1, 1, 1};
};
// Innermost coordinates are multiples of 16 bytes, as the hardware wants them.
inline std::vector<TileCase> tile_cases() {
  return {{1, {{100}, {64}, {12}}},
          {1, {{100}, {64}, {72}}},
          {1, {{99}, {64}, {-4}}},
          {1, {{100}, {8}, {500}}},
          {2, {{33, 7}, {16, 4}, {4, 2}}},
          {2, {{33, 7}, {48, 12}, {-8, -2}}},
          {3, {{12, 5, 4}, {8, 3, 2}, {8, 3, -1}}},
          {4, {{8, 5, 4, 3}, {8, 2, 3, 2}, {-4, 4, 1, 2}}},
          {5, {{7, 3, 4, 3, 2}, {4, 2, 3, 2, 2}, {4, 2, -1, 1, 1}}}};
}
inline std::vector<TileCase> stepped_tile_cases() {
  return {{2, {{33, 40}, {16, 12}, {4, 2}}, {1, 5, 1, 1, 1}},
          {4, {{8, 9, 9, 3}, {8, 6, 5, 2}, {0, -1, -2, 1}}, {1, 2, 3, 1, 1}}};
}

// A convolution whose im2col matrix is loaded, from the definition: pixel p of the tile is an output's place (columns
// first), and what is loaded is the input that the kernel's place (r, s) meets there, 32 channels from the ninth on.
struct Convolution {
  int channels, width, height, images, kernel, padding, stride, dilation;

  int outputs(int size) const { return (size + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1; }
  int columns() const { return outputs(width); }
  int rows() const { return outputs(height); }

  runtime::Im2col im2col(int pixels) const {
    runtime::Im2col i;
    i.channels = 32;
    i.pixels = pixels;
    const int low = -padding, high = padding - dilation * (kernel - 1);
    i.lower = {low, low};
    i.upper = {high, high};
    i.steps = {stride, stride, 1};
    return i;
  }
  std::array<int, 5> at(int pixel) const {
    return {8, pixel % columns() * stride - padding, pixel / columns() % rows() * stride - padding,
            pixel / columns() / rows()};
  }
  std::array<unsigned short, 3> offset(int r, int s) const {
    return {static_cast<unsigned short>(s * dilation), static_cast<unsigned short>(r * dilation)};
  }
  template <class Array>
  std::vector<std::uint32_t> expected(const WordTensor<Array>& x, int first, int pixels, int r, int s) const {
    std::vector<std::uint32_t> words;
    for (int pixel = first; pixel < first + pixels; ++pixel)
      for (int channel = 0; channel < 32; ++channel) {
        const std::array<int, 5> c = at(pixel);
        words.push_back(x.at({channel + c[0], c[1] + s * dilation, c[2] + r * dilation, c[3]}));
      }
    return words;
  }
};
inline std::vector<Convolution> convolution_cases() {
  return {{32, 7, 6, 2, 3, 1, 1, 1},  {32, 9, 5, 3, 3, 0, 1, 1},  {64, 8, 9, 2, 3, 1, 2, 1},
          {32, 11, 8, 2, 5, 2, 3, 1}, {32, 12, 9, 1, 3, 2, 2, 2}, {40, 5, 5, 3, 1, 0, 2, 1}};
}

}  // namespace graft::test
