// y = activation(a @ b + bias), batched: one block a tile of y, in the order of gemm_tile.cuh's loop over K. Where y
// has too few tiles to fill a device and K is long, K is cut into parts (by the shape alone, so that the bits do not
// depend on the device): each part's product goes to a workspace, and the last block of a tile (ticket.cuh) adds its
// parts in their order; where that is much for one block, a second launch does.
#pragma once

#include <array>

#include <graft/kernels/cuda/matrix_loader.cuh>
#include <graft/kernels/cuda/ticket.cuh>

namespace graft::kernels::cuda {

void matmul_f32(const MatmulArgs& args, Stream& stream);
void matmul_f64(const MatmulArgs& args, Stream& stream);
void matmul_bf16(const MatmulArgs& args, Stream& stream);
void matmul_f16(const MatmulArgs& args, Stream& stream);

namespace matmul {

/// The last two dimensions of a or b: runs of contiguous elements, `stride` apart.
template <class T>
struct Matrix {
  const T* data;
  std::int64_t stride;
  bool columns;  // the runs are rows: the column index is the contiguous one
  int width;     // copy_width of every run of every batch
};

/// The batch dimensions, neighbours merged where both operands allow it.
struct Batches {
  int rank = 0;
  std::array<std::int64_t, kMaxRank> sizes{}, a{}, b{};  // sizes and strides
};

template <class T>
struct Problem {
  Matrix<T> a, b;                // (M, K), (K, N)
  const T* bias;                 // (N) or nullptr
  T* y;                          // (batches, M, N)
  Compute<T>* parts;             // (splits, batches, M, N); nullptr: the result goes to y at once
  std::int64_t m, n, k, k_part;  // each part of K but the last has k_part
  int tiles_m, tiles_n, splits;
  bool relu, vectors;  // vectors: rows of y (or of parts) begin at multiples of 16 bytes
  Batches batches;
  T* a_sums;                // (M) or nullptr
  std::uint32_t* counters;  // of each tile, with parts; nullptr: the parts stay
  bool sum_vectors;         // four neighbours of y can be written at once
};

/// The tile of a block: tiles of eight rows follow one another column by column, so that blocks which run together
/// read the same rows of a and columns of b.
struct TilePosition {
  int row, column, split, batch;  // row and column in tiles
};

template <class T>
GRAFT_DEVICE TilePosition tile_position(const Problem<T>& p) {
  constexpr int height = 8;
  const int tiles = p.tiles_m * p.tiles_n, block = static_cast<int>(blockIdx.x);
  const int tile = block % tiles, rest = block / tiles;
  const int first = tile / (height * p.tiles_n) * height, within = tile % (height * p.tiles_n);
  const int rows = min(p.tiles_m - first, height);
  return {first + within % rows, within / rows, rest % p.splits, rest / p.splits};
}

constexpr int kMost = 1 << 20;  // more than any tile is long

/// Loads a block's part of an operand: `outer` (m or n) from `at` on up to its end, k from `k` on.
template <class Layout, int Threads, bool KInside, class T>
GRAFT_DEVICE MatrixLoader<Layout, Threads, KInside> loader_of(const Matrix<T>& matrix, const T* data, bool k_inside,
                                                              std::int64_t at, std::int64_t end, std::int64_t k) {
  data += k_inside ? at * matrix.stride + k : k * matrix.stride + at;
  return {data, matrix.stride, k_inside, matrix.width, left_from(end, at, kMost)};
}

constexpr int kSumThreads = 256, kSumElements = 4;

/// y = activation(parts[0] + parts[1] + ... + bias) of Runs runs of neighbouring elements: here[r] of them, at most four,
/// from first[r] on. Eight vectors of parts are read before the first of them is added: the waits are what this costs.
template <int Runs, class T>
GRAFT_DEVICE void sum_runs(const Compute<T>* parts, const T* bias, T* y, const std::int64_t (&first)[Runs],
                           const int (&here)[Runs], std::int64_t count, int n, int splits, bool relu, bool vectors) {
  using C = Compute<T>;
  constexpr int v = kSumElements, ahead = 8 / Runs;
  Vector<C, v> sum[Runs] = {};
  for (int s = 0; s < splits; s += ahead) {
    Vector<C, v> part[ahead][Runs] = {};
    GRAFT_UNROLL
    for (int k = 0; k < ahead; ++k) GRAFT_UNROLL
    for (int r = 0; r < Runs; ++r) {
      if (s + k >= splits || here[r] <= 0) continue;
      const C* const from = parts + (s + k) * count + first[r];
      if (vectors) {
        part[k][r] = *reinterpret_cast<const Vector<C, v>*>(from);
      } else {
        GRAFT_UNROLL
        for (int i = 0; i < v; ++i)
          if (i < here[r]) part[k][r].at[i] = from[i];
      }
    }
    GRAFT_UNROLL
    for (int k = 0; k < ahead; ++k) GRAFT_UNROLL
    for (int r = 0; r < Runs; ++r) GRAFT_UNROLL
    for (int i = 0; i < v; ++i)
      if (s + k < splits) sum[r].at[i] += part[k][r].at[i];
  }
  GRAFT_UNROLL
  for (int r = 0; r < Runs; ++r) {
    if (here[r] <= 0) continue;
    const int column = static_cast<int>(first[r] % n);
    Vector<T, v> result;
    GRAFT_UNROLL
    for (int i = 0; i < v; ++i) {
      C value = sum[r].at[i];
      if (bias != nullptr && i < here[r]) value += widen(bias[(column + i) % n]);
      result.at[i] = narrow<T>(relu && value < C(0) ? C(0) : value);
    }
    if (vectors) {
      store_vector(y + first[r], result);
    } else {
      GRAFT_UNROLL
      for (int i = 0; i < v; ++i)
        if (i < here[r]) y[first[r] + i] = result.at[i];
    }
  }
}

/// The same of all of y, four elements a thread.
template <class T>
GRAFT_KERNEL(kSumThreads)
matmul_sum_parts(const Compute<T>* parts, const T* bias, T* y, int count, int n, int splits, bool relu, bool vectors) {
  const std::int64_t first[] = {(static_cast<std::int64_t>(blockIdx.x) * kSumThreads + threadIdx.x) * kSumElements};
  const int here[] = {left_from(count, first[0], kSumElements)};
  sum_runs(parts, bias, y, first, here, count, n, splits, relu, vectors);
}

/// The same of a tile of y, by a block of Threads.
template <int Threads, class T>
GRAFT_DEVICE void sum_tile(const Problem<T>& p, std::int64_t batches, std::int64_t first_row, std::int64_t column,
                           int rows, int columns) {
  constexpr int kRuns = 4;
  const int across = ceil_div(columns, kSumElements), runs = rows * across;
  GRAFT_NO_UNROLL
  for (int i = static_cast<int>(threadIdx.x); i < runs; i += kRuns * Threads) {
    std::int64_t first[kRuns];
    int here[kRuns];
    GRAFT_UNROLL
    for (int r = 0; r < kRuns; ++r) {
      const int run = i + r * Threads, c = run % across * kSumElements;
      first[r] = (first_row + run / across) * p.n + column + c;
      here[r] = run < runs ? min(columns - c, kSumElements) : 0;
    }
    sum_runs(p.parts, p.bias, p.y, first, here, batches * p.m * p.n, static_cast<int>(p.n), p.splits, p.relu,
             p.sum_vectors);
  }
}

/// Sums of a's rows [row, row + rows), over all of K: the blocks that have these rows of a, whatever columns of y and
/// part of K are theirs, share them; a warp takes a row.
template <int Threads, class T>
GRAFT_DEVICE void sum_rows_of_a(const Problem<T>& p, const TilePosition& at, std::int64_t row, int rows) {
  using C = Compute<T>;
  constexpr int warps = Threads / kWarp, run = 64;  // a sum begins anew after so many terms: it loses fewer digits
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  GRAFT_NO_UNROLL
  for (int r = (at.column * p.splits + at.split) * warps + warp; r < rows; r += p.tiles_n * p.splits * warps) {
    const T* const a = p.a.data + (p.a.columns ? (row + r) * p.a.stride : row + r);
    const std::int64_t step = p.a.columns ? 1 : p.a.stride;
    C total = 0;
    for (std::int64_t k = lane; k < p.k;) {
      C sum = 0;
      for (int i = 0; i < run && k < p.k; ++i, k += kWarp) sum += widen(a[k * step]);
      total += sum;
    }
    total = warp_reduce(total, Add{});
    if (lane == 0) p.a_sums[row + r] = narrow<T>(total);
  }
}

/// AK, BK: for the 16-bit types, whether K is contiguous in a and in b. 512 threads a multiprocessor at least: 128
/// registers each, which is what the large tiles need.
template <class Tile, int Stages, bool AK, bool BK, class T>
GRAFT_KERNEL_RESIDENT(Tile::kThreads, 512 / Tile::kThreads)
matmul_tiles(const Problem<T> p) {
  GRAFT_DYNAMIC_SHARED(T, shared);
  const TilePosition at = tile_position(p);
  const T *a = p.a.data, *b = p.b.data;
  int batch = at.batch;
  for (int d = p.batches.rank - 1; d >= 0; --d) {
    const auto size = static_cast<int>(p.batches.sizes[d]);
    const int index = batch % size;
    batch /= size;
    a += index * p.batches.a[d];
    b += index * p.batches.b[d];
  }
  const std::int64_t row = static_cast<std::int64_t>(at.row) * Tile::kBm;
  const std::int64_t column = static_cast<std::int64_t>(at.column) * Tile::kBn, k_first = at.split * p.k_part;
  const std::int64_t k_end = p.k - k_first < p.k_part ? p.k : k_first + p.k_part;
  const std::int64_t length = k_end - k_first;
  auto load_a = loader_of<typename Tile::ALayout, Tile::kThreads, AK>(p.a, a, p.a.columns, row, p.m, k_first);
  auto load_b = loader_of<typename Tile::BLayout, Tile::kThreads, BK>(p.b, b, !p.b.columns, column, p.n, k_first);
  Tile tile;
  gemm_main_loop<Stages>(tile, shared, static_cast<int>(ceil_div<std::int64_t>(length, Tile::kBk)),
                         [&](int step, T* to_a, T* to_b) {
                           const int left = left_from(length, static_cast<std::int64_t>(step) * Tile::kBk, kMost);
                           load_a.load(to_a, left);
                           load_b.load(to_b, left);
                         });
  const int rows = left_from(p.m, row, Tile::kBm), columns = left_from(p.n, column, Tile::kBn);
  const std::int64_t batches = gridDim.x / static_cast<unsigned>(p.tiles_m * p.tiles_n * p.splits);
  if (p.parts != nullptr) {
    Compute<T>* const part = p.parts + (at.split * batches + at.batch) * p.m * p.n;
    tile.store(TileOutput<Compute<T>, T>{part + row * p.n + column, p.n, rows, columns, p.vectors});
  } else {
    tile.store(TileOutput<T>{p.y + (at.batch * p.m + row) * p.n + column, p.n, rows, columns, p.vectors,
                             p.bias == nullptr ? nullptr : p.bias + column, p.relu});
  }
  if (p.a_sums != nullptr) sum_rows_of_a<Tile::kThreads>(p, at, row, rows);
  if (p.counters == nullptr) return;
  const int tiles = p.tiles_m * p.tiles_n;
  if (is_last_block(p.counters + at.batch * tiles + static_cast<int>(blockIdx.x) % tiles,
                    static_cast<unsigned>(p.splits)))
    sum_tile<Tile::kThreads>(p, batches, at.batch * p.m + row, column, rows, columns);
}

// --- the host's side ------------------------------------------------------------------------------------------------

/// The matrix in the last two dimensions of t. Of a dimension of size 1 the stride means nothing.
template <class T>
Matrix<T> matrix_of(const TensorRef& t) {
  const int rank = t.shape.rank();
  const std::int64_t rows = t.shape[rank - 2], columns = t.shape[rank - 1];
  const std::int64_t row_stride = t.strides[rank - 2], column_stride = t.strides[rank - 1];
  Matrix<T> matrix{t.as<const T>(), 0, columns == 1 ? row_stride != 1 : column_stride == 1, 0};
  if ((matrix.columns ? rows : columns) > 1) matrix.stride = matrix.columns ? row_stride : column_stride;
  const auto fits = [&](int width) {  // of the batches
    for (int d = 0; d < rank - 2; ++d)
      if (t.shape[d] > 1 && t.strides[d] * static_cast<std::int64_t>(sizeof(T)) % width != 0) return false;
    return true;
  };
  matrix.width = copy_width(matrix.data, {matrix.stride});
  if (matrix.width == 16 && !fits(16)) matrix.width = sizeof(T) <= 4 ? 4 : static_cast<int>(sizeof(T));
  if (matrix.width == 4 && !fits(4)) matrix.width = static_cast<int>(sizeof(T));
  return matrix;
}

inline Batches batches_of(const TensorRef& a, const TensorRef& b) {
  Batches batches;
  for (int d = 0; d < a.shape.rank() - 2; ++d) {
    if (a.shape[d] == 1) continue;
    const auto last = static_cast<std::size_t>(batches.rank - 1), next = static_cast<std::size_t>(batches.rank);
    const std::int64_t size = a.shape[d], sa = a.strides[d], sb = b.strides[d];
    if (batches.rank > 0 && batches.a[last] == sa * size && batches.b[last] == sb * size) {
      batches.sizes[last] *= size;
      batches.a[last] = sa;
      batches.b[last] = sb;
      continue;
    }
    batches.sizes[next] = size;
    batches.a[next] = sa;
    batches.b[next] = sb;
    ++batches.rank;
  }
  return batches;
}

/// How many parts K is cut into: enough blocks for a large device, eight steps a part at least, and no more parts than
/// one thread sums quickly.
inline int split_count(std::int64_t blocks, std::int64_t outputs, std::int64_t k, int step) {
  if (blocks >= 128 || outputs > std::int64_t{1} << 24) return 1;
  return static_cast<int>(std::max<std::int64_t>(std::min({256 / blocks, k / (8 * step), std::int64_t{64}}), 1));
}

inline std::int64_t tiles_of(const MatmulArgs& args, int tile) {
  const int rank = args.y.shape.rank();
  const std::int64_t m = args.y.shape[rank - 2], n = args.y.shape[rank - 1];
  return ceil_div<std::int64_t>(m, tile) * ceil_div<std::int64_t>(n, tile) * (args.y.numel() / (m * n));
}

/// Whether a side of `tile` leaves work for a large device, and neither M nor N would leave half of it idle.
inline bool fills(const MatmulArgs& args, int tile, std::int64_t blocks) {
  const int rank = args.y.shape.rank();
  return std::min(args.y.shape[rank - 2], args.y.shape[rank - 1]) > tile / 2 && tiles_of(args, tile) >= blocks;
}

/// Elements of a tile's parts that its last block adds; for more the other multiprocessors' help is worth a launch.
constexpr int kMostParts = 1 << 16;

template <class Tile, int Stages, bool AK, bool BK, class T>
void launch_tiles(const MatmulArgs& args, Problem<T> p, const Stream& stream) {
  const std::int64_t batches = args.y.numel() / (p.m * p.n);
  const std::int64_t tiles_m = ceil_div<std::int64_t>(p.m, Tile::kBm), tiles_n = ceil_div<std::int64_t>(p.n, Tile::kBn);
  const std::int64_t blocks = tiles_m * tiles_n * batches;
  const unsigned unsplit = blocks_for(blocks, 1);  // throws where there are too many tiles
  p.tiles_m = static_cast<int>(tiles_m);
  p.tiles_n = static_cast<int>(tiles_n);
  p.splits = split_count(blocks, args.y.numel(), p.k, Tile::kBk);
  p.k_part = ceil_div<std::int64_t>(ceil_div<std::int64_t>(p.k, p.splits), Tile::kBk) * Tile::kBk;
  if (p.k > 0) p.splits = static_cast<int>(ceil_div(p.k, p.k_part));  // none is empty
  const LaunchConfig config{.grid = dim3(unsplit * static_cast<unsigned>(p.splits)),
                            .block = dim3(Tile::kThreads),
                            .shared_bytes = gemm_shared_bytes<Tile, Stages>};
  if (p.splits == 1) {
    p.vectors = p.n % kVectorLength<T> == 0 && is_aligned(p.y, 16);
    launch("matmul_tiles", matmul_tiles<Tile, Stages, AK, BK, T>, config, stream, p);
    return;
  }
  using C = Compute<T>;
  const std::int64_t count = args.y.numel();
  const Workspace parts(static_cast<std::size_t>(count * p.splits) * sizeof(C), stream);
  p.parts = parts.as<C>();
  p.vectors = p.n % kVectorLength<C> == 0;
  const bool aligned = is_aligned(p.y, sizeof(Vector<T, kSumElements>));
  if (Tile::kBm * Tile::kBn * p.splits <= kMostParts) {
    p.counters = tickets(blocks, stream);
    p.sum_vectors = p.n % kSumElements == 0 && aligned;
    launch("matmul_tiles", matmul_tiles<Tile, Stages, AK, BK, T>, config, stream, p);
    return;
  }
  launch("matmul_tiles", matmul_tiles<Tile, Stages, AK, BK, T>, config, stream, p);
  const bool vectors = count % kSumElements == 0 && aligned;
  launch("matmul_sum_parts", matmul_sum_parts<T>,
         {.grid = dim3(blocks_for(count, kSumThreads * kSumElements)), .block = dim3(kSumThreads)}, stream, p.parts,
         p.bias, p.y, static_cast<int>(count), static_cast<int>(p.n), p.splits, p.relu, vectors);
}

template <class T>
Problem<T> problem_of(const MatmulArgs& args) {
  const int rank = args.y.shape.rank();
  Problem<T> p{};
  p.a = matrix_of<T>(args.a);
  p.b = matrix_of<T>(args.b);
  p.bias = args.bias.as<const T>();
  p.y = args.y.as<T>();
  p.m = args.y.shape[rank - 2];
  p.n = args.y.shape[rank - 1];
  p.k = args.a.shape[rank - 1];
  p.relu = args.activation == Activation::relu;
  p.batches = batches_of(args.a, args.b);
  p.a_sums = args.a_sums.as<T>();
  return p;
}

/// f32 and f64: the large tile where it fills a device, else smaller ones.
template <class T>
void launch_simt(const MatmulArgs& args, const Stream& stream) {
  const Problem<T> p = problem_of<T>(args);
  if constexpr (std::is_same_v<T, float>) {
    if (fills(args, 128, 96)) return launch_tiles<SimtTile<T, 128, 128, 16, 8, 8>, 3, true, true>(args, p, stream);
    if (fills(args, 64, 32)) return launch_tiles<SimtTile<T, 64, 64, 16, 8, 4>, 3, true, true>(args, p, stream);
    launch_tiles<SimtTile<T, 32, 32, 16, 4, 4>, 3, true, true>(args, p, stream);
  } else {
    if (fills(args, 64, 32)) return launch_tiles<SimtTile<T, 64, 64, 16, 4, 4>, 2, true, true>(args, p, stream);
    launch_tiles<SimtTile<T, 32, 32, 16, 4, 4>, 2, true, true>(args, p, stream);
  }
}

/// bf16 and f16.
template <class T, bool AK, bool BK>
void launch_mma(const MatmulArgs& args, const Problem<T>& p, const Stream& stream) {
  if (fills(args, 128, 96))
    launch_tiles<MmaTile<T, 128, 128, 32, 64, 32, AK, BK, SwizzledLayout>, 4, AK, BK>(args, p, stream);
  else
    launch_tiles<MmaTile<T, 64, 64, 32, 32, 32, AK, BK, SwizzledLayout>, 4, AK, BK>(args, p, stream);
}

template <class T>
void launch_mma(const MatmulArgs& args, const Stream& stream) {
  const Problem<T> p = problem_of<T>(args);
  const bool ak = p.a.columns, bk = !p.b.columns;
  if (ak)
    bk ? launch_mma<T, true, true>(args, p, stream) : launch_mma<T, true, false>(args, p, stream);
  else
    bk ? launch_mma<T, false, true>(args, p, stream) : launch_mma<T, false, false>(args, p, stream);
}

}  // namespace matmul
}  // namespace graft::kernels::cuda
