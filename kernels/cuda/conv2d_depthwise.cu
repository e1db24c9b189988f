// Depthwise convolution: one input channel a group, K = groups * multiplier filters. There is nothing to share in a
// matrix product, so each thread sums an element directly; neighbouring threads have neighbouring channels. Taps
// outside the picture are left out.
#include <graft/kernels/cuda/conv2d_geometry.cuh>

namespace graft::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// y (N P Q, K)
template <class T>
GRAFT_KERNEL(kThreads)
depthwise_forward_kernel(const ConvShape g, std::int64_t count, const T* __restrict__ x, const T* __restrict__ w,
                         const T* __restrict__ bias, T* __restrict__ y, bool relu) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  const std::int64_t m = g.by_k.divide(i);
  const int k = static_cast<int>(i - m * g.k), channel = g.by_kg.divide(k);
  const Position at = position(m, g.by_pq, g.by_q);
  const int h0 = at.row * g.stride_h - g.padding_h, w0 = at.col * g.stride_w - g.padding_w;
  const T* picture = x + at.n * g.h * g.w * g.c + channel;
  const T* filter = w + std::int64_t{k} * g.taps();
  Compute<T> sum = 0;
  for (int r = 0; r < g.r; ++r) {
    const int h_at = h0 + r * g.dilation_h;
    if (!within(h_at, g.h)) continue;
    for (int s = 0; s < g.s; ++s) {
      const int w_at = w0 + s * g.dilation_w;
      if (within(w_at, g.w))
        sum += widen(picture[(std::int64_t{h_at} * g.w + w_at) * g.c]) * widen(filter[r * g.s + s]);
    }
  }
  if (bias != nullptr) sum += widen(bias[k]);
  if (relu && sum < 0) sum = 0;  // NaN passes
  y[i] = narrow<T>(sum);
}

// gx (N H W, C)
template <class T>
GRAFT_KERNEL(kThreads)
depthwise_backward_data_kernel(const ConvShape g, std::int64_t count, const T* __restrict__ gy, const T* __restrict__ w,
                               T* __restrict__ gx) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  const std::int64_t m = g.by_c.divide(i);
  const int channel = static_cast<int>(i - m * g.c), first_filter = channel * g.kg;
  const Position at = position(m, g.by_hw, g.by_w);
  const T* picture = gy + at.n * g.p * g.q * g.k + first_filter;
  const T* filter = w + std::int64_t{first_filter} * g.taps();
  const int h0 = at.row + g.padding_h, w0 = at.col + g.padding_w;
  Compute<T> sum = 0;
  for (int k = 0; k < g.kg; ++k, ++picture)
    for (int r = 0; r < g.r; ++r)
      for (int s = 0; s < g.s; ++s, ++filter) {
        const int h_at = h0 - r * g.dilation_h, w_at = w0 - s * g.dilation_w;
        if (h_at < 0 || w_at < 0) continue;
        const Split p = split(h_at, g.by_stride_h), q = split(w_at, g.by_stride_w);
        if (p.rest == 0 && q.rest == 0 && p.quotient < g.p && q.quotient < g.q)
          sum += widen(picture[(std::int64_t{p.quotient} * g.q + q.quotient) * g.k]) * widen(*filter);
      }
  gx[i] = narrow<T>(sum);
}

constexpr int kCols = 32, kLanes = kThreads / kCols;

