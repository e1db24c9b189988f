// Layer normalisation over rows, forward and backward.
//
// A row lies in the registers of a warp or of a block (rows.cuh); longer rows are read again for each step, mostly from
// cache. Deviations are taken from the row's first element, so that a large mean costs no digits; mean and variance of
// the deviations follow in two steps. Where the first element is far from all others it is the variance, which makes up
// for what the others lose. The gradients of gamma and beta are sums down the columns (columns.cuh).
#include <cmath>

#include <graft/kernels/cuda/rows.h>
#include <graft/kernels/cuda/columns.cuh>
#include <graft/kernels/cuda/moments.cuh>

namespace graft::kernels::cuda {
namespace {

constexpr int kWide = 512;  // threads of a row that does not fit the registers

template <class T>
struct LayerNormRows {
  const T *x, *gamma, *beta;  // gamma and beta may be nullptr: 1 and 0
  T* y;
  Compute<T>*mean, *inv_std;
  std::int64_t rows, n;
  double eps;
};

/// y of the thread's elements, from (x - mean) inv_std; `base` is where this part of the row begins.
template <int Lanes, int V, int E, class T>
GRAFT_DEVICE void finish_row(const LayerNormRows<T>& r, std::int64_t row, std::int64_t base, int count,
                             const Compute<T> (&normalised)[E]) {
  GRAFT_UNROLL
  for (int i = 0; i < E / V; ++i) {
    const int column = vector_column<Lanes, V>(i);
    if (column >= count) continue;
    Vector<T, V> gamma{}, beta{}, result;
    if (r.gamma != nullptr) gamma = load_vector<V>(r.gamma + base + column);
    if (r.beta != nullptr) beta = load_vector<V>(r.beta + base + column);
    GRAFT_UNROLL
    for (int j = 0; j < V; ++j) {
      Compute<T> value = normalised[i * V + j];
      if (r.gamma != nullptr) value *= widen(gamma.at[j]);
      if (r.beta != nullptr) value += widen(beta.at[j]);
      result.at[j] = narrow<T>(value);
    }
    store_vector<V>(r.y + row * r.n + base + column, result);
  }
}

/// Adds the thread's part of sum(x - shift) or of sum((x - shift)^2); the elements beyond the row hold no part of it.
template <int Lanes, int V, int E, class C>
GRAFT_DEVICE C sum_of_squares(const C (&deviation)[E], C mean, int count) {
  C sum = 0;
  GRAFT_UNROLL
  for (int i = 0; i < E; ++i) {
    const C d = vector_column<Lanes, V>(i / V) < count ? deviation[i] - mean : C(0);
    sum += d * d;
  }
  return sum;
}

template <class T, int Lanes, int V, int E>
GRAFT_KERNEL(kRowThreads<Lanes>)
layer_norm_rows(const LayerNormRows<T> r) {
  using C = Compute<T>;
  GRAFT_SHARED(scratch, C[2][Lanes / kWarp]);
  const int n = static_cast<int>(r.n);
  const C count = static_cast<C>(n);
  if (const std::int64_t row = row_of_thread<Lanes>(); row < r.rows) {
    const T* x = r.x + row * r.n;
    const C shift = finite_or_zero(widen(x[0]));
    C value[E], sum = 0;
    load_row<Lanes, V>(x, n, shift, value);
    GRAFT_UNROLL
    for (int i = 0; i < E; ++i) {
      value[i] -= shift;
      sum += value[i];
    }
    const C mean = row_reduce<Lanes>(sum, scratch[0], Add{}) / count;
    const C squares = row_reduce<Lanes>(sum_of_squares<Lanes, V>(value, mean, n), scratch[1], Add{});
    const C inv_std = 1 / std::sqrt(squares / count + static_cast<C>(r.eps));
    GRAFT_UNROLL
    for (int i = 0; i < E; ++i) value[i] = (value[i] - mean) * inv_std;
    finish_row<Lanes, V>(r, row, 0, n, value);
    if (threadIdx.x % Lanes == 0) {
      r.mean[row] = shift + mean;
      r.inv_std[row] = inv_std;
    }
  }
}

template <class T, int V>
GRAFT_KERNEL_RESIDENT(kWide, 2)  // for three ptxas would spill
layer_norm_wide(const LayerNormRows<T> r) {
  using C = Compute<T>;
  constexpr int E = kStretch<T, V>;
  GRAFT_SHARED(scratch, C[2][kWide / kWarp]);
  const C count = static_cast<C>(r.n);
  if (const std::int64_t row = row_of_thread<kWide>(); row < r.rows) {
    const T* x = r.x + row * r.n;
    const C shift = finite_or_zero(widen(x[0]));
    // Calls use(base, columns, deviations) for each part of the row.
    const auto for_parts = [&](auto use) {
      for (std::int64_t base = 0; base < r.n; base += kWide * E) {
        C value[E];
        const int columns = stretch<kWide, E>(base, r.n);
        load_row<kWide, V>(x + base, columns, shift, value);
        GRAFT_UNROLL
        for (int i = 0; i < E; ++i) value[i] -= shift;
        use(base, columns, value);
      }
    };
    C sum = 0, squares = 0;
    for_parts([&](std::int64_t, int, const C(&value)[E]) {
      GRAFT_UNROLL
      for (int i = 0; i < E; ++i) sum += value[i];
    });
    const C mean = block_reduce<kWide>(sum, scratch[0], Add{}) / count;
    for_parts([&](std::int64_t, int columns, const C(&value)[E]) {
      squares += sum_of_squares<kWide, V>(value, mean, columns);
    });
    squares = block_reduce<kWide>(squares, scratch[1], Add{});
    const C inv_std = 1 / std::sqrt(squares / count + static_cast<C>(r.eps));
    if (threadIdx.x == 0) {
      r.mean[row] = shift + mean;
      r.inv_std[row] = inv_std;
    }
    for_parts([&](std::int64_t base, int columns, C(&value)[E]) {
      GRAFT_UNROLL
      for (int i = 0; i < E; ++i) value[i] = (value[i] - mean) * inv_std;
      finish_row<kWide, V>(r, row, base, columns, value);
    });
  }
}

void run_layer_norm(const LayerNormArgs& args, Stream& stream) {
  const std::int64_t rows = args.x.shape[0], n = args.x.shape[1];
  if (rows == 0) return;
  visit_floating(args.x.dtype, [&]<class T>(T) {
    using W = Compute<T>;
    const LayerNormRows<T> r{args.x.as<T>(),
                             args.gamma.as<T>(),
                             args.beta.as<T>(),
                             args.y.as<T>(),
                             args.mean.as<W>(),
                             args.inv_std.as<W>(),
                             rows,
                             n,
                             args.eps};
    visit_width<T>(rows_allow_vectors<T>(n, {r.x, r.gamma, r.beta, r.y}), [&]<int V>(Constant<V>) {
      visit_row_size<T, V>(
          n,
          [&]<int Lanes, int E>(Constant<Lanes>, Constant<E>) {
            launch("layer_norm_forward", layer_norm_rows<T, Lanes, V, E>,
                   {.grid = row_blocks<Lanes>(rows), .block = dim3(kRowThreads<Lanes>)}, stream, r);
          },
          [&] {
            launch("layer_norm_forward_wide", layer_norm_wide<T, V>,
                   {.grid = row_blocks<kWide>(rows), .block = dim3(kWide)}, stream, r);
          });
    });
  });
}

// --- backward -------------------------------------------------------------------------------------------------------

// With h = gamma gy and xhat = (x - mean) inv_std:  gx = inv_std (h - mean(h) - xhat mean(h xhat)).
template <class T>
struct LayerNormGradient {
  const T *x, *gy, *gamma;  // gamma may be nullptr: 1
  const Compute<T>*mean, *inv_std;
  T* gx;
  std::int64_t rows, n;
};

/// xhat and h of the thread's elements of a part of a row; 0 beyond its end.
template <int Lanes, int V, int E, class T>
GRAFT_DEVICE void load_gradient(const LayerNormGradient<T>& r, std::int64_t row, std::int64_t base, int count,
                                Compute<T> mean, Compute<T> inv_std, Compute<T> (&xhat)[E], Compute<T> (&h)[E]) {
  using C = Compute<T>;
  load_row<Lanes, V>(r.x + row * r.n + base, count, mean, xhat);
  load_row<Lanes, V>(r.gy + row * r.n + base, count, C(0), h);
  GRAFT_UNROLL
  for (int i = 0; i < E; ++i) xhat[i] = vector_column<Lanes, V>(i / V) < count ? (xhat[i] - mean) * inv_std : C(0);
  if (r.gamma == nullptr) return;
  GRAFT_UNROLL
  for (int i = 0; i < E / V; ++i) {
    const int column = vector_column<Lanes, V>(i);
    if (column >= count) continue;
    const Vector<T, V> gamma = load_vector<V>(r.gamma + base + column);
    GRAFT_UNROLL
    for (int j = 0; j < V; ++j) h[i * V + j] *= widen(gamma.at[j]);
  }
}

template <class T, int Lanes, int V, int E>
GRAFT_KERNEL(kRowThreads<Lanes>)
layer_norm_backward_rows(const LayerNormGradient<T> r) {
  using C = Compute<T>;
  GRAFT_SHARED(scratch, C[2][Lanes / kWarp]);
  const int n = static_cast<int>(r.n);
  const C count = static_cast<C>(n);
  if (const std::int64_t row = row_of_thread<Lanes>(); row < r.rows) {
    const C mean = r.mean[row], inv_std = r.inv_std[row];
    C xhat[E], h[E], sum = 0, product = 0;
    load_gradient<Lanes, V>(r, row, 0, n, mean, inv_std, xhat, h);
    GRAFT_UNROLL
    for (int i = 0; i < E; ++i) {
      sum += h[i];
      product += h[i] * xhat[i];
    }
    const C first = row_reduce<Lanes>(sum, scratch[0], Add{}) / count;
    const C second = row_reduce<Lanes>(product, scratch[1], Add{}) / count;
    GRAFT_UNROLL
    for (int i = 0; i < E; ++i) h[i] = inv_std * (h[i] - first - xhat[i] * second);
    store_row<Lanes, V>(r.gx + row * r.n, n, h);
  }
}

template <class T, int V>
GRAFT_KERNEL(kWide)
layer_norm_backward_wide(const LayerNormGradient<T> r) {
  using C = Compute<T>;
  constexpr int E = kStretch<T, V>;
  GRAFT_SHARED(scratch, C[2][kWide / kWarp]);
  const C count = static_cast<C>(r.n);
  if (const std::int64_t row = row_of_thread<kWide>(); row < r.rows) {
    const C mean = r.mean[row], inv_std = r.inv_std[row];
    C xhat[E], h[E], sum = 0, product = 0;
    for (std::int64_t base = 0; base < r.n; base += kWide * E) {
      load_gradient<kWide, V>(r, row, base, stretch<kWide, E>(base, r.n), mean, inv_std, xhat, h);
      GRAFT_UNROLL
      for (int i = 0; i < E; ++i) {
        sum += h[i];
        product += h[i] * xhat[i];
      }
    }
    const C first = block_reduce<kWide>(sum, scratch[0], Add{}) / count;
    const C second = block_reduce<kWide>(product, scratch[1], Add{}) / count;
    for (std::int64_t base = 0; base < r.n; base += kWide * E) {
      const int columns = stretch<kWide, E>(base, r.n);
      load_gradient<kWide, V>(r, row, base, columns, mean, inv_std, xhat, h);
      GRAFT_UNROLL
      for (int i = 0; i < E; ++i) h[i] = inv_std * (h[i] - first - xhat[i] * second);
      store_row<kWide, V>(r.gx + row * r.n + base, columns, h);
    }
  }
}

template <class T>
struct FinishParameters {
  T *ggamma, *gbeta;  // each may be nullptr

