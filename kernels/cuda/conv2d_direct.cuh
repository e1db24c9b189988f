// Direct convolution for pictures of one to four channels (the first layer of a network). As a matrix product such a
// layer has few terms or few columns, which leaves most of a product's tile empty, and elements too narrow for wide
// copies. Here a block keeps a patch of the picture in shared memory as float, where all taps of all its positions find
// it, and every thread adds up a few results in registers.
//
// What the three directions share: how pictures are cut into tiles, the patch under a tile, and how a patch is loaded.
// All choices are by shape only. Positions outside the picture are zeros that take part in the sums, as in the implicit
// product (conv2d_tile.cuh).
#pragma once

#include <graft/kernels/cuda/conv2d_geometry.cuh>
#include <graft/kernels/cuda/packed.cuh>

namespace graft::kernels::cuda {

/// Channels of the pictures that are convolved directly, at most.
inline constexpr int kDirectChannels = 4;

/// Filters that a thread, and the fewest that a block, works on.
inline constexpr int kDirectFilters = 8;

/// Shared memory of a block: enough for four blocks a multiprocessor of 228 KB, or at the worst two.
inline constexpr std::int64_t kDirectShared = 56 * 1024, kDirectMostShared = 96 * 1024;

/// Tiles of rows x columns positions, and of the patch under a tile: rows of `run` elements.
struct DirectTiles {
  int rows = 0, columns = 0, patch_rows = 0, run = 0;
  std::int64_t count = 0;  // in all pictures
  FastDivisor by_picture, by_across, by_columns, by_run;

  constexpr int positions() const { return rows * columns; }
  constexpr int patch() const { return patch_rows * run; }  // elements

  /// The picture of a tile, and its first position there.
  GRAFT_DEVICE Position first_of(std::int64_t tile) const {
    const Position at = position(tile, by_picture, by_across);
    return {at.n, at.row * rows, at.col * columns};
  }
};

/// How far windows reach along one axis: neighbouring positions lie `step` apart in the patch, and each needs `reach`.
struct DirectReach {
  std::int64_t step, reach;
  std::int64_t span(std::int64_t positions) const { return (positions - 1) * step + reach; }
};

/// Cuts `pictures` of height x width positions into tiles of at most `capacity`, whose patch has at most `most`
/// elements (`depth` of them a place). No tiles (count 0) where that cannot be, or where there is nothing to cut. Of a
/// few widths that divide the pictures evenly it takes the one with the least to compute and to load.
inline DirectTiles direct_tiles(std::int64_t pictures, int height, int width, int capacity, const DirectReach& vertical,
                                const DirectReach& horizontal, int depth, std::int64_t most) {
  constexpr int kTried = 16;
  DirectTiles best;
  double least = std::numeric_limits<double>::infinity();
  const int fewest = ceil_div(width, capacity);
  for (int across = fewest; across < fewest + kTried && across <= width; ++across) {
    const int columns = ceil_div(width, across);
    const std::int64_t run = horizontal.span(columns) * depth;
    std::int64_t rows = std::min(height, capacity / columns);
    if (run > most || vertical.reach > most / run) continue;
    rows = std::min(rows, (most / run - vertical.reach) / vertical.step + 1);
    if (rows < 1) continue;
    const std::int64_t patch_rows = vertical.span(rows);
    const int down = ceil_div(height, static_cast<int>(rows)), tiles_across = ceil_div(width, columns);
    const double cost = static_cast<double>(down) * tiles_across * static_cast<double>(capacity + patch_rows * run);
    if (cost >= least) continue;
    least = cost;
    best.rows = static_cast<int>(rows);
    best.columns = columns;
    best.patch_rows = static_cast<int>(patch_rows);
    best.run = static_cast<int>(run);
    const std::int64_t a_picture = std::int64_t{down} * tiles_across;
    best.count = pictures * a_picture;
    best.by_picture = FastDivisor(a_picture);
    best.by_across = FastDivisor(tiles_across);
  }
  best.by_columns = FastDivisor(best.columns);
  best.by_run = FastDivisor(best.run);
  return best;
}

/// The tiles of the output's positions with the patch of x under them, of at most `most` elements.
inline DirectTiles output_tiles(const ConvShape& g, int capacity, std::int64_t most) {
  return direct_tiles(g.n, g.p, g.q, capacity, {g.stride_h, std::int64_t{g.r - 1} * g.dilation_h + 1},
                      {g.stride_w, std::int64_t{g.s - 1} * g.dilation_w + 1}, g.c, most);
}

/// Whether anything here serves the convolution; the three directions have limits of their own besides.
template <class T>
bool is_direct(const ConvShape& g) {
  return !std::is_same_v<T, double> && g.groups == 1 && g.c <= kDirectChannels && g.w < kConvSizeLimit / g.c;
}

/// Filters in a block: groups of kDirectFilters, a power of two up to `most`, enough for k where that is less.
inline int filter_groups(int k, int most) {
  int groups = 1;
  while (groups < most && groups * kDirectFilters < k) groups *= 2;
  return groups;
}

/// Writes N neighbours to shared memory. (`store` writes to global memory.)
template <int N, class T>
GRAFT_DEVICE void store_shared(T* to, const Packed<T, N>& value) {
  constexpr int piece = Packed<T, N>::kPiece;
  GRAFT_UNROLL
  for (int i = 0; i < N; i += piece) {
    Vector<T, piece> part;
    GRAFT_UNROLL
    for (int j = 0; j < piece; ++j) part.at[j] = value.at[i + j];
    *reinterpret_cast<Vector<T, piece>*>(to + i) = part;  // shared memory
  }
}

/// Loads the patch of a picture (H, W, C) that begins at row h0 and column w0, either perhaps outside: zeros there. All
/// threads of the block call.
template <int Threads, class T>
GRAFT_DEVICE void load_patch(const ConvShape& g, const DirectTiles& tiles, const T* __restrict__ picture, int h0,
                             int w0, float* patch) {
  const int first = w0 * g.c, width = g.w * g.c, count = tiles.patch();
  GRAFT_UNROLL_BY(4)
  for (int i = static_cast<int>(threadIdx.x); i < count; i += Threads) {
    const Split at = split(i, tiles.by_run);
    const int h = h0 + at.quotient, element = first + at.rest;
    const bool exists = within(h, g.h) && within(element, width);
    patch[i] = exists ? widen(picture[std::int64_t{h} * width + element]) : 0.0f;
  }
}

// conv2d_direct.cu, conv2d_direct_data.cu, conv2d_direct_weight.cu. False: not served, nothing was launched.
bool direct_forward(const Conv2dForwardArgs& args, const ConvShape& g, Stream& stream);
bool direct_backward_data(const Conv2dBackwardDataArgs& args, const ConvShape& g, Stream& stream);
bool direct_backward_weight(const Conv2dBackwardWeightArgs& args, const ConvShape& g, Stream& stream);

}  // namespace graft::kernels::cuda
