#include <algorithm>

#include <graft/kernels/reference/internal.h>

namespace graft::kernels::reference {
namespace {

void batch_norm(const BatchNormArgs& args) {
  const Array<double> x = read(args.x);
  const std::int64_t m = x.shape[0], channels = x.shape[1];
  const Array<double> gamma = read_or(args.gamma, {channels}, 1), beta = read_or(args.beta, {channels}, 0);
  Array<double> running_mean = read_or(args.running_mean, {channels}, 0);
  Array<double> running_var = read_or(args.running_var, {channels}, 1);
  Array<double> y(x.shape), mean({channels}), inv_std({channels});
  const auto count = static_cast<double>(m);
  for (std::int64_t c = 0; c < channels; ++c) {
    double var = running_var[c];
    mean[c] = running_mean[c];
    if (args.training) {
      long double sum = 0, squares = 0;
      for (std::int64_t i = 0; i < m; ++i) sum += x(i, c);
      mean[c] = static_cast<double>(sum / count);
      for (std::int64_t i = 0; i < m; ++i) squares += (x(i, c) - mean[c]) * (x(i, c) - mean[c]);
      var = squares / count;
      running_mean[c] = (1 - args.momentum) * running_mean[c] + args.momentum * mean[c];
      running_var[c] = (1 - args.momentum) * running_var[c] + args.momentum * squares / std::max(count - 1, 1.0);
    }
    inv_std[c] = 1 / std::sqrt(var + args.eps);
    for (std::int64_t i = 0; i < m; ++i) y(i, c) = gamma[c] * (x(i, c) - mean[c]) * inv_std[c] + beta[c];
  }
  write(y, args.y);
  write_if(mean, args.mean);
  write_if(inv_std, args.inv_std);
  if (args.training) {
    write_if(running_mean, args.running_mean);
    write_if(running_var, args.running_var);
    if (args.batches.defined()) ++*args.batches.as<std::int64_t>();
  }
}

void batch_norm_backward(const BatchNormBackwardArgs& args) {
  const Array<double> x = read(args.x), gy = read(args.gy), mean = read(args.mean), inv_std = read(args.inv_std);
  const std::int64_t m = x.shape[0], channels = x.shape[1];
  const Array<double> gamma = read_or(args.gamma, {channels}, 1);
  Array<double> gx(x.shape), ggamma({channels}), gbeta({channels});
  const auto count = static_cast<double>(m);
  for (std::int64_t c = 0; c < channels; ++c) {
    auto xhat = [&](std::int64_t i) { return (x(i, c) - mean[c]) * inv_std[c]; };
    for (std::int64_t i = 0; i < m; ++i) {
      ggamma[c] += gy(i, c) * xhat(i);
      gbeta[c] += gy(i, c);
    }
    for (std::int64_t i = 0; i < m; ++i) {
      double g = gy(i, c);
      if (args.training) g -= gbeta[c] / count + xhat(i) * ggamma[c] / count;
      gx(i, c) = gamma[c] * inv_std[c] * g;
    }
  }
  write_if(gx, args.gx);
  write_if(ggamma, args.ggamma);
  write_if(gbeta, args.gbeta);
}

void layer_norm(const LayerNormArgs& args) {
  const Array<double> x = read(args.x);
  const std::int64_t rows = x.shape[0], n = x.shape[1];
  const Array<double> gamma = read_or(args.gamma, {n}, 1), beta = read_or(args.beta, {n}, 0);
  Array<double> y(x.shape), mean({rows}), inv_std({rows});
  const auto count = static_cast<double>(n);
  for (std::int64_t i = 0; i < rows; ++i) {
    long double sum = 0, squares = 0;
    for (std::int64_t j = 0; j < n; ++j) sum += x(i, j);
    mean[i] = static_cast<double>(sum / count);
    for (std::int64_t j = 0; j < n; ++j) squares += (x(i, j) - mean[i]) * (x(i, j) - mean[i]);
    inv_std[i] = 1 / std::sqrt(squares / count + args.eps);
    for (std::int64_t j = 0; j < n; ++j) y(i, j) = gamma[j] * (x(i, j) - mean[i]) * inv_std[i] + beta[j];
  }
  write(y, args.y);
  write(mean, args.mean);
  write(inv_std, args.inv_std);
}

// With h = gamma gy:  gx = inv_std (h - mean(h) - xhat mean(h xhat)), the means over the row.
void layer_norm_backward(const LayerNormBackwardArgs& args) {
  const Array<double> x = read(args.x), gy = read(args.gy), mean = read(args.mean), inv_std = read(args.inv_std);
  const std::int64_t rows = x.shape[0], n = x.shape[1];
  const Array<double> gamma = read_or(args.gamma, {n}, 1);
  Array<double> gx(x.shape), ggamma({n}), gbeta({n});
  const auto count = static_cast<double>(n);
  for (std::int64_t i = 0; i < rows; ++i) {
    auto xhat = [&](std::int64_t j) { return (x(i, j) - mean[i]) * inv_std[i]; };
    double sum_h = 0, sum_h_xhat = 0;
    for (std::int64_t j = 0; j < n; ++j) {
      ggamma[j] += gy(i, j) * xhat(j);
      gbeta[j] += gy(i, j);
      sum_h += gamma[j] * gy(i, j);
      sum_h_xhat += gamma[j] * gy(i, j) * xhat(j);
    }
    for (std::int64_t j = 0; j < n; ++j)
      gx(i, j) = inv_std[i] * (gamma[j] * gy(i, j) - sum_h / count - xhat(j) * sum_h_xhat / count);
  }
  write_if(gx, args.gx);
  write_if(ggamma, args.ggamma);
  write_if(gbeta, args.gbeta);
}

}  // namespace

void add_norm(BackendTable& table) {
  add<batch_norm>(table);
  add<batch_norm_backward>(table);
  add<layer_norm>(table);
  add<layer_norm_backward>(table);
}

}  // namespace graft::kernels::reference
