// Batch normalisation of (M, C), channels innermost.
//
// Training: one pass adds up, for every channel, deviations and their squares; its last block of a channel keeps mean
// and inv_std and moves the running statistics; a second pass normalises. The backward is alike: sums of gy and
// gy (x - mean), and a pass for gx. All passes walk tiles of columns (columns.cuh), 16 bytes at a time where the
// channels allow it.
//
// No digits are lost to a large mean. A thread counts its deviations from the first value that it meets: its sums, of
// 128 terms at most, are in float, and sum d^2 is at most 129 times the squared deviations from its own mean, so that
// the variance has about 129 * 129 epsilons at the worst (a first value far from all others) and as a rule a few. Then,
// in double, all of them are moved to one shift for the channel, the middle of three of its values, so that merging them
// is adding plain sums without divisions; the last subtraction makes their roundings rows + 1 times larger at the worst,
// and as a rule a few times (moments.cuh).
#include <cmath>

#include <graft/kernels/cuda/rows.h>
#include <graft/kernels/cuda/columns.cuh>
#include <graft/kernels/cuda/moments.cuh>

namespace graft::kernels::cuda {
namespace {

/// What all deviations of a column are moved to: the middle one of its values in the first, middle and last row, of which
/// there must be one at least. So one value far from all others is not it.
template <class T>
GRAFT_DEVICE double column_shift(const T* x, std::int64_t rows, std::int64_t columns, std::int64_t column) {
  const auto at = [&](std::int64_t row) { return finite_or_zero(widen(x[row * columns + column])); };
  const auto a = at(0), b = at(rows / 2), c = at(rows - 1);
  const auto less = a < b ? a : b, more = a < b ? b : a, most = more < c ? more : c;
  return static_cast<double>(less < most ? most : less);
}

/// What becomes of a channel's sums. T is x's dtype, W the statistics'.
template <class T, class W>
struct FinishMoments {
  const T* x;
  W *mean, *inv_std;
  W *running_mean, *running_var;  // or nullptr
  std::int64_t* batches;          // or nullptr
  std::int64_t rows, columns;
  double momentum, eps;

