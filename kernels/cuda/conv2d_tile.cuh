// Convolution as a matrix product whose operands are gathered (an implicit GEMM): what the forward and both backward
// kernels share. The arithmetic is gemm_tile.cuh's; here are the tiles that convolutions use, the gathering of their
// operands into shared memory, and the grid.
//
// Where channels fill 16-byte vectors an operand is copied 16 bytes at a time; else element by element, with zeros for
// what does not exist: the arithmetic is the same, tensor cores included.
//
// Padding is zeros that take part in the sums, as in a product: an Inf or NaN that meets one gives NaN.
#pragma once

#include <graft/kernels/cuda/conv2d_geometry.cuh>
#include <graft/kernels/cuda/gemm_tile.cuh>

namespace graft::kernels::cuda {

inline constexpr int kConvThreads = 128;
inline constexpr int kConvStages = 3;

// --- a block's tile -------------------------------------------------------------------------------------------------

/// How a kernel's product lies: its rows and columns of the larger tile (the smaller has half of each), and whether the
/// operands' elements are contiguous in memory along the reduction (depth) or along rows and columns.
struct ConvProduct {
  int rows, columns;
  bool a_along_depth, b_along_depth;
};

/// The tile of a block: half precision on the tensor cores, four warps; else 128 threads with a patch each. Operands
/// are copied V elements at a time where they lie as the tile wants them.
template <class T_, ConvProduct product, bool large, int V>
struct ConvTile {
  using T = T_;
  static constexpr int kRows = large ? product.rows : product.rows / 2;
  static constexpr int kColumns = large ? product.columns : product.columns / 2;
  static constexpr int kDepth = is_half<T> ? 32 : 64 / static_cast<int>(sizeof(T));
  static constexpr int kV = V;
  // Shared tiles of half precision lie as the operands do in memory; the others are (depth, row) always.
  static constexpr bool kDepthInnerA = is_half<T> && product.a_along_depth;
  static constexpr bool kDepthInnerB = is_half<T> && product.b_along_depth;

  static constexpr int kWarpColumns = kColumns >= 64 ? kColumns / 2 : kColumns;
  static constexpr int kPatch = large ? 8 : 4;
  template <class S>
  struct Choose {
    using Type = SimtTile<S, kRows, kColumns, kDepth, kPatch, kPatch>;
  };
  template <class S>
  requires is_half<S>
  struct Choose<S> {
    using Type = MmaTile<S, kRows, kColumns, kDepth, kRows * kColumns / 4 / kWarpColumns, kWarpColumns, kDepthInnerA,
                         kDepthInnerB>;
  };
  using Block = typename Choose<T>::Type;
  static_assert(Block::kThreads == kConvThreads);
};

template <class Tile>
inline constexpr std::size_t conv_shared_bytes = gemm_shared_bytes<typename Tile::Block, kConvStages>;

// --- gathering ------------------------------------------------------------------------------------------------------

/// Copies V elements to shared memory, or zeros; asynchronously where the hardware can. `from` is valid memory anyway.
template <int V, class T>
GRAFT_DEVICE void copy_or_zero(T* to, const T* from, bool exists) {
  constexpr int bytes = V * static_cast<int>(sizeof(T));
  if constexpr (bytes == 16) {
    arch::cp_async16(to, from, exists ? 16 : 0);
  } else if constexpr (bytes == 4) {
    arch::cp_async4(to, from, exists ? 4 : 0);
  } else {
    static_assert(V == 1);
    T value{};
    if (exists) value = *from;
    *to = value;
  }
}

/// Fills a tile of Rows x Depth whose operand is contiguous along the depth: prepare(k) says what this thread needs of
/// depth k, and find(row, what, exists) where the element of a row is. V elements from k on go together if the tile
/// lies the same way; else the elements are scattered, eight neighbours of four rows a warp (whole sectors read, no
/// bank twice).
template <class Layout, bool depth_inner, int Rows, int Depth, int V, class Prepare, class Find,
          class T = typename Layout::Element>
GRAFT_DEVICE void gather_along_depth(T* to, const Prepare& prepare, const Find& find) {
  const int thread = static_cast<int>(threadIdx.x);
  bool exists = false;
  if constexpr (depth_inner) {
    constexpr int per_row = Depth / V, step = kConvThreads / per_row;
    static_assert(kConvThreads % per_row == 0 && Rows % step == 0);
    const int k = thread % per_row * V;
    const auto what = prepare(k);
    GRAFT_UNROLL
    for (int i = 0; i < Rows / step; ++i) {
      const int row = thread / per_row + i * step;
      const T* from = find(row, what, exists);
      copy_or_zero<V>(to + row * Layout::kPitch + k, from, exists);
    }
  } else {
    constexpr int across = 8, step = kConvThreads / across;
    static_assert(Depth % across == 0 && Rows % step == 0);
    GRAFT_UNROLL
    for (int j = 0; j < Depth / across; ++j) {
      const int k = thread % across + j * across;
      const auto what = prepare(k);
      GRAFT_UNROLL
      for (int i = 0; i < Rows / step; ++i) {
        const int row = thread / across + i * step;
        const T* from = find(row, what, exists);
        copy_or_zero<1>(to + k * Layout::kPitch + row, from, exists);
      }
    }
  }
}

/// Fills a tile of Depth x Rows whose operand is contiguous along the rows: find(k, row, exists) says where V elements
/// from `row` on are. `row` is the same in all calls of a thread: row_of_thread.
template <int Rows, int V>
GRAFT_DEVICE int row_of_thread() {
  return static_cast<int>(threadIdx.x) % (Rows / V) * V;
}
template <class Layout, int Rows, int Depth, int V, class Find, class T = typename Layout::Element>
GRAFT_DEVICE void gather_along_rows(T* to, const Find& find) {
  constexpr int per_depth = Rows / V, step = kConvThreads / per_depth;
  static_assert(kConvThreads % per_depth == 0 && Depth % step == 0);
  const int row = row_of_thread<Rows, V>();
  bool exists = false;
  GRAFT_UNROLL
  for (int i = 0; i < Depth / step; ++i) {
    const int k = static_cast<int>(threadIdx.x) / per_depth + i * step;
    const T* from = find(k, row, exists);
    copy_or_zero<V>(to + k * Layout::kPitch + row, from, exists);
  }
}

// --- the grid -------------------------------------------------------------------------------------------------------

/// Blocks in one dimension, as it is the only one without a limit of 65535: columns of tiles first (they share the
/// gathered operand), then rows, groups and splits.
struct TileGrid {
  unsigned column_tiles, row_tiles, groups;

