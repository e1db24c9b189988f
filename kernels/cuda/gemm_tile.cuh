// The inside of every matrix product: a block's tile of the result, the shared tiles it is computed from, the loop over
// K. A kernel (matmul, or convolution as an implicit product) says where its operands' elements lie; the rest is here.
//
//   GRAFT_DYNAMIC_SHARED(T, shared);                     // gemm_shared_bytes<Tile, Stages> bytes
//   Tile tile;                                           // SimtTile<...> (f32, f64) or MmaTile<...> (bf16, f16)
//   MatrixLoader<...> a_loader(...), b_loader(...);      // matrix_loader.cuh: of plain matrices
//   gemm_main_loop<Stages>(tile, shared, steps, [&](int step, T* a, T* b) {
//     a_loader.load(a, left);                            // start the copies of k from step * Tile::kBk on: zeros
//     b_loader.load(b, left);                            //   beyond the operands' edges
//   });
//   tile.store(TileOutput<Out, T>{...});                 // bias, relu, conversion, stores
//
// Blocks are one-dimensional, of Tile::kThreads. A tile has
//   kBm, kBn, kBk     the rows and columns of its result and the depth of one step
//   kThreads
//   ALayout, BLayout  how the shared tiles lie: kRows runs of kLength elements, element (run, position) at
//                     offset(run, position). The a tile is (k, m) or (m, k), the b tile (k, n) or (n, k), the last
//                     contiguous: SimtTile wants (k, m) and (k, n); MmaTile takes either, told by its template
//                     arguments.
//   multiply(a, b)    result += a b over one step
//   store(output)     writes the result
// No barrier is needed around any of these: gemm_main_loop has the only one.
#pragma once

#include <bit>

#include <graft/kernels/cuda/arch/sm80.h>
#include <graft/kernels/cuda/common.cuh>

namespace graft::kernels::cuda {

// --- shared tiles ---------------------------------------------------------------------------------------------------

// Which of the 32 banks (of 4 bytes) an access meets. Eight threads at a time move 16 bytes each, without a conflict
// where their 16-byte pieces differ modulo 8. They are
//   ldmatrix             a column of pieces: one piece of each of eight runs that follow one another
//   16-byte cp.async     the pieces of a run, and of the runs after it where a run has less than eight
//   SimtTile's reads     four or eight neighbouring pieces of one run (the same one for several threads is one read)
// and matrix_loader.cuh's 4-byte ones a piece of each of eight runs, by four threads each.

/// A shared tile whose runs are 16 bytes longer than their elements: run r begins r pieces further round the banks, so
/// that every column of eight pieces differs modulo 8. Pieces of two runs do not where the runs are short: of the eight
/// that cp.async writes into runs of four, the first and the last share their banks.
template <class T, int Rows, int Length>
struct TileLayout {
  using Element = T;
  static constexpr int kRows = Rows, kLength = Length, kPitch = Length + kVectorLength<T>, kSize = Rows * kPitch;
  static_assert(Length % kVectorLength<T> == 0);
  static constexpr GRAFT_DEVICE int offset(int run, int position) { return run * kPitch + position; }
  /// offset(run + runs, position + positions) for constants; see SwizzledLayout's.
  static constexpr GRAFT_DEVICE int moved(int from, int runs, int positions) {
    return from + runs * kPitch + positions;
  }
};

/// A shared tile without padding, for runs of less than eight pieces. The runs of one line of 128 bytes keep their
/// places; the pieces of each are exchanged by XOR with the number of the line, so that a column of eight runs has
/// every piece modulo 8 once, and so has a line. Longer runs gain nothing by it: padding serves them as well, and
/// leaves all addresses of a thread constants apart where XOR needs a register for each column.
template <class T, int Rows, int Length>
struct SwizzledLayout {
  using Element = T;
  static constexpr int kRows = Rows, kLength = Length, kPitch = Length, kSize = Rows * kPitch;
  static constexpr int kPiece = kVectorLength<T>, kPieces = Length / kPiece, kRunsALine = 8 / kPieces;
  static_assert(Length % kPiece == 0 && 8 % kPieces == 0 && Rows % 8 == 0);
  static constexpr GRAFT_DEVICE int offset(int run, int position) {
    return run * kPitch + ((position / kPiece) ^ (run / kRunsALine % kPieces)) * kPiece + position % kPiece;
  }
  /// offset(run + runs, position + positions), where `runs` is a multiple of 8 and `positions` of a piece, and position
  /// has no bit in common with positions.
  static constexpr GRAFT_DEVICE int moved(int from, int runs, int positions) {
    return (from ^ positions) + runs * kPitch;
  }
};

/// How many elements are left of `count` from `first` on, as an int that is exact up to `most`.
GRAFT_DEVICE int left_from(std::int64_t count, std::int64_t first, int most) {
  const std::int64_t left = count - first;
  return static_cast<int>(left < most ? left : most);
}

// --- results --------------------------------------------------------------------------------------------------------

/// Where a tile's result goes: activation(result + bias), converted to Out (T, or the compute type for parts of a sum).
template <class Out, class T = Out>
struct TileOutput {
  Out* data;                // element (0, 0) of the tile
  std::int64_t stride;      // elements between rows
  int rows, columns;        // of the tile that exist; may be more than it has
  bool vectors = false;     // every row begins at a multiple of 16 bytes
  const T* bias = nullptr;  // that of the tile's first column
  bool relu = false;

