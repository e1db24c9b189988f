// y = activation(a @ b + bias), batched: one block a tile of y, in the order of gemm_tile.cuh's loop over K. Where y
// has too few tiles to fill a device and K is long, K is cut into parts (by the shape alone, so that the bits do not
// depend on the device): each part's product goes to a workspace, and the last block of a tile (ticket.cuh) adds its
// parts in their order; where that is much for one block, a second launch does.
#pragma once

#include <array>

#include <graft/kernels/cuda/gemm_tile.cuh>
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

/// Where a block's part of an operand begins, and how many of its runs exist on the side that is not K.
template <class T>
struct Operand {
  const T* first;
  std::int64_t stride;
  int width, outer;
  bool k_inside;
};

/// `outer` (m or n) from `at` on up to its end, k from `k` on.
template <class T>
GRAFT_DEVICE Operand<T> operand_of(const Matrix<T>& matrix, const T* data, bool k_inside, std::int64_t at,
                                   std::int64_t end, std::int64_t k) {
  data += k_inside ? at * matrix.stride + k : k * matrix.stride + at;
  return {data, matrix.stride, matrix.width, left_from(end, at, kMost), k_inside};
}

/// Starts the copies of an operand's tile, from the k-th element of its part on, of which `inner` are left.
template <class Layout, int Threads, bool KInside, class T>
GRAFT_DEVICE void load_operand(T* to, const Operand<T>& operand, std::int64_t k, int inner) {
  const std::int64_t stride = operand.stride;
  const int width = operand.width, outer = operand.outer;
  if constexpr (!is_half<T>) {
    // (k, outer) in shared memory, whichever is contiguous outside.
    if (operand.k_inside)
      load_transposed<Layout, Threads>(to, TransposedRuns<T>{{operand.first + k, stride, outer, inner}});
    else
      load_tile<Layout, Threads>(to, width, MatrixRuns<T>{operand.first + k * stride, stride, inner, outer});
  } else if constexpr (KInside) {
    load_tile<Layout, Threads>(to, width, MatrixRuns<T>{operand.first + k, stride, outer, inner});
  } else {
    load_tile<Layout, Threads>(to, width, MatrixRuns<T>{operand.first + k * stride, stride, inner, outer});
  }
}

constexpr int kSumThreads = 256, kSumElements = 4;

/// y = activation(parts[0] + parts[1] + ... + bias) of `here` neighbouring elements, four at most, from the first on.
template <class T>
GRAFT_DEVICE void sum_elements(const Compute<T>* parts, const T* bias, T* y, std::int64_t first, int here,
                               std::int64_t count, int n, int splits, bool relu, bool vectors) {
  using C = Compute<T>;
  constexpr int v = kSumElements;
  parts += first;
  Vector<C, v> sum{};
  for (int s = 0; s < splits; ++s, parts += count) {
    if (vectors) {
      const auto part = *reinterpret_cast<const Vector<C, v>*>(parts);
      GRAFT_UNROLL
      for (int i = 0; i < v; ++i) sum.at[i] += part.at[i];
    } else {
      GRAFT_UNROLL
      for (int i = 0; i < v; ++i)
        if (i < here) sum.at[i] += parts[i];
    }
  }
  const int column = static_cast<int>(first % n);
  Vector<T, v> result;
  GRAFT_UNROLL
  for (int i = 0; i < v; ++i) {
    C value = sum.at[i];
    if (bias != nullptr && i < here) value += widen(bias[(column + i) % n]);
    result.at[i] = narrow<T>(relu && value < C(0) ? C(0) : value);
  }
  if (vectors) {
    *reinterpret_cast<Vector<T, v>*>(y + first) = result;
  } else {
    GRAFT_UNROLL
    for (int i = 0; i < v; ++i)
      if (i < here) y[first + i] = result.at[i];
  }
}

/// The same of all of y, four elements a thread.
template <class T>
GRAFT_KERNEL(kSumThreads)
matmul_sum_parts(const Compute<T>* __restrict__ parts, const T* __restrict__ bias, T* __restrict__ y, int count, int n,
                 int splits, bool relu, bool vectors) {
  const std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * kSumThreads + threadIdx.x) * kSumElements;
  if (first >= count) return;
  sum_elements(parts, bias, y, first, left_from(count, first, kSumElements), count, n, splits, relu, vectors);
}

/// The same of a tile of y, by a block of Threads.
template <int Threads, class T>
GRAFT_DEVICE void sum_tile(const Problem<T>& p, std::int64_t batches, std::int64_t first_row, std::int64_t column,
                           int rows, int columns) {
  const int across = ceil_div(columns, kSumElements);
  GRAFT_NO_UNROLL
  for (int i = static_cast<int>(threadIdx.x); i < rows * across; i += Threads) {
    const int c = i % across * kSumElements, here = columns - c < kSumElements ? columns - c : kSumElements;
    sum_elements(p.parts, p.bias, p.y, (first_row + i / across) * p.n + column + c, here, batches * p.m * p.n,
                 static_cast<int>(p.n), p.splits, p.relu, p.sum_vectors);
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
  const Operand<T> operand_a = operand_of(p.a, a, p.a.columns, row, p.m, k_first);
  const Operand<T> operand_b = operand_of(p.b, b, !p.b.columns, column, p.n, k_first);
  Tile tile;
  gemm_main_loop<Stages>(tile, shared, static_cast<int>(ceil_div<std::int64_t>(length, Tile::kBk)),
                         [&](int step, T* to_a, T* to_b) {
                           const std::int64_t k = static_cast<std::int64_t>(step) * Tile::kBk;
                           const int left = left_from(length, k, kMost);
                           load_operand<typename Tile::ALayout, Tile::kThreads, AK>(to_a, operand_a, k, left);
                           load_operand<typename Tile::BLayout, Tile::kThreads, BK>(to_b, operand_b, k, left);
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
    launch_tiles<MmaTile<T, 128, 128, 32, 64, 32, AK, BK>, 4, AK, BK>(args, p, stream);
  else
    launch_tiles<MmaTile<T, 64, 64, 32, 32, 32, AK, BK>, 4, AK, BK>(args, p, stream);
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
