// Convolution, forward: y (M = N P Q positions, K filters) = the pictures' windows (M, R S C) times w (K, R S C)^T, for
// each group. The windows are never written: a tile's rows are gathered from x as the reduction goes over (r, s, c).
// Bias and ReLU are applied to the sums before they are stored.
#include <graft/kernels/cuda/rows.h>
#include <graft/kernels/cuda/conv2d_tile.cuh>

namespace graft::kernels::cuda {
namespace {

// Where a row's window begins: x's offset of its first tap (perhaps outside the picture), and that tap's place.
struct Window {
  std::int64_t offset;
  int h, w;
};

// What no tap brings into the picture: taps reach less than kConvSizeLimit.
constexpr int kOutside = -static_cast<int>(kConvSizeLimit);

template <class Tile>
struct ForwardShared {
  StagedOperands<Tile, Inner::depth, Inner::depth> staged;
  Window windows[Tile::kRows];
};

template <class Tile, class T = typename Tile::T>
GRAFT_KERNEL(kConvThreads)
conv2d_forward_kernel(const ConvShape g, const TileGrid grid, const T* __restrict__ x, const T* __restrict__ w,
                      const T* __restrict__ bias, T* __restrict__ y, bool relu) {
  constexpr int depth = Tile::kDepth, v = Tile::kV, line = Tile::template A<Inner::depth>::kLine;
  GRAFT_SHARED(shared, ForwardShared<Tile>);
  const TileGrid::Block block = grid.block();
  const std::int64_t first_row = block.row_tile * Tile::kRows, rows = g.n * g.p * g.q;
  const int first_col = block.col_tile * Tile::kCols, terms = g.taps() * g.cg;

  for (int i = static_cast<int>(threadIdx.x); i < Tile::kRows; i += kConvThreads) {
    Window window{0, kOutside, kOutside};
    if (first_row + i < rows) {
      const Position at = position(first_row + i, g.by_pq, g.by_q);
      window.h = at.row * g.stride_h - g.padding_h;
      window.w = at.col * g.stride_w - g.padding_w;
      window.offset = ((at.n * g.h + window.h) * g.w + window.w) * g.c + std::int64_t{block.group} * g.cg;
    }
    shared.windows[i] = window;
  }
  __syncthreads();  // the windows are there

  typename Tile::template Product<Inner::depth, Inner::depth> product;
  const T* filters = w + (std::int64_t{block.group} * g.kg + first_col) * terms;  // (kg - first_col, terms)
  const auto load = [&](int step, int stage) {
    T* a = shared.staged.a_tiles[stage];
    T* b = shared.staged.b_tiles[stage];
    const int term = step * depth + static_cast<int>(threadIdx.x) % (depth / v) * v;
    const Tap t = tap(g, term, g.by_cg);
    const int dh = t.r * g.dilation_h, dw = t.s * g.dilation_w;
    const std::int64_t offset = (std::int64_t{dh} * g.w + dw) * g.c + t.channel;
    for_each_vector<Tile::kRows, depth, v>([&](int row, int k) {
      const Window window = shared.windows[row];
      const bool valid = term < terms && within(window.h + dh, g.h) && within(window.w + dw, g.w);
      copy_or_zero<v>(a + row * line + k, valid ? x + window.offset + offset : x, valid);
    });
    for_each_vector<Tile::kCols, depth, v>([&](int col, int k) {
      const bool valid = term < terms && first_col + col < g.kg;
      copy_or_zero<v>(b + col * line + k, valid ? filters + std::int64_t{col} * terms + term : w, valid);
    });
  };
  for_each_step(ceil_div(terms, depth), load,
                [&](int stage) { product.multiply(shared.staged.a_tiles[stage], shared.staged.b_tiles[stage]); });

  product.for_each([&](int row, int col, Compute<T> sum) {
    if (first_row + row >= rows || first_col + col >= g.kg) return;
    const int k = block.group * g.kg + first_col + col;
    if (bias != nullptr) sum += widen(bias[k]);
    if (relu && sum < 0) sum = 0;  // NaN passes
    y[(first_row + row) * g.k + k] = narrow<T>(sum);
  });
}

void run_forward(const Conv2dForwardArgs& args, Stream& stream) {
  if (args.y.numel() == 0) return;
  const ConvShape g = conv_shape(args.x, args.w, args.y, args.geometry);
  if (is_depthwise(g)) return depthwise_forward(args, g, stream);
  visit_floating(args.x.dtype, [&]<class T>(T) {
    const std::int64_t rows = g.n * g.p * g.q;
    const bool vectors = vectors_fit<T>({g.cg}, {args.x.data, args.w.data});
    with_tile<T>(rows, g.kg, g.groups, vectors, [&]<class Tile>(Tile) {
      const TileGrid grid = tile_grid<Tile>(rows, g.kg, g.groups);
      launch("conv2d_forward", conv2d_forward_kernel<Tile>, {.grid = grid_blocks(grid), .block = dim3(kConvThreads)},
             stream, g, grid, args.x.as<T>(), args.w.as<T>(), args.bias.as<T>(), args.y.as<T>(),
             args.activation == Activation::relu);
    });
  });
}

template <class Args>
Support supports(const Args& args, const TensorRef& x, const TensorRef& w, const TensorRef& y) {
  Support support = check_contract(args);
  return support.ok && w.defined() ? conv_sizes_fit(x, w, y, args.geometry) : support;
}

}  // namespace

void add_conv2d(BackendTable& table) {
  table.row<Conv2dForwardArgs>() = {
      [](const Conv2dForwardArgs& args) { return supports(args, args.x, args.w, args.y); }, run_forward};
  table.row<Conv2dBackwardDataArgs>() = {
      [](const Conv2dBackwardDataArgs& args) { return supports(args, args.gx, args.w, args.gy); },
      conv2d_backward_data};
  table.row<Conv2dBackwardWeightArgs>() = {
      [](const Conv2dBackwardWeightArgs& args) { return supports(args, args.x, args.gw, args.gy); },
      conv2d_backward_weight};
}

}  // namespace graft::kernels::cuda