  GRAFT_DEVICE void operator()(std::int64_t c, const Sums& sums) const {
    if (ggamma != nullptr) ggamma[c] = narrow<T>(static_cast<Compute<T>>(sums.second));
    if (gbeta != nullptr) gbeta[c] = narrow<T>(static_cast<Compute<T>>(sums.first));
  }
};

/// Sums of gy and of gy xhat down the columns.
template <class T, int V>
GRAFT_KERNEL(kColumnThreads)
layer_norm_gradient_sums(const T* x, const T* gy, const Compute<T>* mean, const Compute<T>* inv_std, ColumnGrid grid,
                         ColumnScratch::Refs scratch, FinishParameters<T> finish) {
  using C = Compute<T>;
  const ColumnPlace place = column_place<V>(grid);
  C sum[V] = {}, product[V] = {};
  for_rows(
      place,
      [&](std::int64_t row) {
        const std::int64_t at = row * grid.columns + place.column;
        return VectorPair<T, V>{load_vector<V>(x + at), load_vector<V>(gy + at)};
      },
      [&](std::int64_t row, const VectorPair<T, V>& value) {
        const C center = mean[row], factor = inv_std[row];
        GRAFT_UNROLL
        for (int v = 0; v < V; ++v) {
          const C g = widen(value.second.at[v]);
          sum[v] += g;
          product[v] += g * ((widen(value.first.at[v]) - center) * factor);
        }
      });
  Sums mine[V];
  GRAFT_UNROLL
  for (int v = 0; v < V; ++v) mine[v] = {static_cast<double>(sum[v]), static_cast<double>(product[v])};
  finish_columns<V>(grid, place, mine, scratch, finish);
}

void run_layer_norm_backward(const LayerNormBackwardArgs& args, Stream& stream) {
  const std::int64_t rows = args.x.shape[0], n = args.x.shape[1];
  visit_floating(args.x.dtype, [&]<class T>(T) {
    using W = Compute<T>;
    const LayerNormGradient<T> r{args.x.as<T>(),
                                 args.gy.as<T>(),
                                 args.gamma.as<T>(),
                                 args.mean.as<W>(),
                                 args.inv_std.as<W>(),
                                 args.gx.as<T>(),
                                 rows,
                                 n};
    visit_width<T>(rows_allow_vectors<T>(n, {r.x, r.gy, r.gamma, r.gx}), [&]<int V>(Constant<V>) {
      if (args.ggamma.defined() || args.gbeta.defined()) {
        const ColumnGrid grid = column_grid(rows, n, V);
        const ColumnScratch scratch(grid, stream);
        const FinishParameters<T> finish{args.ggamma.as<T>(), args.gbeta.as<T>()};
        launch("layer_norm_gradients", layer_norm_gradient_sums<T, V>,
               {.grid = grid.blocks(), .block = dim3(kColumnThreads)}, stream, r.x, r.gy, r.mean, r.inv_std, grid,
               scratch.refs(), finish);
      }
      if (r.gx == nullptr || rows == 0) return;
      visit_row_size<T, V>(
          n,
          [&]<int Lanes, int E>(Constant<Lanes>, Constant<E>) {
            launch("layer_norm_backward", layer_norm_backward_rows<T, Lanes, V, E>,
                   {.grid = row_blocks<Lanes>(rows), .block = dim3(kRowThreads<Lanes>)}, stream, r);
          },
          [&] {
            launch("layer_norm_backward_wide", layer_norm_backward_wide<T, V>,
                   {.grid = row_blocks<kWide>(rows), .block = dim3(kWide)}, stream, r);
          });
    });
  });
}

}  // namespace

void add_layer_norm(BackendTable& table) {
  table.row<LayerNormArgs>() = row(run_layer_norm);
  table.row<LayerNormBackwardArgs>() = row(run_layer_norm_backward);
}

}  // namespace graft::kernels::cuda
