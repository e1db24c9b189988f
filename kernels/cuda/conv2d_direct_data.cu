// Direct convolution (conv2d_direct.cuh), gradient of the input: each element of gx sums over taps and all filters.
//
// With a stride, tap r takes input row h from output row (h + padding - r dilation) / stride where that divides; the
// rows h with one remainder of (h + padding) / stride form a class that has the same taps, at neighbouring output rows.
// A block works on one class of rows and columns: a convolution of stride 1 with some of the taps. The block goes over
// the filters, a few at a time: their part of gy under the tile and of the weights lies in shared memory.
#include <graft/kernels/cuda/conv2d_direct.cuh>

namespace graft::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kPixels = 2;   // of a thread
constexpr int kVectors = 2;  // of 16 bytes of filters at a time: whole sectors of gy
constexpr int kMostClasses = 16;

// How the rows or columns of one class lie: those with (h + padding) % stride == remainder, of which number i is
// h = i * stride + remainder - padding; `first` is the least i inside. A patch begins `before` rows of gy before its
// tile.
struct Class {
  int remainder, first, before;

  // Which row of the patch tap `tap` takes for the class's row 0; -1: none, the stride does not divide.
  GRAFT_DEVICE int place(int tap, int dilation, const FastDivisor& by_stride) const {
    const int back = tap * dilation - remainder;  // > -stride
    if (back < 0) return -1;
    const Split rows = split(back, by_stride);
    return rows.rest == 0 ? before - rows.quotient : -1;
  }
};

struct DataPlan {
  DirectTiles tiles;  // of every class; their patch is one of gy
  int before_h, before_w;
  FastDivisor by_terms;  // R S C
};

GRAFT_DEVICE Class class_of(int remainder, int padding, int stride, const FastDivisor& by_stride, int before) {
  return {remainder, remainder >= padding ? 0 : by_stride.divide(padding - remainder + stride - 1), before};
}

template <class T, int C>
GRAFT_KERNEL_RESIDENT(kThreads, 6)  // for more ptxas would spill
conv2d_direct_data_kernel(const ConvShape g, const DataPlan plan, const T* __restrict__ gy, const T* __restrict__ w,
                          T* __restrict__ gx, bool vector_loads) {
  constexpr int v = kVectorLength<T>, filters = v * kVectors;
  GRAFT_DYNAMIC_SHARED(float, shared);
  const DirectTiles& tiles = plan.tiles;
  const int taps = g.taps(), places = tiles.patch();
  float* const weights = shared;                                         // (R S, C, filters)
  T* const patch = reinterpret_cast<T*>(shared + taps * C * filters);    // (vectors, places, v)

  const int thread = static_cast<int>(threadIdx.x);
  const auto classes = static_cast<unsigned>(g.stride_h * g.stride_w);
  const Split which = split(static_cast<int>(blockIdx.x % classes), g.by_stride_w);
  const Position first = tiles.first_of(blockIdx.x / classes);
  const Class of_h = class_of(which.quotient, g.padding_h, g.stride_h, g.by_stride_h, plan.before_h);
  const Class of_w = class_of(which.rest, g.padding_w, g.stride_w, g.by_stride_w, plan.before_w);
  const int i0 = of_h.first + first.row, j0 = of_w.first + first.col;  // of the tile's first pixel in its class
  const int p0 = i0 - plan.before_h, q0 = j0 - plan.before_w;
  const T* const gradients = gy + first.n * g.p * g.q * g.k;

  int base[kPixels];
  GRAFT_UNROLL
  for (int j = 0; j < kPixels; ++j) {
    const int at = thread + j * kThreads;
    const Split place = split(at, tiles.by_columns);
    base[j] = at < tiles.positions() ? place.quotient * tiles.run + place.rest : 0;
  }

  float sum[kPixels][C] = {};
  for (int k0 = 0; k0 < g.k; k0 += filters) {
    __syncthreads();  // nobody reads the filters before
    for (int i = thread; i < filters * taps * C; i += kThreads) {
      const Split at = split(i, plan.by_terms);  // filter, term
      const int k = k0 + at.quotient;
      weights[at.rest * filters + at.quotient] = k < g.k ? widen(w[std::int64_t{k} * (taps * C) + at.rest]) : 0.0f;
    }
    for (int i = thread; i < places * kVectors; i += kThreads) {
      const int at = i / kVectors, vector = i % kVectors, k = k0 + vector * v;
      const Split place = split(at, tiles.by_run);
      const int p = p0 + place.quotient, q = q0 + place.rest;
      const bool inside = within(p, g.p) && within(q, g.q);
      const T* const from = gradients + (std::int64_t{p} * g.q + q) * g.k + k;
      Packed<T, v> loaded;
      if (inside && vector_loads && k < g.k) {
        loaded = load<v>(from);
      } else {
        GRAFT_UNROLL
        for (int f = 0; f < v; ++f) loaded.at[f] = inside && k + f < g.k ? from[f] : narrow<T>(0.0f);
      }
      store_shared(patch + (vector * places + at) * v, loaded);
    }
    __syncthreads();  // these filters are there

    for (int r = 0; r < g.r; ++r) {
      const int row = of_h.place(r, g.dilation_h, g.by_stride_h);
      if (row < 0) continue;
      for (int s = 0; s < g.s; ++s) {
        const int column = of_w.place(s, g.dilation_w, g.by_stride_w);
        if (column < 0) continue;
        const T* const from = patch + (row * tiles.run + column) * v;
        GRAFT_UNROLL
        for (int vector = 0; vector < kVectors; ++vector) {
          Packed<float, v> weight[C];
          GRAFT_UNROLL
          for (int c = 0; c < C; ++c) weight[c] = load<v>(weights + ((r * g.s + s) * C + c) * filters + vector * v);
          GRAFT_UNROLL
          for (int j = 0; j < kPixels; ++j) {
            const Packed<T, v> gradient = load<v>(from + (vector * places + base[j]) * v);
            GRAFT_UNROLL
            for (int f = 0; f < v; ++f) GRAFT_UNROLL
            for (int c = 0; c < C; ++c) sum[j][c] += widen(gradient.at[f]) * weight[c].at[f];
          }
        }
      }
    }
  }

  GRAFT_UNROLL
  for (int j = 0; j < kPixels; ++j) {
    const int at = thread + j * kThreads;
    const Split place = split(at, tiles.by_columns);
    const int h = (i0 + place.quotient) * g.stride_h + of_h.remainder - g.padding_h;
    const int column = (j0 + place.rest) * g.stride_w + of_w.remainder - g.padding_w;
    if (at >= tiles.positions() || h >= g.h || column >= g.w) continue;
    T* const to = gx + ((first.n * g.h + h) * g.w + column) * C;
    GRAFT_UNROLL
    for (int c = 0; c < C; ++c) to[c] = narrow<T>(sum[j][c]);
  }
}

