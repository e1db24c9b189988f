// Convolution, forward: y (M = N P Q positions, K filters) = the pictures' windows (M, R S C) times w (K, R S C)^T, for
// each group. The windows are never written: a tile's rows are gathered from x as the reduction goes over (r, s, c).
// Bias and ReLU are applied to the sums before they are stored.
#include <graft/kernels/cuda/rows.h>
#include <graft/kernels/cuda/conv2d_direct.cuh>
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

constexpr ConvProduct kForward{128, 64, true, true};

template <class Tile, class T = typename Tile::T>
GRAFT_KERNEL(kConvThreads)
conv2d_forward_kernel(const ConvShape g, const TileGrid grid, const T* __restrict__ x, const T* __restrict__ w,
                      const T* __restrict__ bias, T* __restrict__ y, bool vector_stores, bool relu) {
  using Block = typename Tile::Block;
  constexpr int depth = Tile::kDepth, v = Tile::kV;
  GRAFT_DYNAMIC_SHARED(T, shared);
  GRAFT_SHARED(windows, Window[Tile::kRows]);
  const TileGrid::Block block = grid.block();
  const std::int64_t first_row = block.row_tile * Tile::kRows, rows = g.n * g.p * g.q;
  const int first_column = block.column_tile * Tile::kColumns, terms = g.taps() * g.cg;

  for (int i = static_cast<int>(threadIdx.x); i < Tile::kRows; i += kConvThreads) {
    Window window{0, kOutside, kOutside};
    if (first_row + i < rows) {
      const Position at = position(first_row + i, g.by_pq, g.by_q);
      window.h = at.row * g.stride_h - g.padding_h;
      window.w = at.col * g.stride_w - g.padding_w;
      window.offset = ((at.n * g.h + window.h) * g.w + window.w) * g.c + std::int64_t{block.group} * g.cg;
    }
    windows[i] = window;
  }
  __syncthreads();  // the windows are there

  struct Step {
    bool exists;
    int dh, dw;
    std::int64_t offset;
  };
  const T* filters = w + (std::int64_t{block.group} * g.kg + first_column) * terms;  // (kg - first_column, terms)
  Block tile;
  gemm_main_loop<kConvStages>(tile, shared, ceil_div(terms, depth), [&](std::int64_t step, T* a, T* b) {
    const int first = static_cast<int>(step) * depth;
    gather_along_depth<typename Block::ALayout, Tile::kDepthInnerA, Tile::kRows, depth, v>(
        a,
        [&](int k) {
          const Tap t = tap(g, first + k, g.by_cg);
          const int dh = t.r * g.dilation_h, dw = t.s * g.dilation_w;
          return Step{first + k < terms, dh, dw, (std::int64_t{dh} * g.w + dw) * g.c + t.channel};
        },
        [&](int row, const Step& at, bool& exists) {
          const Window window = windows[row];
          exists = at.exists && within(window.h + at.dh, g.h) && within(window.w + at.dw, g.w);
          return exists ? x + window.offset + at.offset : x;
        });
    gather_along_depth<typename Block::BLayout, Tile::kDepthInnerB, Tile::kColumns, depth, v>(
        b, [&](int k) { return first + k; },
        [&](int column, int term, bool& exists) {
          exists = term < terms && first_column + column < g.kg;
          return exists ? filters + std::int64_t{column} * terms + term : w;
        });
  });

  const int first_filter = block.group * g.kg + first_column;
  TileOutput<T> output{y + first_row * g.k + first_filter, g.k, left_from(rows, first_row, Tile::kRows),
                       g.kg - first_column, vector_stores};
  if (bias != nullptr) output.bias = bias + first_filter;
  output.relu = relu;
  tile.store(output);
}

void run_forward(const Conv2dForwardArgs& args, Stream& stream) {
  if (args.y.numel() == 0) return;
  const ConvShape g = conv_shape(args.x, args.w, args.y, args.geometry);
  if (is_depthwise(g)) return depthwise_forward(args, g, stream);
  if (direct_forward(args, g, stream)) return;
  visit_floating(args.x.dtype, [&]<class T>(T) {
    const std::int64_t rows = g.n * g.p * g.q;
    const bool vectors = vectors_fit<T>({g.cg}, {args.x.data, args.w.data});
    with_tile<T, kForward>(rows, g.kg, g.groups, vectors, [&]<class Tile>(Tile) {
      const TileGrid grid = tile_grid<Tile>(rows, g.kg, g.groups);
      launch("conv2d_forward", conv2d_forward_kernel<Tile>,
             {.grid = grid_blocks(grid), .block = dim3(kConvThreads), .shared_bytes = conv_shared_bytes<Tile>}, stream,
             g, grid, args.x.as<T>(), args.w.as<T>(), args.bias.as<T>(), args.y.as<T>(),
             vectors_fit<T>({g.kg}, {args.y.data}), args.activation == Activation::relu);
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
