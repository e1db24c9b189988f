// Convolution, gradient of the input: gx (N H W positions, C channels) = gathered gy (N H W, R S K) times w (R S K, C),
// for each group. Tap (r, s) of input position h takes output position p where p stride = h + padding - r dilation;
// where the stride does not divide that, there is none. Each element of gx has one owner: nothing is scattered.
#include <graft/kernels/cuda/conv2d_tile.cuh>

namespace graft::kernels::cuda {
namespace {

// A row's picture in gy, and its place counted from the padding's edge.
struct Source {
  std::int64_t offset;
  int h, w;
};

template <class Tile>
struct BackwardDataShared {
  StagedOperands<Tile, Inner::depth, Inner::row> staged;
  Source sources[Tile::kRows];
};

template <class Tile, class T = typename Tile::T>
GRAFT_KERNEL(kConvThreads)
conv2d_backward_data_kernel(const ConvShape g, const TileGrid grid, const T* __restrict__ gy, const T* __restrict__ w,
                            T* __restrict__ gx) {
  constexpr int depth = Tile::kDepth, v = Tile::kV;
  constexpr int line_a = Tile::template A<Inner::depth>::kLine, line_b = Tile::template B<Inner::row>::kLine;
  GRAFT_SHARED(shared, BackwardDataShared<Tile>);
  const TileGrid::Block block = grid.block();
  const std::int64_t first_row = block.row_tile * Tile::kRows, rows = g.n * g.h * g.w;
  const int first_col = block.col_tile * Tile::kCols, terms = g.taps() * g.kg;

  for (int i = static_cast<int>(threadIdx.x); i < Tile::kRows; i += kConvThreads) {
    Source source{0, -1, -1};  // before every tap
    if (first_row + i < rows) {
      const Position at = position(first_row + i, g.by_hw, g.by_w);
      source = {at.n * g.p * g.q * g.k + std::int64_t{block.group} * g.kg, at.row + g.padding_h, at.col + g.padding_w};
    }
    shared.sources[i] = source;
  }
  __syncthreads();  // the sources are there

  typename Tile::template Product<Inner::depth, Inner::row> product;
  const T* filters = w + std::int64_t{block.group} * g.kg * g.taps() * g.cg;  // (kg, R, S, cg)
  const auto load = [&](int step, int stage) {
    T* a = shared.staged.a_tiles[stage];
    T* b = shared.staged.b_tiles[stage];
    const int term = step * depth + static_cast<int>(threadIdx.x) % (depth / v) * v;
    const Tap t = tap(g, term, g.by_kg);
    const int dh = t.r * g.dilation_h, dw = t.s * g.dilation_w;
    for_each_vector<Tile::kRows, depth, v>([&](int row, int k) {
      const Source source = shared.sources[row];
      const int h = source.h - dh, w_at = source.w - dw;
      bool valid = term < terms && h >= 0 && w_at >= 0;
      const Split p = split(valid ? h : 0, g.by_stride_h), q = split(valid ? w_at : 0, g.by_stride_w);
      valid = valid && p.rest == 0 && q.rest == 0 && p.quotient < g.p && q.quotient < g.q;
      const std::int64_t offset = (std::int64_t{p.quotient} * g.q + q.quotient) * g.k + t.channel;
      copy_or_zero<v>(a + row * line_a + k, valid ? gy + source.offset + offset : gy, valid);
    });
    for_each_vector<depth, Tile::kCols, v>([&](int k, int col) {
      const int i = step * depth + k;
      const bool valid = i < terms && first_col + col < g.cg;
      const Split at = split(i, g.by_kg);  // tap, filter
      const std::int64_t offset = (std::int64_t{at.rest} * g.taps() + at.quotient) * g.cg + first_col + col;
      copy_or_zero<v>(b + k * line_b + col, valid ? filters + offset : w, valid);
    });
  };
  for_each_step(ceil_div(terms, depth), load,
                [&](int stage) { product.multiply(shared.staged.a_tiles[stage], shared.staged.b_tiles[stage]); });

  product.for_each([&](int row, int col, Compute<T> sum) {
    if (first_row + row < rows && first_col + col < g.cg)
      gx[(first_row + row) * g.c + block.group * g.cg + first_col + col] = narrow<T>(sum);
  });
}

}  // namespace

void conv2d_backward_data(const Conv2dBackwardDataArgs& args, Stream& stream) {
  if (args.gx.numel() == 0) return;
  const ConvShape g = conv_shape(args.gx, args.w, args.gy, args.geometry);
  if (is_depthwise(g)) return depthwise_backward_data(args, g, stream);
  visit_floating(args.gx.dtype, [&]<class T>(T) {
    const std::int64_t rows = g.n * g.h * g.w;
    const bool vectors = vectors_fit<T>({g.cg, g.kg}, {args.gy.data, args.w.data});
    with_tile<T>(rows, g.cg, g.groups, vectors, [&]<class Tile>(Tile) {
      const TileGrid grid = tile_grid<Tile>(rows, g.cg, g.groups);
      launch("conv2d_backward_data", conv2d_backward_data_kernel<Tile>,
             {.grid = grid_blocks(grid), .block = dim3(kConvThreads)}, stream, g, grid, args.gy.as<T>(), args.w.as<T>(),
             args.gx.as<T>());
    });
  });
}

}  // namespace graft::kernels::cuda
