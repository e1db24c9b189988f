// Convolution as a matrix product whose operands are gathered: what the three implicit GEMMs share. A block computes a
// tile of Rows x Cols results. It goes over the reduction in steps of kDepth; each step's operands are copied to shared
// memory, kStages - 1 steps ahead of the arithmetic.
//
// float and double multiply in registers, a tile of each thread's own; bf16 and f16 on the tensor cores. Where channels
// do not fill a 16-byte vector, elements are copied one by one and what lies outside is zero: the arithmetic is the
// same.
//
// Padding is zeros that take part in the sums, as in a product: an Inf or NaN that meets one gives NaN.
#pragma once

#include <graft/kernels/cuda/arch/sm80.h>
#include <graft/kernels/cuda/conv2d_geometry.cuh>

namespace graft::kernels::cuda {

inline constexpr int kConvThreads = 128;
inline constexpr int kStages = 3;

/// Which index of an operand's tile is contiguous: that of the reduction, or that of the result's row (or column).
enum class Inner { depth, row };

/// How the tile of one operand lies in shared memory: (Rows, Depth) or (Depth, Rows), 16 bytes of padding to a line, so
/// that neither 16-byte reads of eight lines nor ldmatrix meet a bank twice.
template <class T, int Rows, int Depth, Inner inner>
struct OperandTile {
  static constexpr int kLine = (inner == Inner::depth ? Depth : Rows) + kVectorLength<T>;
  static constexpr int kSize = (inner == Inner::depth ? Rows : Depth) * kLine;
};

// --- the arithmetic of one step -------------------------------------------------------------------------------------

/// float and double: 16 x 8 threads; each owns Rows / 16 rows and Cols / 8 columns of the block's tile.
template <class T, int Rows, int Cols, int Depth, Inner inner_a, Inner inner_b>
class RegisterProduct {
  static constexpr int kV = kVectorLength<T>;
  static constexpr int kThreadRows = 16, kThreadCols = 8;
  static constexpr int kM = Rows / kThreadRows, kN = Cols / kThreadCols;

 public:
  /// results += a (Rows, Depth) b (Cols, Depth)^T
  GRAFT_DEVICE void multiply(const T* a, const T* b) {
    GRAFT_UNROLL
    for (int k = 0; k < Depth; k += kV) {
      T fa[kV][kM], fb[kV][kN];
      fragment<Rows, inner_a, kThreadRows>(a, row_lane(), k, fa);
      fragment<Cols, inner_b, kThreadCols>(b, col_lane(), k, fb);
      GRAFT_UNROLL
      for (int v = 0; v < kV; ++v) {
        GRAFT_UNROLL
        for (int i = 0; i < kM; ++i) {
          GRAFT_UNROLL
          for (int j = 0; j < kN; ++j) sum_[i][j] += fa[v][i] * fb[v][j];
        }
      }
    }
  }

  /// f(row, column, result) for each result of this thread.
  template <class F>
  GRAFT_DEVICE void for_each(F f) const {
    GRAFT_UNROLL
    for (int i = 0; i < kM; ++i) {
      GRAFT_UNROLL
      for (int j = 0; j < kN; ++j)
        f(index<inner_a, kThreadRows>(row_lane(), i), index<inner_b, kThreadCols>(col_lane(), j), sum_[i][j]);
    }
  }

 private:
  static GRAFT_DEVICE int row_lane() { return static_cast<int>(threadIdx.x) / kThreadCols; }
  static GRAFT_DEVICE int col_lane() { return static_cast<int>(threadIdx.x) % kThreadCols; }

  // The tile's row that is number i of `lane`: spread out where vectors run along the depth, else vectors of rows.
  template <Inner inner, int Lanes>
  static GRAFT_DEVICE int index(int lane, int i) {
    return inner == Inner::depth ? i * Lanes + lane : (i / kV * Lanes + lane) * kV + i % kV;
  }

  // f[v][i]: row i of the lane at depth k + v.
  template <int TileRows, Inner inner, int Lanes, int Count>
  static GRAFT_DEVICE void fragment(const T* tile, int lane, int k, T (&f)[kV][Count]) {
    constexpr int line = OperandTile<T, TileRows, Depth, inner>::kLine;
    using V = Vector<T, kV>;
    if constexpr (inner == Inner::depth) {
      GRAFT_UNROLL
      for (int i = 0; i < Count; ++i) {
        const V vector = *reinterpret_cast<const V*>(tile + (i * Lanes + lane) * line + k);
        GRAFT_UNROLL
        for (int v = 0; v < kV; ++v) f[v][i] = vector.at[v];
      }
    } else {
      GRAFT_UNROLL
      for (int v = 0; v < kV; ++v) {
        GRAFT_UNROLL
        for (int i = 0; i < Count; i += kV) {
          const V vector = *reinterpret_cast<const V*>(tile + (k + v) * line + (i / kV * Lanes + lane) * kV);
          GRAFT_UNROLL
          for (int e = 0; e < kV; ++e) f[v][i + e] = vector.at[e];
        }
      }
    }
  }