template <class T, int C>
bool run(const Conv2dBackwardDataArgs& args, const ConvShape& g, Stream& stream) {
  constexpr std::int64_t filters = kVectorLength<T> * kVectors;
  if (std::int64_t{g.stride_h} * g.stride_w > kMostClasses) return false;
  const std::int64_t weight_bytes = std::int64_t{g.r} * g.s * C * filters * static_cast<std::int64_t>(sizeof(float));
  const std::int64_t left = (kDirectMostShared - weight_bytes) / 16 / kVectors;  // places of a patch
  if (left <= 0) return false;
  DataPlan plan{};
  plan.before_h = static_cast<int>(ceil_div(std::int64_t{g.r - 1} * g.dilation_h, std::int64_t{g.stride_h}));
  plan.before_w = static_cast<int>(ceil_div(std::int64_t{g.s - 1} * g.dilation_w, std::int64_t{g.stride_w}));
  plan.tiles = direct_tiles(g.n, ceil_div(g.h, g.stride_h), ceil_div(g.w, g.stride_w), kThreads * kPixels,
                            {1, std::int64_t{plan.before_h} + 1}, {1, std::int64_t{plan.before_w} + 1}, 1, left);
  if (plan.tiles.count == 0) return false;
  plan.by_terms = FastDivisor(std::int64_t{g.r} * g.s * C);
  const std::int64_t classes = std::int64_t{g.stride_h} * g.stride_w;
  const std::size_t bytes =
      static_cast<std::size_t>(weight_bytes) + static_cast<std::size_t>(plan.tiles.patch()) * 16 * kVectors;
  launch("conv2d_direct_backward_data", conv2d_direct_data_kernel<T, C>,
         {.grid = dim3(blocks_for(plan.tiles.count * classes, 1)), .block = dim3(kThreads), .shared_bytes = bytes},
         stream, g, plan, args.gy.as<T>(), args.w.as<T>(), args.gx.as<T>(),
         g.k % kVectorLength<T> == 0 && all_aligned({args.gy.data}));
  return true;
}

}  // namespace

bool direct_backward_data(const Conv2dBackwardDataArgs& args, const ConvShape& g, Stream& stream) {
  return visit_floating(args.gx.dtype, [&]<class T>(T) {
    if constexpr (!std::is_same_v<T, double>) {
      if (!is_direct<T>(g)) return false;
      switch (g.c) {
        case 1:
          return run<T, 1>(args, g, stream);
        case 2:
          return run<T, 2>(args, g, stream);
        case 3:
          return run<T, 3>(args, g, stream);
        case 4:
          return run<T, 4>(args, g, stream);
        default:
          return false;
      }
    }
    return false;
  });
}

}  // namespace graft::kernels::cuda
