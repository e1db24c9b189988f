// Convolution, gradient of the input: gx (N H W positions, C channels) = gathered gy (N H W, R S K) times w (R S K, C),
// for each group. Tap (r, s) of input position h takes output position p where p stride = h + padding - r dilation;
// where the stride does not divide that, there is none. Each element of gx has one owner: nothing is scattered.
#include <graft/kernels/cuda/conv2d_direct.cuh>
#include <graft/kernels/cuda/conv2d_tile.cuh>

namespace graft::kernels::cuda {
namespace {

// A row's picture in gy, and its place counted from the padding's edge.
struct Source {
  std::int64_t offset;
  int h, w;
};

constexpr ConvProduct kBackwardData{128, 64, true, false};

template <class Tile, class T = typename Tile::T>
GRAFT_KERNEL(kConvThreads)
conv2d_backward_data_kernel(const ConvShape g, const TileGrid grid, const T* __restrict__ gy, const T* __restrict__ w,
                            T* __restrict__ gx, bool vector_stores) {
  using Block = typename Tile::Block;
  constexpr int depth = Tile::kDepth, v = Tile::kV;
  GRAFT_DYNAMIC_SHARED(T, shared);
  GRAFT_SHARED(sources, Source[Tile::kRows]);
  const TileGrid::Block block = grid.block();
  const std::int64_t first_row = block.row_tile * Tile::kRows, rows = g.n * g.h * g.w;
  const int first_column = block.column_tile * Tile::kColumns, terms = g.taps() * g.kg;

  for (int i = static_cast<int>(threadIdx.x); i < Tile::kRows; i += kConvThreads) {
    Source source{0, -1, -1};  // before every tap
    if (first_row + i < rows) {
      const Position at = position(first_row + i, g.by_hw, g.by_w);
      source = {at.n * g.p * g.q * g.k + std::int64_t{block.group} * g.kg, at.row + g.padding_h, at.col + g.padding_w};
    }
    sources[i] = source;
  }
  __syncthreads();  // the sources are there

  struct Step {
    bool exists;
    int dh, dw, filter;
  };
  const T* filters = w + std::int64_t{block.group} * g.kg * g.taps() * g.cg + first_column;  // (kg, R, S, cg)
  Block tile;
  gemm_main_loop<kConvStages>(tile, shared, ceil_div(terms, depth), [&](std::int64_t step, T* a, T* b) {
    const int first = static_cast<int>(step) * depth;
    gather_along_depth<typename Block::ALayout, Tile::kDepthInnerA, Tile::kRows, depth, v>(
        a,
        [&](int k) {
          const Tap t = tap(g, first + k, g.by_kg);
          return Step{first + k < terms, t.r * g.dilation_h, t.s * g.dilation_w, t.channel};
        },
        [&](int row, const Step& at, bool& exists) {
          const Source source = sources[row];
          const int h = source.h - at.dh, w_at = source.w - at.dw;
          exists = at.exists && h >= 0 && w_at >= 0;
          const Split p = split(exists ? h : 0, g.by_stride_h), q = split(exists ? w_at : 0, g.by_stride_w);
          exists = exists && p.rest == 0 && q.rest == 0 && p.quotient < g.p && q.quotient < g.q;
          const std::int64_t offset = (std::int64_t{p.quotient} * g.q + q.quotient) * g.k + at.filter;
          return exists ? gy + source.offset + offset : gy;
        });
    gather_along_rows<typename Block::BLayout, Tile::kColumns, depth, v>(b, [&](int k, int column, bool& exists) {
      exists = first + k < terms && first_column + column < g.cg;
      const Split at = split(first + k, g.by_kg);  // tap, filter
      return exists ? filters + (std::int64_t{at.rest} * g.taps() + at.quotient) * g.cg + column : w;
    });
  });

  tile.store(TileOutput<T>{gx + first_row * g.c + block.group * g.cg + first_column, g.c,
                           left_from(rows, first_row, Tile::kRows), g.cg - first_column, vector_stores});
}

}  // namespace

void conv2d_backward_data(const Conv2dBackwardDataArgs& args, Stream& stream) {
  if (args.gx.numel() == 0) return;
  const ConvShape g = conv_shape(args.gx, args.w, args.gy, args.geometry);
  if (is_depthwise(g)) return depthwise_backward_data(args, g, stream);
  if (direct_backward_data(args, g, stream)) return;
  visit_floating(args.gx.dtype, [&]<class T>(T) {
    const std::int64_t rows = g.n * g.h * g.w;
    const bool vectors = vectors_fit<T>({g.cg, g.kg}, {args.gy.data, args.w.data});
    with_tile<T, kBackwardData>(rows, g.cg, g.groups, vectors, [&]<class Tile>(Tile) {
      const TileGrid grid = tile_grid<Tile>(rows, g.cg, g.groups);
      launch("conv2d_backward_data", conv2d_backward_data_kernel<Tile>,
             {.grid = grid_blocks(grid), .block = dim3(kConvThreads), .shared_bytes = conv_shared_bytes<Tile>}, stream,
             g, grid, args.gy.as<T>(), args.w.as<T>(), args.gx.as<T>(), vectors_fit<T>({g.cg}, {args.gx.data}));
    });
  });
}

}  // namespace graft::kernels::cuda