  T sum_[kM][kN] = {};
};

/// bf16 and f16: 2 x 2 warps; each owns a quarter of the block's tile, in products of 16 x 8 x 16.
template <class T, int Rows, int Cols, int Depth, Inner inner_a, Inner inner_b>
class TensorCoreProduct {
  static constexpr int kM = Rows / 2 / 16, kN = Cols / 2 / 8;
  static constexpr int kLineA = OperandTile<T, Rows, Depth, inner_a>::kLine;
  static constexpr int kLineB = OperandTile<T, Cols, Depth, inner_b>::kLine;

 public:
  GRAFT_DEVICE void multiply(const T* a, const T* b) {
    GRAFT_UNROLL
    for (int k = 0; k < Depth; k += 16) {
      std::uint32_t fa[kM][4], fb[kN / 2][4];
      GRAFT_UNROLL
      for (int i = 0; i < kM; ++i) load_a(a, first_row() + 16 * i, k, fa[i]);
      GRAFT_UNROLL
      for (int j = 0; j < kN / 2; ++j) load_b(b, first_col() + 16 * j, k, fb[j]);
      GRAFT_UNROLL
      for (int i = 0; i < kM; ++i) {
        GRAFT_UNROLL
        for (int j = 0; j < kN; ++j)
          arch::mma_m16n8k16<T>(sum_[i][j], fa[i], fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]);
      }
    }
  }

  template <class F>
  GRAFT_DEVICE void for_each(F f) const {
    const int row = first_row() + lane() / 4, col = first_col() + lane() % 4 * 2;
    GRAFT_UNROLL
    for (int i = 0; i < kM; ++i) {
      GRAFT_UNROLL
      for (int j = 0; j < kN; ++j) {
        GRAFT_UNROLL
        for (int e = 0; e < 4; ++e) f(row + 16 * i + e / 2 * 8, col + 8 * j + e % 2, sum_[i][j][e]);
      }
    }
  }

 private:
  static GRAFT_DEVICE int lane() { return static_cast<int>(threadIdx.x) % kWarp; }
  static GRAFT_DEVICE int first_row() { return static_cast<int>(threadIdx.x) / kWarp / 2 * (Rows / 2); }
  static GRAFT_DEVICE int first_col() { return static_cast<int>(threadIdx.x) / kWarp % 2 * (Cols / 2); }

  // The four 8x8 matrices of a (16 rows, 16 deep): rows 0-7 and 8-15 of depth 0-7, then of depth 8-15.
  static GRAFT_DEVICE void load_a(const T* tile, int row, int k, std::uint32_t (&f)[4]) {
    const int l = lane();
    if constexpr (inner_a == Inner::depth)
      arch::ldmatrix_x4(f, tile + (row + l % 16) * kLineA + k + l / 16 * 8);
    else
      arch::ldmatrix_x4_trans(f, tile + (k + l / 16 * 8 + l % 8) * kLineA + row + l / 8 % 2 * 8);
  }
  // Of b (16 columns, 16 deep): depth 0-7 and 8-15 of columns 0-7, then of columns 8-15.
  static GRAFT_DEVICE void load_b(const T* tile, int col, int k, std::uint32_t (&f)[4]) {
    const int l = lane();
    if constexpr (inner_b == Inner::depth)
      arch::ldmatrix_x4(f, tile + (col + l / 16 * 8 + l % 8) * kLineB + k + l / 8 % 2 * 8);
    else
      arch::ldmatrix_x4_trans(f, tile + (k + l % 16) * kLineB + col + l / 16 * 8);
  }

  float sum_[kM][kN][4] = {};
};

// --- the block ------------------------------------------------------------------------------------------------------

/// A block's tile: Rows x Cols results of type T from operands that are copied V elements at a time.
template <class T_, int Rows, int Cols, int V_>
struct ConvTile {
  using T = T_;
  static constexpr int kRows = Rows, kCols = Cols, kV = V_;
  static constexpr int kDepth = is_half<T> ? 32 : 64 / static_cast<int>(sizeof(T));

  template <Inner a, Inner b>
  using Product = std::conditional_t<is_half<T>, TensorCoreProduct<T, Rows, Cols, kDepth, a, b>,
                                     RegisterProduct<T, Rows, Cols, kDepth, a, b>>;
  template <Inner inner>
  using A = OperandTile<T, Rows, kDepth, inner>;
  template <Inner inner>
  using B = OperandTile<T, Cols, kDepth, inner>;
};

/// The operands of kStages steps.
template <class Tile, Inner a, Inner b>
struct alignas(16) StagedOperands {
  using T = typename Tile::T;
  T a_tiles[kStages][Tile::template A<a>::kSize];
  T b_tiles[kStages][Tile::template B<b>::kSize];
};

