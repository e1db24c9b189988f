// Kernels over the columns of a contiguous (rows, columns) tensor: sums down the columns, and passes over all elements
// with values that belong to columns.
//
// A block of 256 threads takes a tile: `lanes` vectors of V columns side by side (128 bytes where vectors are used), by
// 256 / lanes rows at a time, over one split of the rows. A thread keeps to its V columns, so that their sums and
// factors lie in its registers. What the threads of a block have added up is merged here and written as one partial a
// column; the last block of a tile (ticket.cuh) merges the partials of all its splits. How rows are split depends on
// the shape only, and all merging is additions in a fixed order, in double.
#pragma once

#include <graft/kernels/cuda/rows.cuh>
#include <graft/kernels/cuda/ticket.cuh>

namespace graft::kernels::cuda {

inline constexpr int kColumnThreads = 256;
inline constexpr int kTileColumns = 64;  // at most: 8 lanes of 8 columns, or 32 of one

struct ColumnGrid {
  std::int64_t rows, columns;
  std::int64_t rows_per_split, splits, tiles;
  int lanes;  // a power of two, at most 32

  dim3 blocks() const { return dim3(blocks_for(splits * tiles, 1)); }
};

/// For vectors of `width` columns. Aims at one wave of blocks, each thread having 8 rows at least and 128 at most: sums
/// of so few terms are accurate in float.
inline ColumnGrid column_grid(std::int64_t rows, std::int64_t columns, int width) {
  ColumnGrid grid{rows, columns, 0, 0, 0, 1};
  const int most = width == 1 ? kWarp : 8;
  while (grid.lanes < most && grid.lanes * width < columns) grid.lanes *= 2;
  grid.tiles = ceil_div<std::int64_t>(columns, grid.lanes * width);
  const std::int64_t rows_at_once = kColumnThreads / grid.lanes;
  const std::int64_t wave = std::max<std::int64_t>(1024 / std::max<std::int64_t>(grid.tiles, 1), 1);
  std::int64_t splits = std::min(wave, ceil_div(rows, 8 * rows_at_once));
  splits = std::max({splits, ceil_div(rows, 128 * rows_at_once), std::int64_t{1}});
  grid.rows_per_split = std::max<std::int64_t>(ceil_div(ceil_div(rows, splits), rows_at_once) * rows_at_once, 1);
  grid.splits = std::max<std::int64_t>(ceil_div(rows, grid.rows_per_split), 1);
  return grid;
}

/// Where a thread works: its first column, and its rows.
struct ColumnPlace {
  std::int64_t column, begin, end, step, split;
};

template <int V>
GRAFT_DEVICE ColumnPlace column_place(const ColumnGrid& grid) {
  const std::int64_t split = blockIdx.x / grid.tiles, tile = blockIdx.x % grid.tiles;
  const int lane = static_cast<int>(threadIdx.x) % grid.lanes, first = static_cast<int>(threadIdx.x) / grid.lanes;
  ColumnPlace place;
  place.column = (tile * grid.lanes + lane) * V;
  place.step = kColumnThreads / grid.lanes;
  place.begin = split * grid.rows_per_split + first;
  place.end = (split + 1) * grid.rows_per_split < grid.rows ? (split + 1) * grid.rows_per_split : grid.rows;
  place.split = split;
  if (place.column >= grid.columns) place.end = place.begin;  // beyond the tensor: no rows
  return place;
}

/// Calls use(row, load(row)) for all rows of a thread, with four loads under way at a time.
template <class Load, class Use>
GRAFT_DEVICE void for_rows(const ColumnPlace& place, Load load, Use use) {
  constexpr int kAhead = 4;
  for (std::int64_t row = place.begin; row < place.end; row += kAhead * place.step) {
    decltype(load(row)) held[kAhead] = {};
    GRAFT_UNROLL
    for (int k = 0; k < kAhead; ++k)
      if (row + k * place.step < place.end) held[k] = load(row + k * place.step);
    GRAFT_UNROLL
    for (int k = 0; k < kAhead; ++k)
      if (row + k * place.step < place.end) use(row + k * place.step, held[k]);
  }
}

/// Vectors of two tensors at one place.
template <class T, int V>
struct VectorPair {
  Vector<T, V> first, second;
};

// --- what is known of a column after some of its rows ---------------------------------------------------------------

/// Two sums.
struct Sums {
  double first, second;