  GRAFT_DEVICE void operator()(std::int64_t c, const Sums& sums) const {
    const auto count = static_cast<double>(rows);
    const double center = rows > 0 ? column_shift(x, rows, columns, c) + sums.first / count : 0;
    const double m2 = rows > 0 ? squared_deviations(sums, count) : 0;
    mean[c] = static_cast<W>(center);
    inv_std[c] = static_cast<W>(1 / std::sqrt(m2 / count + eps));
    if (running_mean != nullptr)
      running_mean[c] = static_cast<W>((1 - momentum) * static_cast<double>(running_mean[c]) + momentum * center);
    const double unbiased = m2 / (rows > 1 ? count - 1 : 1.0);
    if (running_var != nullptr)
      running_var[c] = static_cast<W>((1 - momentum) * static_cast<double>(running_var[c]) + momentum * unbiased);
    if (batches != nullptr && c == 0) ++*batches;
  }
};

template <class T, int V>
GRAFT_KERNEL_RESIDENT(kColumnThreads, 2)  // for six of its own choice, in double, ptxas would spill
batch_norm_moments(const T* x, ColumnGrid grid, ColumnScratch::Refs scratch, FinishMoments<T, Compute<T>> finish) {
  using C = Compute<T>;
  const ColumnPlace place = column_place<V>(grid);
  const auto load = [&](std::int64_t row) { return load_vector<V>(x + row * grid.columns + place.column); };
  C shift[V] = {}, sum[V] = {}, squares[V] = {};
  if (place.begin < place.end) {
    const Vector<T, V> first = load(place.begin);
    GRAFT_UNROLL
    for (int v = 0; v < V; ++v) shift[v] = finite_or_zero(widen(first.at[v]));
  }
  for_rows(place, load, [&](std::int64_t, const Vector<T, V>& value) {
    GRAFT_UNROLL
    for (int v = 0; v < V; ++v) {
      const C d = widen(value.at[v]) - shift[v];
      sum[v] += d;
      squares[v] += d * d;
    }
  });
  Sums mine[V] = {};
  if (place.begin < place.end) {
    const auto count = static_cast<double>((place.end - place.begin + place.step - 1) / place.step);
    GRAFT_UNROLL
    for (int v = 0; v < V; ++v)
      mine[v] = sums_from(column_shift(x, grid.rows, grid.columns, place.column + v), static_cast<double>(shift[v]), count,
                          static_cast<double>(sum[v]), static_cast<double>(squares[v]));
  }
  finish_columns<V>(grid, place, mine, scratch, finish);
}

template <class W>
struct Normalisation {
  const W *gamma, *beta;    // or nullptr: 1 and 0
  const W *mean, *inv_std;  // inv_std nullptr in inference: from var then, and
  const W* var;
  W *mean_out, *inv_std_out;  // kept here where not nullptr
  double eps;
};

template <class T, int V>
GRAFT_KERNEL(kColumnThreads)
batch_norm_apply(const T* x, T* y, ColumnGrid grid, Normalisation<Compute<T>> norm) {
  using C = Compute<T>;
  const ColumnPlace place = column_place<V>(grid);
  if (place.column >= grid.columns) return;
  C center[V], scale[V], offset[V];
  GRAFT_UNROLL
  for (int v = 0; v < V; ++v) {
    const std::int64_t c = place.column + v;
    const C inv_std = norm.inv_std != nullptr ? norm.inv_std[c] : 1 / std::sqrt(norm.var[c] + static_cast<C>(norm.eps));
    center[v] = norm.mean[c];
    scale[v] = norm.gamma != nullptr ? norm.gamma[c] * inv_std : inv_std;
    offset[v] = norm.beta != nullptr ? norm.beta[c] : C(0);
    if (place.split == 0 && static_cast<int>(threadIdx.x) < grid.lanes) {
      if (norm.mean_out != nullptr) norm.mean_out[c] = center[v];
      if (norm.inv_std_out != nullptr) norm.inv_std_out[c] = inv_std;
    }
  }
  for_rows(
      place, [&](std::int64_t row) { return load_vector<V>(x + row * grid.columns + place.column); },
      [&](std::int64_t row, const Vector<T, V>& value) {
        Vector<T, V> result;
        GRAFT_UNROLL
        for (int v = 0; v < V; ++v) result.at[v] = narrow<T>((widen(value.at[v]) - center[v]) * scale[v] + offset[v]);
        store_vector<V>(y + row * grid.columns + place.column, result);
      });
}

void run_batch_norm(const BatchNormArgs& args, Stream& stream) {
  const std::int64_t rows = args.x.shape[0], channels = args.x.shape[1];
  if (channels == 0 || (rows == 0 && !args.mean.defined() && !args.inv_std.defined())) return;
  visit_floating(args.x.dtype, [&]<class T>(T) {
    using W = Compute<T>;
    const T* x = args.x.as<T>();
    T* y = args.y.as<T>();
    Normalisation<W> norm{args.gamma.as<W>(),
                          args.beta.as<W>(),
                          args.mean.as<W>(),
                          args.inv_std.as<W>(),
                          nullptr,
                          nullptr,
                          nullptr,
                          args.eps};
    if (!args.training) {
      norm.mean = args.running_mean.as<W>();
      norm.inv_std = nullptr;
      norm.var = args.running_var.as<W>();
      norm.mean_out = args.mean.as<W>();
      norm.inv_std_out = args.inv_std.as<W>();
    }
    visit_width<T>(rows_allow_vectors<T>(channels, {x, y}), [&]<int V>(Constant<V>) {
      const ColumnGrid grid = column_grid(rows, channels, V);
      const LaunchConfig config{.grid = grid.blocks(), .block = dim3(kColumnThreads)};
      if (args.training) {
        const ColumnScratch scratch(grid, stream);
        const FinishMoments<T, W> finish{x,
                                         args.mean.as<W>(),
                                         args.inv_std.as<W>(),
                                         args.running_mean.as<W>(),
                                         args.running_var.as<W>(),
                                         args.batches.as<std::int64_t>(),
                                         rows,
                                         channels,
                                         args.momentum,
                                         args.eps};
        launch("batch_norm_statistics", batch_norm_moments<T, V>, config, stream, x, grid, scratch.refs(), finish);
      }
      launch("batch_norm_apply", batch_norm_apply<T, V>, config, stream, x, y, grid, norm);
    });
  });
}

// --- backward -------------------------------------------------------------------------------------------------------

/// The gradients of gamma and beta, and what gx needs of the sums: mean(gy) and inv_std^2 mean(gy (x - mean)).
template <class W>
struct FinishGradients {
  const W* inv_std;
  W *ggamma, *gbeta, *means;  // means (2, C); each may be nullptr
  std::int64_t rows, columns;