  template <class C>
  GRAFT_DEVICE C finish(C value, C bias_value) const {
    value += bias_value;
    return relu && value < C(0) ? C(0) : value;  // NaN stays
  }
  template <class C>
  GRAFT_DEVICE C bias_at(int column) const {
    return bias != nullptr && column < columns ? static_cast<C>(widen(bias[column])) : C(0);
  }
};

// --- f32 and f64: every thread keeps a patch of the result in registers ----------------------------------------------

/// A (Bm, Bn) tile of which each thread holds a (Tm, Tn) patch: groups of V rows and columns, V elements of 16 bytes,
/// spread over the tile so that the threads of a warp read neighbouring vectors. a is (k, m), b is (k, n).
template <class T, int Bm, int Bn, int Bk, int Tm, int Tn>
struct SimtTile {
  using Element = T;
  static constexpr int kBm = Bm, kBn = Bn, kBk = Bk, kThreads = Bm / Tm * (Bn / Tn);
  using ALayout = TileLayout<T, Bk, Bm>;
  using BLayout = TileLayout<T, Bk, Bn>;
  static constexpr int V = kVectorLength<T>, kRowGroups = Tm / V, kColumnGroups = Tn / V;
  static constexpr int kLanesN = 8, kWarpsN = Bn / Tn / kLanesN;  // a warp is 4 threads along m, 8 along n
  static_assert(Bn / Tn % kLanesN == 0 && kThreads % kWarp == 0 && Tm % V == 0 && Tn % V == 0);

  T result[Tm][Tn] = {};

  /// The first row of this thread's group g, and the first column.
  static GRAFT_DEVICE int row_of(int g) {
    const int thread = static_cast<int>(threadIdx.x);
    return g * (Bm / kRowGroups) + (thread / kWarp / kWarpsN * 4 + thread % kWarp / kLanesN) * V;
  }
  static GRAFT_DEVICE int column_of(int g) {
    const int thread = static_cast<int>(threadIdx.x);
    return g * (Bn / kColumnGroups) + (thread / kWarp % kWarpsN * kLanesN + thread % kLanesN) * V;
  }

