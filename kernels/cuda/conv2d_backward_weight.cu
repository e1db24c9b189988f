// Convolution, gradients of the weights and the bias. gw (K, R S C) = gy^T (K, M) times the pictures' windows (M, R S
// C), for each group, with the reduction over all M = N P Q output positions; a block's rows are elements (r, s, c),
// its columns filters. Few results and a long sum: the sum is cut into parts, as many as the shape asks for, that the
// last blocks of a tile add in order (conv2d_parts.cuh). The bias gradient is summed the same way.
#include <graft/kernels/cuda/conv2d_direct.cuh>
#include <graft/kernels/cuda/conv2d_parts.cuh>
#include <graft/kernels/cuda/conv2d_tile.cuh>

namespace graft::kernels::cuda {
namespace {

// --- the weights ----------------------------------------------------------------------------------------------------

constexpr ConvProduct kBackwardWeight{64, 128, false, false};

// Blocks that the registers of a multiprocessor must allow: the splits make four of small tiles, two of large ones. For
// more, ptxas would take registers from the loop; copies element by element need many.
template <class Tile>
inline constexpr int kWeightBlocks = Tile::kRows == kBackwardWeight.rows ? 3 : Tile::kV == 1 ? 4 : 6;

// The parts (splits, K, R S cg) are sums over `part` positions each.
template <class Tile, class T = typename Tile::T>
GRAFT_KERNEL_RESIDENT(kConvThreads, kWeightBlocks<Tile>)
conv2d_backward_weight_kernel(const ConvShape g, const TileGrid grid, const T* __restrict__ x, const T* __restrict__ gy,
                              int part, const PartSums<T> sums, bool vector_stores) {
  using Block = typename Tile::Block;
  constexpr int depth = Tile::kDepth, v = Tile::kV;
  GRAFT_DYNAMIC_SHARED(T, shared);
  const TileGrid::Block block = grid.block();
  const int first_row = static_cast<int>(block.row_tile) * Tile::kRows,
            first_column = block.column_tile * Tile::kColumns;
  const int elements = g.taps() * g.cg;
  const std::int64_t all = g.n * g.p * g.q, first = std::int64_t{block.split} * part;
  const int positions = left_from(all, first, part);

  // Positions are counted from the beginning of the picture in which the part begins: that fits 32 bits.
  const std::int64_t first_picture = g.by_pq.divide(first);
  const int skipped = static_cast<int>(first - first_picture * g.by_pq.divisor);
  const T* pictures = x + first_picture * g.h * g.w * g.c + block.group * g.cg;
  const T* gradients = gy + first * g.k + block.group * g.kg + first_row;

  // This thread copies the same element of the filters at each position.
  const int element = first_column + row_of_thread<Tile::kColumns, v>();
  const Tap t = tap(g, element, g.by_cg);
  const int dh = t.r * g.dilation_h - g.padding_h, dw = t.s * g.dilation_w - g.padding_w;

  Block tile;
  gemm_main_loop<kConvStages>(tile, shared, ceil_div(positions, depth), [&](std::int64_t step, T* a, T* b) {
    const int begin = static_cast<int>(step) * depth;
    gather_along_rows<typename Block::ALayout, Tile::kRows, depth, v>(a, [&](int k, int row, bool& exists) {
      exists = begin + k < positions && first_row + row < g.kg;
      return exists ? gradients + std::int64_t{begin + k} * g.k + row : gy;
    });
    gather_along_rows<typename Block::BLayout, Tile::kColumns, depth, v>(b, [&](int k, int, bool& exists) {
      const Split picture = split(skipped + begin + k, g.by_pq), at = split(picture.rest, g.by_q);
      const int h = at.quotient * g.stride_h + dh, w = at.rest * g.stride_w + dw;
      exists = begin + k < positions && element < elements && within(h, g.h) && within(w, g.w);
      const std::int64_t offset = ((std::int64_t{picture.quotient} * g.h + h) * g.w + w) * g.c + t.channel;
      return exists ? pictures + offset : x;
    });
  });

  const std::int64_t at = (std::int64_t{block.group} * g.kg + first_row) * elements + first_column;
  const int rows = g.kg - first_row, columns = elements - first_column;
  tile.store(TileOutput<Compute<T>, T>{sums.parts + block.split * sums.count + at, elements, rows, columns,
                                       vector_stores});
  const auto index = static_cast<int>(blockIdx.x % (grid.column_tiles * grid.row_tiles * grid.groups));
  finish_parts<kConvThreads, (v > 1), 2>(sums, index, block.split,
                                      {at, elements, min(rows, Tile::kRows), min(columns, Tile::kColumns)});
}

constexpr std::int64_t kShortestPart = 256, kMostParts = 64;
constexpr std::int64_t kMaxPartElements = std::int64_t{1} << 26;
constexpr std::int64_t kLongestPart = std::int64_t{1} << 29;

// Positions a part, a multiple of 64: parts until there are `enough` blocks for a large device, unless they become
// short or take much memory. By shape only.
int positions_per_part(std::int64_t positions, std::int64_t tiles, std::int64_t enough, std::int64_t weights) {
  std::int64_t parts = ceil_div(enough, tiles);
  parts = std::min({parts, positions / kShortestPart, kMaxPartElements / weights, kMostParts});
  parts = std::max({parts, std::int64_t{1}, ceil_div(positions, kLongestPart)});
  return static_cast<int>(std::max<std::int64_t>(ceil_div(ceil_div(positions, parts), std::int64_t{64}), 1) * 64);
}

void weight_gradient(const Conv2dBackwardWeightArgs& args, const ConvShape& g, Stream& stream) {
  visit_floating(args.x.dtype, [&]<class T>(T) {
    const std::int64_t elements = std::int64_t{g.r} * g.s * g.cg, positions = g.n * g.p * g.q;
    const bool vectors = vectors_fit<T>({g.cg, g.kg}, {args.x.data, args.gy.data});
    // The sum is cut, so that there are blocks enough with large tiles too: up to kMostParts times as many.
    const std::int64_t blocks_a_tile = std::clamp<std::int64_t>(positions / kShortestPart, 1, kMostParts);
    with_tile<T, kBackwardWeight>(g.kg, elements, g.groups * blocks_a_tile, vectors, [&]<class Tile>(Tile) {
      const TileGrid grid = tile_grid<Tile>(g.kg, elements, g.groups);
      const std::int64_t tiles = std::int64_t{grid.column_tiles} * grid.row_tiles * grid.groups;
      // Warps enough to cover one another's waits: two of large tiles a scheduler, four of small ones; of the 16-bit tiles,
      // which wait less, two of either. A few less than a whole wave, so that no second one is begun for them.
      const std::int64_t enough = (is_half<T> || Tile::kRows == kBackwardWeight.rows ? 2 : 4) * kMultiprocessors - 8;
      const int part = positions_per_part(positions, tiles, enough, args.gw.numel());
      const int splits = static_cast<int>(std::max<std::int64_t>(ceil_div<std::int64_t>(positions, part), 1));
      const bool whole = splits == 1 && std::is_same_v<T, Compute<T>>;  // the sum is gw itself
      const Workspace memory(whole ? 0 : sizeof(Compute<T>) * static_cast<std::size_t>(splits * args.gw.numel()),
                             stream);
      auto* parts = whole ? static_cast<Compute<T>*>(args.gw.data) : memory.as<Compute<T>>();
      const PartSums<T> sums = part_sums<T>(parts, splits, args.gw, tiles, std::int64_t{Tile::kRows} * Tile::kColumns,
                                            elements % kVectorLength<Compute<T>> == 0, stream);
      launch("conv2d_backward_weight", conv2d_backward_weight_kernel<Tile>,
             {.grid = grid_blocks(grid, splits), .block = dim3(kConvThreads), .shared_bytes = conv_shared_bytes<Tile>},
             stream, g, grid, args.x.as<T>(), args.gy.as<T>(), part, sums,
             vectors_fit<Compute<T>>({elements}, {parts}));
      if (!whole && sums.to == nullptr) add_parts(parts, splits, args.gw, stream);
    });
  });
}

// --- the bias -------------------------------------------------------------------------------------------------------

constexpr int kSumThreads = 256;

// The parts (parts, K) are sums of `part` rows of gy (M, K). A block has `cols` columns (a power of two, 8 to 32); its
// threads take the rows in turns.
template <class T>
GRAFT_KERNEL(kSumThreads)
conv2d_bias_kernel(const T* __restrict__ gy, std::int64_t rows, int k, int part, int cols, const PartSums<T> to) {
  GRAFT_SHARED(sums, Compute<T>[kSumThreads]);
  const unsigned col_tiles = static_cast<unsigned>(ceil_div(k, cols));
  const int thread = static_cast<int>(threadIdx.x), lanes = kSumThreads / cols;
  const auto tile = static_cast<int>(blockIdx.x % col_tiles);
  const int first_col = tile * cols, col = first_col + thread % cols;
  const std::int64_t index = blockIdx.x / col_tiles, first = index * part;
  const std::int64_t end = first + part < rows ? first + part : rows;
  Compute<T> sum = 0;
  if (col < k)
    for (std::int64_t row = first + thread / cols; row < end; row += lanes) sum += widen(gy[row * k + col]);
  sums[thread] = sum;
  __syncthreads();  // the sums are there
  if (thread < cols && col < k) {
    for (int lane = 1; lane < lanes; ++lane) sum += sums[lane * cols + thread];
    to.parts[index * k + col] = sum;
  }
  finish_parts<kSumThreads, false, 1>(to, tile, static_cast<int>(index), {first_col, k, 1, min(cols, k - first_col)});
}

constexpr int kAddColumns = 32, kAddLanes = kSumThreads / kAddColumns;

// Eight threads share an element: each has every eighth part, and the first adds up their sums in order. One thread
// alone would wait for a part after the other.
template <class T>
GRAFT_KERNEL(kSumThreads)
conv2d_add_parts(const Compute<T>* __restrict__ parts, int splits, std::int64_t count, T* __restrict__ to) {
  GRAFT_SHARED(sums, Compute<T>[kSumThreads]);
  const int thread = static_cast<int>(threadIdx.x), lane = thread / kAddColumns;
  const std::int64_t i = std::int64_t{blockIdx.x} * kAddColumns + thread % kAddColumns;
  Compute<T> sum = 0;
  if (i < count) {
    GRAFT_UNROLL_BY(4)
    for (int part = lane; part < splits; part += kAddLanes) sum += parts[part * count + i];
  }
  sums[thread] = sum;
  __syncthreads();  // the sums are there
  if (lane > 0 || i >= count) return;
  for (int other = 1; other < kAddLanes; ++other) sum += sums[other * kAddColumns + thread];
  to[i] = narrow<T>(sum);
}

}  // namespace

void add_parts(const void* parts, int splits, const TensorRef& to, Stream& stream) {
  visit_floating(to.dtype, [&]<class T>(T) {
    launch("conv2d_add_parts", conv2d_add_parts<T>,
           {.grid = dim3(blocks_for(to.numel(), kAddColumns)), .block = dim3(kSumThreads)}, stream,
           static_cast<const Compute<T>*>(parts), splits, to.numel(), to.as<T>());
  });
}

void conv2d_bias_gradient(const TensorRef& gy, const TensorRef& gbias, Stream& stream) {
  const std::int64_t k = gbias.numel();
  if (k == 0) return;
  const std::int64_t rows = gy.numel() / k;
  int cols = 8;
  while (cols < 32 && cols < k) cols *= 2;
  // At least 8 rows a thread, at most 256 parts.
  const std::int64_t part = std::max<std::int64_t>(kSumThreads / cols * 8, ceil_div<std::int64_t>(rows, 256));
  check(part <= std::numeric_limits<std::int32_t>::max(), "conv2d_backward_weight: gy has ", rows,
        " positions, expected below 2^39");
  const auto parts = static_cast<int>(std::max<std::int64_t>(ceil_div(rows, part), 1));
  visit_floating(gy.dtype, [&]<class T>(T) {
    const Workspace memory(sizeof(Compute<T>) * static_cast<std::size_t>(parts * k), stream);
    const std::int64_t tiles = ceil_div<std::int64_t>(k, cols);
    const PartSums<T> sums = part_sums<T>(memory.as<Compute<T>>(), parts, gbias, tiles, cols, false, stream);
    launch("conv2d_bias_gradient", conv2d_bias_kernel<T>,
           {.grid = dim3(blocks_for(tiles * parts, 1)), .block = dim3(kSumThreads)}, stream, gy.as<T>(), rows, k, part,
           cols, sums);
  });
}

void conv2d_backward_weight(const Conv2dBackwardWeightArgs& args, Stream& stream) {
  if (args.gw.defined() && args.gw.numel() > 0) {
    const ConvShape g = conv_shape(args.x, args.gw, args.gy, args.geometry);
    if (is_depthwise(g))
      depthwise_backward_weight(args, g, stream);
    else if (!direct_backward_weight(args, g, stream))
      weight_gradient(args, g, stream);
  }
  if (args.gbias.defined()) conv2d_bias_gradient(args.gy, args.gbias, stream);
}

}  // namespace graft::kernels::cuda