  struct Block {
    int column_tile;
    std::int64_t row_tile;
    int group, split;
  };
  GRAFT_DEVICE Block block() const {
    unsigned i = blockIdx.x;
    Block at{};
    at.column_tile = static_cast<int>(i % column_tiles);
    i /= column_tiles;
    at.row_tile = i % row_tiles;
    i /= row_tiles;
    at.group = static_cast<int>(i % groups);
    at.split = static_cast<int>(i / groups);
    return at;
  }
};

/// The grid for results of rows x columns a group.
template <class Tile>
TileGrid tile_grid(std::int64_t rows, std::int64_t columns, int groups) {
  return {blocks_for(columns, Tile::kColumns), blocks_for(rows, Tile::kRows), static_cast<unsigned>(groups)};
}

inline dim3 grid_blocks(const TileGrid& grid, int splits = 1) {
  const double blocks = static_cast<double>(grid.column_tiles) * grid.row_tiles * grid.groups * splits;
  check(blocks <= std::numeric_limits<std::int32_t>::max(), "a convolution needs ", blocks,
        " blocks, the device allows 2147483647");
  return dim3(grid.column_tiles * grid.row_tiles * grid.groups * static_cast<unsigned>(splits));
}

/// The multiprocessors of a large device (an H100). A constant, whatever the device: choices by it are by shape only,
/// so that the order of sums, and with it the bits, are the same everywhere.
inline constexpr std::int64_t kMultiprocessors = 132;

/// Calls f with the tile for results of rows x columns a group: large tiles where they make blocks enough for a large
/// device and fit the results, small ones for small pictures and few filters. `vectors`: operands may be copied 16
/// bytes at a time.
///
/// A block of either tile is four warps, one for each scheduler of a multiprocessor. Below two blocks a multiprocessor
/// a scheduler has a single large tile's warp, whose waits nothing covers, and part of the device has none at all; the
/// small tile makes four blocks of one large, so that at least three warps take turns, at about half the arithmetic an
/// instruction. Counted for f32 with the instructions of a step and one instruction every two clocks from a lone warp,
/// nine in ten clocks from three (estimates): 98 large blocks of 36 steps 119,000 clocks, 392 small ones 93,000; at 196
/// large blocks the two are even; from 264 on the large tile wins. The 16-bit tiles wait less, for tensor cores and not for
/// lanes: on an H100 and an H200 98 large blocks were slower than small ones (17 and 13 us), and 196 faster (11 and 18).
template <class T, ConvProduct product, class F>
void with_tile(std::int64_t rows, std::int64_t columns, std::int64_t groups, bool vectors, F&& f) {
  // Operands that are scattered into the tile move element by element anyway.
  constexpr bool scattered = !is_half<T> && product.a_along_depth && product.b_along_depth;
  constexpr int v = scattered ? 1 : kVectorLength<T>;
  if constexpr (!std::is_same_v<T, double>) {
    constexpr std::int64_t enough_blocks = (is_half<T> ? 1 : 2) * kMultiprocessors;
    const std::int64_t blocks =
        ceil_div<std::int64_t>(rows, product.rows) * ceil_div<std::int64_t>(columns, product.columns) * groups;
    const bool large = blocks >= enough_blocks && rows > product.rows / 2 && columns > product.columns / 2;
    if (large && (vectors || scattered)) return f(ConvTile<T, product, true, v>{});
    if (vectors && !scattered) return f(ConvTile<T, product, false, v>{});
  }
  f(ConvTile<T, product, false, 1>{});
}

/// True where channels fill 16-byte vectors and all pointers are aligned to them.
template <class T>
bool vectors_fit(std::initializer_list<std::int64_t> channels, std::initializer_list<const void*> pointers) {
  return std::all_of(channels.begin(), channels.end(), [](std::int64_t c) { return c % kVectorLength<T> == 0; }) &&
         std::all_of(pointers.begin(), pointers.end(), [](const void* p) { return is_aligned(p, 16); });
}

}  // namespace graft::kernels::cuda