  GRAFT_DEVICE void multiply(const T* a, const T* b) {
    a += row_of(0);
    b += column_of(0);
    GRAFT_UNROLL
    for (int k = 0; k < Bk; ++k) {
      Vector<T, V> row[kRowGroups], column[kColumnGroups];
      GRAFT_UNROLL
      for (int g = 0; g < kRowGroups; ++g)
        row[g] = *reinterpret_cast<const Vector<T, V>*>(a + k * ALayout::kPitch + g * (Bm / kRowGroups));
      GRAFT_UNROLL
      for (int g = 0; g < kColumnGroups; ++g)
        column[g] = *reinterpret_cast<const Vector<T, V>*>(b + k * BLayout::kPitch + g * (Bn / kColumnGroups));
      GRAFT_UNROLL
      for (int i = 0; i < Tm; ++i) GRAFT_UNROLL
      for (int j = 0; j < Tn; ++j) result[i][j] = fma(row[i / V].at[i % V], column[j / V].at[j % V], result[i][j]);
    }
  }

  GRAFT_DEVICE void store(const TileOutput<T>& to) const {
    GRAFT_UNROLL
    for (int h = 0; h < kColumnGroups; ++h) {
      const int column = column_of(h);
      T bias[V];
      GRAFT_UNROLL
      for (int j = 0; j < V; ++j) bias[j] = to.template bias_at<T>(column + j);
      GRAFT_UNROLL
      for (int i = 0; i < Tm; ++i) {
        const int row = row_of(i / V) + i % V;
        if (row >= to.rows) continue;
        T* const into = to.data + row * to.stride + column;
        Vector<T, V> values;
        GRAFT_UNROLL
        for (int j = 0; j < V; ++j) values.at[j] = to.finish(result[i][h * V + j], bias[j]);
        if (to.vectors && column + V <= to.columns) {
          store_vector(into, values);
        } else {
          GRAFT_UNROLL
          for (int j = 0; j < V; ++j)
            if (column + j < to.columns) into[j] = values.at[j];
        }
      }
    }
  }
};

// --- bf16 and f16: tensor cores -------------------------------------------------------------------------------------

/// A (Bm, Bn) tile of which each warp computes (Wm, Wn) with mma.m16n8k16, accumulating in float.
/// AK: the a tile is (m, k), else (k, m). BK: the b tile is (n, k), else (k, n). KLayout: how tiles of runs along k
/// lie.
template <class T, int Bm, int Bn, int Bk, int Wm, int Wn, bool AK, bool BK,
          template <class, int, int> class KLayout = TileLayout>
struct MmaTile {
  using Element = T;
  static constexpr int kBm = Bm, kBn = Bn, kBk = Bk, kWarpsN = Bn / Wn, kThreads = Bm / Wm * kWarpsN * kWarp;
  using ALayout = std::conditional_t<AK, KLayout<T, Bm, Bk>, TileLayout<T, Bk, Bm>>;
  using BLayout = std::conditional_t<BK, KLayout<T, Bn, Bk>, TileLayout<T, Bk, Bn>>;
  static constexpr int kM = Wm / 16, kN = Wn / 8;  // fragments of the warp's result
  static_assert(Wm % 16 == 0 && Wn % 32 == 0 && Bk % 16 == 0);

  float result[kM][kN][4] = {};  // of a 16x8 fragment: rows lane / 4 and + 8 (c / 2), columns lane % 4 * 2 + c % 2

  static GRAFT_DEVICE int warp_row() { return static_cast<int>(threadIdx.x) / kWarp / kWarpsN * Wm; }
  static GRAFT_DEVICE int warp_column() { return static_cast<int>(threadIdx.x) / kWarp % kWarpsN * Wn; }