// parts (splits, K, R S): a block has 32 filters of one tap and the positions of one part, which its eight rows of
// threads take in turns.
template <class T>
GRAFT_KERNEL(kThreads)
depthwise_backward_weight_kernel(const ConvShape g, const T* __restrict__ x, const T* __restrict__ gy, int part,
                                 Compute<T>* __restrict__ parts) {
  GRAFT_SHARED(sums, Compute<T>[kThreads]);
  const int thread = static_cast<int>(threadIdx.x), lane = thread / kCols;
  const unsigned tiles = static_cast<unsigned>(ceil_div(g.k, kCols)), taps = static_cast<unsigned>(g.taps());
  const int k = static_cast<int>(blockIdx.x % tiles) * kCols + thread % kCols;
  const int tap_at = static_cast<int>(blockIdx.x / tiles % taps);
  const std::int64_t index = blockIdx.x / tiles / taps, first = index * part;
  const std::int64_t all = g.n * g.p * g.q, end = first + part < all ? first + part : all;
  const Split at = split(tap_at, g.by_s);
  const int dh = at.quotient * g.dilation_h - g.padding_h, dw = at.rest * g.dilation_w - g.padding_w;
  Compute<T> sum = 0;
  if (k < g.k) {
    const int channel = g.by_kg.divide(k);
    for (std::int64_t m = first + lane; m < end; m += kLanes) {
      const Position to = position(m, g.by_pq, g.by_q);
      const int h = to.row * g.stride_h + dh, w = to.col * g.stride_w + dw;
      if (within(h, g.h) && within(w, g.w))
        sum += widen(gy[m * g.k + k]) * widen(x[((to.n * g.h + h) * g.w + w) * g.c + channel]);
    }
  }
  sums[thread] = sum;
  __syncthreads();  // the sums are there
  if (lane > 0 || k >= g.k) return;
  for (int i = 1; i < kLanes; ++i) sum += sums[i * kCols + thread];
  parts[(index * g.k + k) * g.taps() + tap_at] = sum;
}

}  // namespace

void depthwise_forward(const Conv2dForwardArgs& args, const ConvShape& g, Stream& stream) {
  const std::int64_t count = args.y.numel();
  visit_floating(args.x.dtype, [&]<class T>(T) {
    launch("depthwise_forward", depthwise_forward_kernel<T>,
           {.grid = dim3(blocks_for(count, kThreads)), .block = dim3(kThreads)}, stream, g, count, args.x.as<T>(),
           args.w.as<T>(), args.bias.as<T>(), args.y.as<T>(), args.activation == Activation::relu);
  });
}

void depthwise_backward_data(const Conv2dBackwardDataArgs& args, const ConvShape& g, Stream& stream) {
  const std::int64_t count = args.gx.numel();
  visit_floating(args.gx.dtype, [&]<class T>(T) {
    launch("depthwise_backward_data", depthwise_backward_data_kernel<T>,
           {.grid = dim3(blocks_for(count, kThreads)), .block = dim3(kThreads)}, stream, g, count, args.gy.as<T>(),
           args.w.as<T>(), args.gx.as<T>());
  });
}

void depthwise_backward_weight(const Conv2dBackwardWeightArgs& args, const ConvShape& g, Stream& stream) {
  const std::int64_t positions = g.n * g.p * g.q, tiles = ceil_div<std::int64_t>(g.k, kCols) * g.r * g.s;
  // Parts of 128 positions at least, blocks enough for a large device, 256 parts at most: by shape only.
  std::int64_t splits = std::min({ceil_div<std::int64_t>(512, tiles), positions / 128, std::int64_t{256}});
  const std::int64_t part = std::max<std::int64_t>(ceil_div(positions, std::max<std::int64_t>(splits, 1)), 1);
  check(part <= std::numeric_limits<std::int32_t>::max(), "conv2d_backward_weight: gy has ", positions,
        " positions, expected below 2^31 a part");
  splits = std::max<std::int64_t>(ceil_div(positions, part), 1);
  visit_floating(args.x.dtype, [&]<class T>(T) {
    const Workspace parts(sizeof(Compute<T>) * static_cast<std::size_t>(splits * args.gw.numel()), stream);
    launch("depthwise_backward_weight", depthwise_backward_weight_kernel<T>,
           {.grid = dim3(blocks_for(tiles * splits, 1)), .block = dim3(kThreads)}, stream, g, args.x.as<T>(),
           args.gy.as<T>(), part, parts.as<Compute<T>>());
    add_parts(parts.as<void>(), static_cast<int>(splits), args.gw, stream);
  });
}

}  // namespace graft::kernels::cuda
