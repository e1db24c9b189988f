// What the convolution kernels know of their shapes: sizes in 32 bits, and where the taps of a filter lie.
#pragma once

#include <graft/kernels/api/conv2d.h>
#include <graft/kernels/cuda/fast_divisor.cuh>

namespace graft::kernels::cuda {

/// x (N, H, W, C), w (K, R, S, cg), y (N, P, Q, K) as they lie in memory; cg = C / groups, kg = K / groups.
struct ConvShape {
  std::int64_t n;
  int c, h, w, k, p, q, r, s, cg, kg, groups;
  int stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w;
  FastDivisor by_hw, by_w, by_pq, by_q, by_s, by_c, by_k, by_cg, by_kg, by_stride_h, by_stride_w;

  GRAFT_DEVICE int taps() const { return r * s; }
};

inline constexpr std::int64_t kConvSizeLimit = std::int64_t{1} << 30;

/// Sizes that the kernels count in 32 bits: those of one picture and of one filter. Pictures and elements may be more.
inline Support conv_sizes_fit(const TensorRef& x, const TensorRef& w, const TensorRef& y, const Conv2dGeometry& g) {
  const std::int64_t sizes[] = {x.shape[1],
                                w.shape[0],
                                x.shape[2] * x.shape[3],
                                y.shape[2] * y.shape[3],
                                w.shape[1] * w.shape[2] * w.shape[3],
                                w.shape[0] / g.groups * w.shape[2] * w.shape[3],
                                x.shape[2] + 2 * g.padding_h,
                                x.shape[3] + 2 * g.padding_w};
  for (const std::int64_t size : sizes)
    if (size >= kConvSizeLimit)
      return Support::no(
          cat("takes channels, positions of a padded picture and elements of a filter below 2^30 each, got ",
              to_string(x), " and filters ", to_string(w)));
  return Support::yes();
}

inline ConvShape conv_shape(const TensorRef& x, const TensorRef& w, const TensorRef& y, const Conv2dGeometry& g) {
  // A stride or dilation beyond the padded picture has a single position or tap, so that its value does not matter.
  const auto bounded = [](std::int64_t size) { return static_cast<int>(std::min(size, kConvSizeLimit)); };
  ConvShape s{};
  s.n = x.shape[0];
  s.c = bounded(x.shape[1]);
  s.h = bounded(x.shape[2]);
  s.w = bounded(x.shape[3]);
  s.k = bounded(w.shape[0]);
  s.r = bounded(w.shape[2]);
  s.s = bounded(w.shape[3]);
  s.p = bounded(y.shape[2]);
  s.q = bounded(y.shape[3]);
  s.groups = bounded(g.groups);
  s.cg = bounded(w.shape[1]);
  s.kg = s.k / s.groups;
  s.stride_h = bounded(g.stride_h);
  s.stride_w = bounded(g.stride_w);
  s.padding_h = bounded(g.padding_h);
  s.padding_w = bounded(g.padding_w);
  s.dilation_h = bounded(g.dilation_h);
  s.dilation_w = bounded(g.dilation_w);
  s.by_hw = FastDivisor(std::int64_t{s.h} * s.w);
  s.by_w = FastDivisor(s.w);
  s.by_pq = FastDivisor(std::int64_t{s.p} * s.q);
  s.by_q = FastDivisor(s.q);
  s.by_s = FastDivisor(s.s);
  s.by_c = FastDivisor(s.c);
  s.by_k = FastDivisor(s.k);
  s.by_cg = FastDivisor(s.cg);
  s.by_kg = FastDivisor(s.kg);
  s.by_stride_h = FastDivisor(s.stride_h);
  s.by_stride_w = FastDivisor(s.stride_w);
  return s;
}

/// One thing that a filter sums over: a tap (r, s) and a channel.
struct Tap {
  int r, s, channel;
};
/// Element `i` of (R, S, channels).
GRAFT_DEVICE Tap tap(const ConvShape& g, int i, const FastDivisor& by_channels) {
  const Split channel = split(i, by_channels), at = split(channel.quotient, g.by_s);
  return {at.quotient, at.rest, channel.rest};
}

GRAFT_DEVICE bool within(int i, int size) { return static_cast<unsigned>(i) < static_cast<unsigned>(size); }

/// The kernels of depthwise convolutions (cg = 1), and those of all others.
inline bool is_depthwise(const ConvShape& g) { return g.groups > 1 && g.cg == 1; }

// conv2d_backward_data.cu, conv2d_backward_weight.cu, conv2d_depthwise.cu
void conv2d_backward_data(const Conv2dBackwardDataArgs& args, Stream& stream);
void conv2d_backward_weight(const Conv2dBackwardWeightArgs& args, Stream& stream);
void depthwise_forward(const Conv2dForwardArgs& args, const ConvShape& g, Stream& stream);
void depthwise_backward_data(const Conv2dBackwardDataArgs& args, const ConvShape& g, Stream& stream);
void depthwise_backward_weight(const Conv2dBackwardWeightArgs& args, const ConvShape& g, Stream& stream);
/// gbias (K): the sum of gy over pictures and positions.
void conv2d_bias_gradient(const TensorRef& gy, const TensorRef& gbias, Stream& stream);
/// to[i] = the sum of parts[0..splits)[i], in a fixed order; parts (splits, count) are of Compute<dtype>.
void add_parts(const void* parts, int splits, const TensorRef& to, Stream& stream);

}  // namespace graft::kernels::cuda