  GRAFT_DEVICE void multiply(const T* a, const T* b) {
    // The row of an 8x8 matrix that this lane points ldmatrix at: half8 and half16 choose among the four matrices.
    const int lane = static_cast<int>(threadIdx.x) % kWarp, row8 = lane % 8, half8 = lane / 8 % 2, half16 = lane / 16;
    // a's matrices: (m, k), (m + 8, k), (m, k + 8), (m + 8, k + 8)
    const int m = warp_row() + half8 * 8, ka = half16 * 8;
    const int of_a = AK ? ALayout::offset(m + row8, ka) : ALayout::offset(ka + row8, m);
    // b's matrices: (k, n), (k + 8, n), (k, n + 8), (k + 8, n + 8): two fragments at once
    const int n = warp_column() + half16 * 8, kb = half8 * 8;
    const int of_b = BK ? BLayout::offset(n + row8, kb) : BLayout::offset(kb + row8, n);
    GRAFT_UNROLL
    for (int k = 0; k < Bk; k += 16) {
      std::uint32_t fragment_a[kM][4], fragment_b[kN / 2][4];
      GRAFT_UNROLL
      for (int i = 0; i < kM; ++i)
        if constexpr (AK)
          arch::ldmatrix_x4(fragment_a[i], a + ALayout::moved(of_a, i * 16, k));
        else
          arch::ldmatrix_x4_trans(fragment_a[i], a + ALayout::moved(of_a, k, i * 16));
      GRAFT_UNROLL
      for (int j = 0; j < kN / 2; ++j)
        if constexpr (BK)
          arch::ldmatrix_x4(fragment_b[j], b + BLayout::moved(of_b, j * 16, k));
        else
          arch::ldmatrix_x4_trans(fragment_b[j], b + BLayout::moved(of_b, k, j * 16));
      GRAFT_UNROLL
      for (int i = 0; i < kM; ++i) GRAFT_UNROLL
      for (int j = 0; j < kN; ++j)
        arch::mma_m16n8k16<T>(result[i][j], fragment_a[i], fragment_b[j / 2][j % 2 * 2],
                              fragment_b[j / 2][j % 2 * 2 + 1]);
    }
  }

  /// Parts of a sum: float, two neighbours at once where rows are aligned.
  GRAFT_DEVICE void store(const TileOutput<float, T>& to) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    GRAFT_UNROLL
    for (int j = 0; j < kN; ++j) {
      const int column = warp_column() + j * 8 + lane % 4 * 2;
      const float bias[2] = {to.template bias_at<float>(column), to.template bias_at<float>(column + 1)};
      GRAFT_UNROLL
      for (int i = 0; i < kM * 2; ++i) {
        const int row = warp_row() + i * 8 + lane / 4;
        if (row >= to.rows) continue;
        float* const into = to.data + row * to.stride + column;
        const float* const r = &result[i / 2][j][i % 2 * 2];
        const Vector<float, 2> values = {{to.finish(r[0], bias[0]), to.finish(r[1], bias[1])}};
        if (to.vectors && column + 2 <= to.columns) {
          store_vector(into, values);
        } else {
          if (column < to.columns) into[0] = values.at[0];
          if (column + 1 < to.columns) into[1] = values.at[1];
        }
      }
    }
  }

