// Batch normalisation (Ioffe and Szegedy, 2015), forward and backward.
//
// Training forward: mean and variance of each channel by Welford's update, which a large mean does not disturb, merged
// as Chan, Golub and LeVeque (1983) do (columns.cuh); then one pass y = (x - mean) scale + shift. Backward: the two
// sums of a channel, then one pass.
#include <graft/kernels/cuda/rows.h>
#include <graft/kernels/cuda/columns.cuh>
#include <graft/kernels/cuda/elementwise.cuh>

namespace graft::kernels::cuda {
namespace {

/// Count, mean and sum of squared distances from the mean.
template <class C>
struct Welford {
  C count, mean, m2;

  GRAFT_DEVICE static Welford nothing() { return {0, 0, 0}; }
  GRAFT_DEVICE void add(C x) {
    count += 1;
    const C distance = x - mean;
    mean += distance / count;
    m2 += distance * (x - mean);
  }
  GRAFT_DEVICE void merge(const Welford& later) {
    if (later.count == 0) return;
    const C total = count + later.count, distance = later.mean - mean, share = later.count / total;
    mean += distance * share;
    m2 += later.m2 + distance * distance * count * share;
    count = total;
  }
};

template <class T>
struct AddElement {
  const T* x;
  std::int64_t n;
  GRAFT_DEVICE void add(Welford<Compute<T>>& state, std::int64_t row, std::int64_t column) const {
    state.add(widen(x[row * n + column]));
  }
};

/// What a channel is normalised by, from its statistics. Pointers may be null where the tensor is undefined.
template <class C>
struct Channel {
  const C *gamma, *beta;
  C *mean, *inv_std;              // kept for the backward
  C *running_mean, *running_var;  // training moves them
  C *center, *scale, *shift;      // y = (x - center) scale + shift
  C momentum, eps;