/// Copies V elements to shared memory, or zeros; asynchronously where the hardware can. `from` is valid memory anyway.
template <int V, class T>
GRAFT_DEVICE void copy_or_zero(T* to, const T* from, bool valid) {
  constexpr int bytes = V * static_cast<int>(sizeof(T));
  if constexpr (bytes == 16)
    arch::cp_async16(to, from, valid ? 16 : 0);
  else if constexpr (bytes == 4)
    arch::cp_async4(to, from, valid ? 4 : 0);
  else {
    static_assert(V == 1);
    T value{};
    if (valid) value = *from;
    *to = value;
  }
}

/// Calls f(line, first element) for this thread's share of the vectors of a tile of Lines x Length elements. The first
/// element is the same in each call.
template <int Lines, int Length, int V, class F>
GRAFT_DEVICE void for_each_vector(F f) {
  constexpr int per_line = Length / V, step = kConvThreads / per_line;
  static_assert(kConvThreads % per_line == 0 && Lines % step == 0);
  const int thread = static_cast<int>(threadIdx.x), first = thread % per_line * V;
  GRAFT_UNROLL
  for (int i = 0; i < Lines / step; ++i) f(thread / per_line + i * step, first);
}

/// All steps: load(step, stage) starts the copies of a step, multiply(stage) uses them. All threads must call.
template <class Load, class Multiply>
GRAFT_DEVICE void for_each_step(int steps, Load load, Multiply multiply) {
  GRAFT_UNROLL
  for (int i = 0; i < kStages - 1; ++i) {
    if (i < steps) load(i, i);
    arch::cp_async_commit();
  }
  int stage = 0, next = kStages - 1;
  for (int i = 0; i < steps; ++i) {
    arch::cp_async_wait<kStages - 2>();
    __syncthreads();  // this step's copies by all threads are there, and all are done with the stage that comes next
    if (i + kStages - 1 < steps) load(i + kStages - 1, next);
    arch::cp_async_commit();
    multiply(stage);
    stage = stage + 1 == kStages ? 0 : stage + 1;
    next = next + 1 == kStages ? 0 : next + 1;
  }
}

// --- the grid -------------------------------------------------------------------------------------------------------

/// Blocks in one dimension, as it is the only one without a limit of 65535: columns of tiles first (they share the
/// gathered operand), then rows, groups and splits.
struct TileGrid {
  unsigned col_tiles, row_tiles, groups;

  struct Block {
    int col_tile;
    std::int64_t row_tile;
    int group, split;
  };
  GRAFT_DEVICE Block block() const {
    unsigned i = blockIdx.x;
    Block at{};
    at.col_tile = static_cast<int>(i % col_tiles);
    i /= col_tiles;
    at.row_tile = i % row_tiles;
    i /= row_tiles;
    at.group = static_cast<int>(i % groups);
    at.split = static_cast<int>(i / groups);
    return at;
  }
};

/// The grid for results of rows x cols a group.
template <class Tile>
TileGrid tile_grid(std::int64_t rows, std::int64_t cols, int groups) {
  return {blocks_for(cols, Tile::kCols), blocks_for(rows, Tile::kRows), static_cast<unsigned>(groups)};
}

inline dim3 grid_blocks(const TileGrid& grid, int splits = 1) {
  const double blocks = static_cast<double>(grid.col_tiles) * grid.row_tiles * grid.groups * splits;
  check(blocks <= std::numeric_limits<std::int32_t>::max(), "a convolution needs ", blocks,
        " blocks, the device allows 2147483647");
  return dim3(grid.col_tiles * grid.row_tiles * grid.groups * static_cast<unsigned>(splits));
}

/// Calls f with the tile for results of rows x cols a group, whose operands allow 16-byte copies or do not. By shape
/// only, so that the order of sums never depends on the device: large tiles where they make blocks enough for a large
/// device, small ones for small pictures and few filters.
template <class T, class F>
void with_tile(std::int64_t rows, std::int64_t cols, int groups, bool vectors, F&& f) {
  if constexpr (!std::is_same_v<T, double>) {
    constexpr int v = kVectorLength<T>;
    constexpr std::int64_t enough_blocks = 128;
    if (vectors && cols > 32 &&
        ceil_div<std::int64_t>(rows, 128) * ceil_div<std::int64_t>(cols, 64) * groups >= enough_blocks)
      return f(ConvTile<T, 128, 64, v>{});
    if (vectors) return f(ConvTile<T, 64, 32, v>{});
  }
  f(ConvTile<T, 64, 32, 1>{});
}

/// True where channels fill 16-byte vectors and all pointers are aligned to them.
template <class T>
bool vectors_fit(std::initializer_list<std::int64_t> channels, std::initializer_list<const void*> pointers) {
  return std::all_of(channels.begin(), channels.end(), [](std::int64_t c) { return c % kVectorLength<T> == 0; }) &&
         std::all_of(pointers.begin(), pointers.end(), [](const void* p) { return is_aligned(p, 16); });
}

}  // namespace graft::kernels::cuda