  GRAFT_DEVICE void merge(const Sums& other) {
    first += other.first;
    second += other.second;
  }
  /// Of the lane `offset` further on.
  GRAFT_DEVICE Sums shuffled_down(int offset) const {
    return {__shfl_down_sync(kAllLanes, first, offset), __shfl_down_sync(kAllLanes, second, offset)};
  }
};

/// `mine` of all threads of a block added down the columns. The result belongs to the column of the tile that is the
/// thread's number, and is there for the first lanes * V threads. All threads must call; between two calls with the
/// same scratch there is a barrier.
template <int V>
GRAFT_DEVICE Sums merge_rows(Sums (&mine)[V], int lanes, Sums (&scratch)[kColumnThreads / kWarp][kTileColumns]) {
  for (int offset = kWarp / 2; offset >= lanes; offset /= 2) {
    GRAFT_UNROLL
    for (int v = 0; v < V; ++v) mine[v].merge(mine[v].shuffled_down(offset));
  }
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  if (lane < lanes) {
    GRAFT_UNROLL
    for (int v = 0; v < V; ++v) scratch[warp][lane * V + v] = mine[v];
  }
  __syncthreads();
  Sums total{};
  if (static_cast<int>(threadIdx.x) < lanes * V) {
    total = scratch[0][threadIdx.x];
    for (int i = 1; i < kColumnThreads / kWarp; ++i) total.merge(scratch[i][threadIdx.x]);
  }
  return total;
}

/// The memory through which the blocks of a tile pass on their sums; none where there is one split.
class ColumnScratch {
 public:
  struct Refs {
    Sums* partials;           // (splits, columns)
    std::uint32_t* counters;  // of each tile
  };
  ColumnScratch(const ColumnGrid& grid, const Stream& stream)
      : partials_(grid.splits == 1 ? 0 : static_cast<std::size_t>(grid.splits * grid.columns) * sizeof(Sums), stream),
        refs_{partials_.as<Sums>(), grid.splits == 1 ? nullptr : tickets(grid.tiles, stream)} {}
  Refs refs() const { return refs_; }

 private:
  Workspace partials_;
  Refs refs_;
};

/// Calls finish(column, sums of all rows) once for every column, from one of the blocks that have it. All threads must
/// call, once a kernel.
template <int V, class Finish>
GRAFT_DEVICE void finish_columns(const ColumnGrid& grid, const ColumnPlace& place, Sums (&mine)[V],
                                 const ColumnScratch::Refs& to, const Finish& finish) {
  GRAFT_SHARED(scratch, Sums[kColumnThreads / kWarp][kTileColumns]);
  Sums total = merge_rows<V>(mine, grid.lanes, scratch);
  const std::int64_t tile = blockIdx.x % grid.tiles, column = tile * grid.lanes * V + threadIdx.x;
  const bool exists = static_cast<int>(threadIdx.x) < grid.lanes * V && column < grid.columns;
  if (grid.splits > 1) {
    if (exists) to.partials[place.split * grid.columns + column] = total;
    if (!is_last_block(to.counters + tile, static_cast<unsigned>(grid.splits))) return;
    GRAFT_UNROLL
    for (int v = 0; v < V; ++v) mine[v] = {0, 0};
    if (place.column < grid.columns) {
      const Sums* const from = to.partials + place.column;
      const int step = kColumnThreads / grid.lanes;
      GRAFT_NO_UNROLL  // the registers would cost the passes over x more
      for (std::int64_t s = static_cast<int>(threadIdx.x) / grid.lanes; s < grid.splits; s += step) {
        GRAFT_UNROLL
        for (int v = 0; v < V; ++v) mine[v].merge(from[s * grid.columns + v]);
      }
    }
    total = merge_rows<V>(mine, grid.lanes, scratch);
  }
  if (exists) finish(column, total);
}

}  // namespace graft::kernels::cuda
