// Batch normalisation on (rows, channels). Every sum is taken over fixed chunks of rows and the chunks meet in double,
// in order: the thread count changes nothing.

#include <algorithm>
#include <cmath>

#include <graft/kernels/cpu/column_reduce.h>
#include <graft/kernels/cpu/common.h>
#include <graft/kernels/cpu/rows.h>

namespace graft::kernels::cpu {
namespace {

// Channels of one task when chunks are combined.
constexpr std::int64_t kChannelBlock = 16;

struct Chunks {
  std::int64_t rows, channels, length, count;

  Chunks(std::int64_t rows_, std::int64_t channels_)
      : rows(rows_),
        channels(channels_),
        length(rows_per_chunk(rows_, channels_)),
        count((rows_ + length - 1) / length) {}

  std::int64_t begin(std::int64_t i) const { return i * length; }
  std::int64_t size(std::int64_t i) const { return std::min(length, rows - i * length); }
  /// Calls f(i) for every chunk, in parallel.
  template <class F>
  void for_each(F&& f) const {
    parallel_for(count, grain_of(length * channels), [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) f(i);
    });
  }
};

// Mean and sum of squared deviations of every channel.
void moments(const float* x, const Chunks& chunks, double* mean, double* m2) {
  const std::int64_t c = chunks.channels;
  const Workspace partial = float_workspace(2 * chunks.count * c);
  float *means = partial.as<float>(), *m2s = means + chunks.count * c;
  const auto kernel = vector_kernels().column_moments;
  chunks.for_each(
      [&](std::int64_t i) { kernel(x + chunks.begin(i) * c, chunks.size(i), c, means + i * c, m2s + i * c); });
  const std::int64_t blocks = (c + kChannelBlock - 1) / kChannelBlock;
  parallel_for(blocks, grain_of(4 * chunks.count * kChannelBlock), [&](std::int64_t first, std::int64_t last) {
    const std::int64_t begin = first * kChannelBlock, end = std::min(c, last * kChannelBlock);
    std::fill(mean + begin, mean + end, 0.0);
    std::fill(m2 + begin, m2 + end, 0.0);
    for (std::int64_t i = 0; i < chunks.count; ++i) {
      const auto n = static_cast<double>(chunks.size(i));
      for (std::int64_t k = begin; k < end; ++k) mean[k] += n * static_cast<double>(means[i * c + k]);
    }
    for (std::int64_t k = begin; k < end; ++k) mean[k] /= static_cast<double>(chunks.rows);
    for (std::int64_t i = 0; i < chunks.count; ++i) {
      const auto n = static_cast<double>(chunks.size(i));
      for (std::int64_t k = begin; k < end; ++k) {
        const double d = static_cast<double>(means[i * c + k]) - mean[k];
        m2[k] += static_cast<double>(m2s[i * c + k]) + n * d * d;
      }
    }
  });
}

float at(const TensorRef& t, std::int64_t i, float otherwise) { return t.defined() ? t.as<float>()[i] : otherwise; }

Support supports(const BatchNormArgs& args) { return contract_and_f32(args, {&args.x}); }

void run(const BatchNormArgs& args, Stream&) {
  const std::int64_t rows = args.x.shape[0], c = args.x.shape[1];
  const Workspace statistics(static_cast<std::size_t>(2 * c) * sizeof(double)), affine = float_workspace(3 * c);
  double *mean = statistics.as<double>(), *var = mean + c;
  float *center = affine.as<float>(), *scale = center + c, *shift = scale + c;
  if (args.training) {
    moments(args.x.as<float>(), Chunks(rows, c), mean, var);
    const auto m = static_cast<double>(rows);
    for (std::int64_t k = 0; k < c; ++k) {
      const double unbiased = var[k] / (m - 1);
      var[k] /= m;
      auto move = [&](const TensorRef& running, double value) {
        if (!running.defined()) return;
        float& r = running.as<float>()[k];
        r = static_cast<float>((1 - args.momentum) * static_cast<double>(r) + args.momentum * value);
      };
      move(args.running_mean, mean[k]);
      move(args.running_var, unbiased);
    }
    if (args.batches.defined()) ++*args.batches.as<std::int64_t>();
  } else {
    for (std::int64_t k = 0; k < c; ++k) {
      mean[k] = static_cast<double>(args.running_mean.as<float>()[k]);
      var[k] = static_cast<double>(args.running_var.as<float>()[k]);
    }
  }
  for (std::int64_t k = 0; k < c; ++k) {
    const double inv = 1 / std::sqrt(var[k] + args.eps);
    if (args.mean.defined()) args.mean.as<float>()[k] = static_cast<float>(mean[k]);
    if (args.inv_std.defined()) args.inv_std.as<float>()[k] = static_cast<float>(inv);
    center[k] = static_cast<float>(mean[k]);
    scale[k] = static_cast<float>(inv * static_cast<double>(at(args.gamma, k, 1)));
    shift[k] = at(args.beta, k, 0);
  }
  const auto kernel = vector_kernels().column_affine;
  parallel_for(rows, grain_of(c), [&](std::int64_t begin, std::int64_t end) {
    kernel(args.x.as<float>() + begin * c, end - begin, c, center, scale, shift, args.y.as<float>() + begin * c);
  });
}

Support supports(const BatchNormBackwardArgs& args) { return contract_and_f32(args, {&args.x}); }

// sum gy and sum gy (x - mean) of every channel.
void gradient_sums(const BatchNormBackwardArgs& args, double* sum_gy, double* sum_gyx) {
  const Chunks chunks(args.x.shape[0], args.x.shape[1]);
  const std::int64_t c = chunks.channels;
  const Workspace partial = float_workspace(2 * chunks.count * c);
  float *gys = partial.as<float>(), *gyxs = gys + chunks.count * c;
  const float *x = args.x.as<float>(), *gy = args.gy.as<float>(), *mean = args.mean.as<float>();
  const auto kernel = vector_kernels().column_grad_sums;
  chunks.for_each([&](std::int64_t i) {
    const std::int64_t from = chunks.begin(i) * c;
    kernel(x + from, gy + from, chunks.size(i), c, mean, gys + i * c, gyxs + i * c);
  });
  const std::int64_t blocks = (c + kChannelBlock - 1) / kChannelBlock;
  parallel_for(blocks, grain_of(2 * chunks.count * kChannelBlock), [&](std::int64_t first, std::int64_t last) {
    const std::int64_t begin = first * kChannelBlock, end = std::min(c, last * kChannelBlock);
    std::fill(sum_gy + begin, sum_gy + end, 0.0);
    std::fill(sum_gyx + begin, sum_gyx + end, 0.0);
    for (std::int64_t i = 0; i < chunks.count; ++i)
      for (std::int64_t k = begin; k < end; ++k) {
        sum_gy[k] += static_cast<double>(gys[i * c + k]);
        sum_gyx[k] += static_cast<double>(gyxs[i * c + k]);
      }
  });
}

void run(const BatchNormBackwardArgs& args, Stream&) {
  const std::int64_t rows = args.x.shape[0], c = args.x.shape[1];
  const Workspace sums(static_cast<std::size_t>(2 * c) * sizeof(double)), factors = float_workspace(3 * c);
  double *sum_gy = sums.as<double>(), *sum_gyx = sum_gy + c;
  float *a = factors.as<float>(), *b = a + c, *d = b + c;
  if (args.training || args.ggamma.defined() || args.gbeta.defined()) gradient_sums(args, sum_gy, sum_gyx);
  for (std::int64_t k = 0; k < c; ++k) {
    const auto inv = static_cast<double>(args.inv_std.as<float>()[k]);
    if (args.ggamma.defined()) args.ggamma.as<float>()[k] = static_cast<float>(sum_gyx[k] * inv);
    if (args.gbeta.defined()) args.gbeta.as<float>()[k] = static_cast<float>(sum_gy[k]);
    const double factor = inv * static_cast<double>(at(args.gamma, k, 1));
    a[k] = static_cast<float>(factor);
    if (!args.training) continue;
    b[k] = static_cast<float>(sum_gy[k] / static_cast<double>(rows));
    d[k] = static_cast<float>(-factor * inv * inv * sum_gyx[k] / static_cast<double>(rows));
  }
  if (!args.gx.defined()) return;
  const auto kernel = vector_kernels().column_grad;
  parallel_for(rows, grain_of(c), [&](std::int64_t begin, std::int64_t end) {
    kernel(args.x.as<float>() + begin * c, args.gy.as<float>() + begin * c, end - begin, c, args.mean.as<float>(), a, b,
           args.training ? d : nullptr, args.gx.as<float>() + begin * c);
  });
}

}  // namespace

void add_batch_norm(BackendTable& table) {
  table.row<BatchNormArgs>() = {supports, run};
  table.row<BatchNormBackwardArgs>() = {supports, run};
}

}  // namespace graft::kernels::cpu