  GRAFT_DEVICE void normalise_by(std::int64_t c, C channel_mean, C variance) const {
    const C inverse = C(1) / std::sqrt(variance + eps);
    if (mean != nullptr) mean[c] = channel_mean;
    if (inv_std != nullptr) inv_std[c] = inverse;
    center[c] = channel_mean;
    scale[c] = gamma != nullptr ? gamma[c] * inverse : inverse;
    shift[c] = beta != nullptr ? beta[c] : C(0);
  }
  // Training.
  GRAFT_DEVICE void operator()(std::int64_t c, const Welford<C>& batch) const {
    normalise_by(c, batch.mean, batch.m2 / batch.count);
    const C unbiased = batch.m2 / (batch.count > 1 ? batch.count - 1 : C(1));
    if (running_mean != nullptr) running_mean[c] = (1 - momentum) * running_mean[c] + momentum * batch.mean;
    if (running_var != nullptr) running_var[c] = (1 - momentum) * running_var[c] + momentum * unbiased;
  }
};

template <class C>
GRAFT_KERNEL(kColumnThreads)
batch_norm_channels(Channel<C> channel, std::int64_t n) {
  const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * kColumnThreads + threadIdx.x;
  if (c < n) channel.normalise_by(c, channel.running_mean[c], channel.running_var[c]);
}

struct Normalise {
  template <class C>
  GRAFT_DEVICE C operator()(C x, C center, C scale, C shift) const {
    return (x - center) * scale + shift;
  }
};

void run_batch_norm(const BatchNormArgs& args, Stream& stream) {
  const std::int64_t rows = args.x.shape[0], n = args.x.shape[1];
  if (n == 0) return;
  visit_floating(args.x.dtype, [&]<class T>(T) {
    using C = Compute<T>;
    Workspace workspace(static_cast<std::size_t>(3 * n) * sizeof(C), stream);
    C* space = workspace.as<C>();
    const Channel<C> channel = {.gamma = args.gamma.as<C>(),
                                .beta = args.beta.as<C>(),
                                .mean = args.mean.as<C>(),
                                .inv_std = args.inv_std.as<C>(),
                                .running_mean = args.running_mean.as<C>(),
                                .running_var = args.running_var.as<C>(),
                                .center = space,
                                .scale = space + n,
                                .shift = space + 2 * n,
                                .momentum = static_cast<C>(args.momentum),
                                .eps = static_cast<C>(args.eps)};
    if (args.training)
      reduce_columns<Welford<C>>(stream, "batch_norm_statistics", "batch_norm_channels", rows, n,
                                 AddElement<T>{args.x.as<T>(), n}, channel);
    else
      launch("batch_norm_channels", batch_norm_channels<C>,
             {.grid = dim3(blocks_for(n, kColumnThreads)), .block = dim3(kColumnThreads)}, stream, channel, n);
    elementwise(stream, "batch_norm_forward", Normalise{},
                Elements<T, T, C, C, C>{args.y,
                                        {args.x, per_column(channel.center, rows, n),
                                         per_column(channel.scale, rows, n), per_column(channel.shift, rows, n)}});
  });
}

// --- backward -------------------------------------------------------------------------------------------------------

template <class T>
struct AddGradient {
  const T *x, *gy;
  const Compute<T>*mean, *inv_std;
  std::int64_t n;
  GRAFT_DEVICE void add(GradientSums<Compute<T>>& sums, std::int64_t row, std::int64_t column) const {
    const Compute<T> g = widen(gy[row * n + column]);
    sums.gy += g;
    sums.gy_xhat += g * ((widen(x[row * n + column]) - mean[column]) * inv_std[column]);
  }
};

/// gx = scale (gy - offset - (x - mean) slope).
template <class C>
struct ChannelGradient {
  const C *gamma, *inv_std;
  C *ggamma, *gbeta;          // null where undefined
  C *scale, *offset, *slope;  // null where gx is
  C rows;
  GRAFT_DEVICE void operator()(std::int64_t c, const GradientSums<C>& sums) const {
    if (ggamma != nullptr) ggamma[c] = sums.gy_xhat;
    if (gbeta != nullptr) gbeta[c] = sums.gy;
    if (scale == nullptr) return;
    scale[c] = gamma != nullptr ? gamma[c] * inv_std[c] : inv_std[c];
    offset[c] = sums.gy / rows;
    slope[c] = inv_std[c] * (sums.gy_xhat / rows);
  }
};

struct TrainingGradient {
  template <class C>
  GRAFT_DEVICE C operator()(C x, C gy, C mean, C scale, C offset, C slope) const {
    return scale * (gy - offset - (x - mean) * slope);
  }
};

struct InferenceGradient {
  template <class C>
  GRAFT_DEVICE C operator()(C gy, C inv_std, C gamma) const {
    return gamma * inv_std * gy;
  }
};
struct UnscaledInferenceGradient {
  template <class C>
  GRAFT_DEVICE C operator()(C gy, C inv_std) const {
    return inv_std * gy;
  }
};

void run_batch_norm_backward(const BatchNormBackwardArgs& args, Stream& stream) {
  const std::int64_t rows = args.x.shape[0], n = args.x.shape[1];
  if (n == 0) return;
  visit_floating(args.x.dtype, [&]<class T>(T) {
    using C = Compute<T>;
    const bool coefficients = args.gx.defined() && args.training;
    const C* mean = args.mean.as<C>();
    Workspace workspace(coefficients ? static_cast<std::size_t>(3 * n) * sizeof(C) : 0, stream);
    C* space = workspace.as<C>();
    const ChannelGradient<C> channel = {.gamma = args.gamma.as<C>(),
                                        .inv_std = args.inv_std.as<C>(),
                                        .ggamma = args.ggamma.as<C>(),
                                        .gbeta = args.gbeta.as<C>(),
                                        .scale = space,
                                        .offset = coefficients ? space + n : nullptr,
                                        .slope = coefficients ? space + 2 * n : nullptr,
                                        .rows = static_cast<C>(rows)};
    if (coefficients || args.ggamma.defined() || args.gbeta.defined())
      reduce_columns<GradientSums<C>>(stream, "batch_norm_backward_sums", "batch_norm_backward_channels", rows, n,
                                      AddGradient<T>{args.x.as<T>(), args.gy.as<T>(), mean, channel.inv_std, n},
                                      channel);
    if (!args.gx.defined()) return;
    const auto column = [&](const C* values) { return per_column(values, rows, n); };
    if (args.training)
      elementwise(stream, "batch_norm_backward", TrainingGradient{},
                  Elements<T, T, T, C, C, C, C>{args.gx,
                                                {args.x, args.gy, column(mean), column(channel.scale),
                                                 column(channel.offset), column(channel.slope)}});
    else if (args.gamma.defined())
      elementwise(stream, "batch_norm_backward", InferenceGradient{},
                  Elements<T, T, C, C>{args.gx, {args.gy, column(channel.inv_std), column(channel.gamma)}});
    else
      elementwise(stream, "batch_norm_backward", UnscaledInferenceGradient{},
                  Elements<T, T, C>{args.gx, {args.gy, column(channel.inv_std)}});
  });
}

}  // namespace

void add_batch_norm(BackendTable& table) {
  table.row<BatchNormArgs>() = row(run_batch_norm);
  table.row<BatchNormBackwardArgs>() = row(run_batch_norm_backward);
}

}  // namespace graft::kernels::cuda