  /// The result itself. The four lanes that hold a row exchange their pairs of four fragments, so that each has the
  /// eight elements (16 bytes) of one fragment's row.
  GRAFT_DEVICE void store(const TileOutput<T>& to) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp, quad = lane % 4;
    GRAFT_UNROLL
    for (int j = 0; j < kN; j += 4) {
      float bias[4][2];
      GRAFT_UNROLL
      for (int f = 0; f < 4; ++f) {
        const int column = warp_column() + (j + f) * 8 + quad * 2;
        bias[f][0] = to.template bias_at<float>(column);
        bias[f][1] = to.template bias_at<float>(column + 1);
      }
      const int column = warp_column() + (j + quad) * 8;  // after the exchange
      GRAFT_UNROLL
      for (int i = 0; i < kM * 2; ++i) {
        const int row = warp_row() + i * 8 + lane / 4;
        std::uint32_t pairs[4];
        GRAFT_UNROLL
        for (int f = 0; f < 4; ++f) {
          const float* const r = &result[i / 2][j + f][i % 2 * 2];
          pairs[f] = pack(to.finish(r[0], bias[f][0]), to.finish(r[1], bias[f][1]));
        }
        transpose_quad(pairs, quad);
        if (row >= to.rows) continue;
        T* const into = to.data + row * to.stride + column;
        if (to.vectors && column + 8 <= to.columns) {
          arch::store16(into, Vector<std::uint32_t, 4>{{pairs[0], pairs[1], pairs[2], pairs[3]}});
        } else {
          GRAFT_UNROLL
          for (int c = 0; c < 8; ++c)
            if (column + c < to.columns) into[c] = unpack(pairs[c / 2] >> (c % 2 * 16));
        }
      }
    }
  }

 private:
  static GRAFT_DEVICE std::uint32_t pack(float low, float high) {
    return std::bit_cast<std::uint16_t>(narrow<T>(low)) |
           static_cast<std::uint32_t>(std::bit_cast<std::uint16_t>(narrow<T>(high))) << 16;
  }
  static GRAFT_DEVICE T unpack(std::uint32_t low_half) {
    return std::bit_cast<T>(static_cast<std::uint16_t>(low_half));
  }
  /// v[f] of lane q becomes v[q] of lane f, within each four lanes: exchange with the neighbour, then two lanes away.
  static GRAFT_DEVICE void transpose_quad(std::uint32_t (&v)[4], int quad) {
    const bool odd = quad % 2 != 0, upper = quad / 2 != 0;
    GRAFT_UNROLL
    for (int f = 0; f < 4; f += 2) {
      const std::uint32_t got = __shfl_xor_sync(kAllLanes, odd ? v[f] : v[f + 1], 1);
      if (odd)
        v[f] = got;
      else
        v[f + 1] = got;
    }
    GRAFT_UNROLL
    for (int f = 0; f < 2; ++f) {
      const std::uint32_t got = __shfl_xor_sync(kAllLanes, upper ? v[f] : v[f + 2], 2);
      if (upper)
        v[f] = got;
      else
        v[f + 2] = got;
    }
  }
};

// --- the loop over K ------------------------------------------------------------------------------------------------

/// Dynamic shared memory of gemm_main_loop.
template <class Tile, int Stages>
inline constexpr std::size_t gemm_shared_bytes = sizeof(typename Tile::Element) * Stages*(Tile::ALayout::kSize +
                                                                                          Tile::BLayout::kSize);

/// tile += a b over `steps` steps of kBk. load(step, a, b) starts the copies into the shared tiles a and b, for each
/// step in turn, Stages - 1 steps ahead, so that copies and arithmetic overlap. One barrier a step: it publishes this
/// step's tiles and says that nobody reads those of the step before, which the next copies overwrite.
template <int Stages, class Tile, class Load, class T = typename Tile::Element>
GRAFT_DEVICE void gemm_main_loop(Tile& tile, T* shared, int steps, const Load& load) {
  constexpr int a_size = Tile::ALayout::kSize, stage_size = a_size + Tile::BLayout::kSize;
  GRAFT_UNROLL
  for (int s = 0; s < Stages - 1; ++s) {
    if (s < steps) load(s, shared + s * stage_size, shared + s * stage_size + a_size);
    arch::cp_async_commit();
  }
  int stage = 0, next = Stages - 1;
  for (int step = 0; step < steps; ++step) {
    arch::cp_async_wait<Stages - 2>();
    __syncthreads();
    if (step + Stages - 1 < steps) {
      T* const into = shared + next * stage_size;
      load(step + Stages - 1, into, into + a_size);
    }
    arch::cp_async_commit();
    const T* const from = shared + stage * stage_size;
    tile.multiply(from, from + a_size);
    stage = stage + 1 == Stages ? 0 : stage + 1;
    next = next + 1 == Stages ? 0 : next + 1;
  }
}

}  // namespace graft::kernels::cuda