  GRAFT_DEVICE void operator()(std::int64_t c, const Sums& sums) const {
    const auto inv = static_cast<double>(inv_std[c]), count = static_cast<double>(rows);
    if (ggamma != nullptr) ggamma[c] = static_cast<W>(sums.second * inv);
    if (gbeta != nullptr) gbeta[c] = static_cast<W>(sums.first);
    if (means == nullptr) return;
    means[c] = static_cast<W>(sums.first / count);
    means[columns + c] = static_cast<W>(sums.second / count * inv * inv);
  }
};

/// Sums of gy and of gy (x - mean).
template <class T, int V>
GRAFT_KERNEL(kColumnThreads)
batch_norm_gradient_sums(const T* x, const T* gy, const Compute<T>* mean, ColumnGrid grid, ColumnScratch::Refs scratch,
                         FinishGradients<Compute<T>> finish) {
  using C = Compute<T>;
  const ColumnPlace place = column_place<V>(grid);
  C center[V] = {}, sum[V] = {}, product[V] = {};
  if (place.begin < place.end) {
    GRAFT_UNROLL
    for (int v = 0; v < V; ++v) center[v] = mean[place.column + v];
  }
  for_rows(
      place,
      [&](std::int64_t row) {
        const std::int64_t at = row * grid.columns + place.column;
        return VectorPair<T, V>{load_vector<V>(x + at), load_vector<V>(gy + at)};
      },
      [&](std::int64_t, const VectorPair<T, V>& value) {
        GRAFT_UNROLL
        for (int v = 0; v < V; ++v) {
          const C g = widen(value.second.at[v]);
          sum[v] += g;
          product[v] += g * (widen(value.first.at[v]) - center[v]);
        }
      });
  Sums mine[V];
  GRAFT_UNROLL
  for (int v = 0; v < V; ++v) mine[v] = {static_cast<double>(sum[v]), static_cast<double>(product[v])};
  finish_columns<V>(grid, place, mine, scratch, finish);
}

/// Training (means defined): gx = gamma inv_std (gy - means[0] - (x - mean) means[1]); inference: gamma inv_std gy.
template <class T, int V>
GRAFT_KERNEL(kColumnThreads)
batch_norm_backward_data(const T* x, const T* gy, const Compute<T>* gamma, const Compute<T>* mean,
                         const Compute<T>* inv_std, const Compute<T>* means, T* gx, ColumnGrid grid) {
  using C = Compute<T>;
  const ColumnPlace place = column_place<V>(grid);
  if (place.column >= grid.columns) return;
  C center[V] = {}, factor[V], first[V] = {}, second[V] = {};
  GRAFT_UNROLL
  for (int v = 0; v < V; ++v) {
    const std::int64_t c = place.column + v;
    factor[v] = gamma != nullptr ? gamma[c] * inv_std[c] : inv_std[c];
    if (means == nullptr) continue;
    center[v] = mean[c];
    first[v] = means[c];
    second[v] = means[grid.columns + c];
  }
  for_rows(
      place,
      [&](std::int64_t row) {
        const std::int64_t at = row * grid.columns + place.column;
        VectorPair<T, V> loaded{{}, load_vector<V>(gy + at)};
        if (means != nullptr) loaded.first = load_vector<V>(x + at);
        return loaded;
      },
      [&](std::int64_t row, const VectorPair<T, V>& value) {
        Vector<T, V> result;
        GRAFT_UNROLL
        for (int v = 0; v < V; ++v) {
          C g = widen(value.second.at[v]);
          if (means != nullptr) g -= first[v] + (widen(value.first.at[v]) - center[v]) * second[v];
          result.at[v] = narrow<T>(factor[v] * g);
        }
        store_vector<V>(gx + row * grid.columns + place.column, result);
      });
}

void run_batch_norm_backward(const BatchNormBackwardArgs& args, Stream& stream) {
  const std::int64_t rows = args.x.shape[0], channels = args.x.shape[1];
  if (channels == 0) return;
  const bool means_needed = args.training && args.gx.defined() && rows > 0;
  const bool sums_needed = means_needed || args.ggamma.defined() || args.gbeta.defined();
  visit_floating(args.x.dtype, [&]<class T>(T) {
    using W = Compute<T>;
    const T *x = args.x.as<T>(), *gy = args.gy.as<T>();
    T* gx = args.gx.as<T>();
    const W *mean = args.mean.as<W>(), *inv_std = args.inv_std.as<W>();
    const Workspace means(means_needed ? static_cast<std::size_t>(2 * channels) * sizeof(W) : 0, stream);
    visit_width<T>(rows_allow_vectors<T>(channels, {x, gy, gx}), [&]<int V>(Constant<V>) {
      const ColumnGrid grid = column_grid(rows, channels, V);
      const LaunchConfig config{.grid = grid.blocks(), .block = dim3(kColumnThreads)};
      if (sums_needed) {
        const ColumnScratch scratch(grid, stream);
        const FinishGradients<W> finish{inv_std, args.ggamma.as<W>(), args.gbeta.as<W>(), means.as<W>(), rows,
                                        channels};
        launch("batch_norm_gradients", batch_norm_gradient_sums<T, V>, config, stream, x, gy, mean, grid,
               scratch.refs(), finish);
      }
      if (gx != nullptr)
        launch("batch_norm_backward_data", batch_norm_backward_data<T, V>, config, stream, x, gy, args.gamma.as<W>(),
               mean, inv_std, means.as<W>(), gx, grid);
    });
  });
}

}  // namespace

void add_batch_norm(BackendTable& table) {
  table.row<BatchNormArgs>() = row(run_batch_norm);
  table.row<BatchNormBackwardArgs>() = row(run_batch_norm_backward);
}

}  // namespace graft::kernels::cuda
