// Layer normalisation (Ba, Kiros and Hinton, 2016) over the rows of (rows, n), forward and backward.
//
// A row lies in registers (rows.cuh), so mean and variance are two exact passes over registers and one read of memory;
// longer rows are read again for each pass. The gradients of gamma and beta go down the columns (columns.cuh).
#include <graft/kernels/cuda/rows.h>
#include <graft/kernels/cuda/columns.cuh>
#include <graft/kernels/cuda/rows.cuh>

namespace graft::kernels::cuda {
namespace {

constexpr int kWide = 512;  // threads of a row that does not fit the registers

template <class T>
struct Forward {
  using C = Compute<T>;
  const T *x, *gamma, *beta;  // gamma and beta may be null: 1 and 0
  T* y;
  C *mean, *inv_std;
  std::int64_t rows, n;
  C eps;
};

/// gamma (or `otherwise`) at this thread's columns.
template <int Lanes, int V, int E, class T>
GRAFT_DEVICE void load_vector_of_row(const T* values, int n, Compute<T> otherwise, Compute<T> (&value)[E]) {
  if (values != nullptr) {
    load_row<Lanes, V>(values, n, otherwise, value);
  } else {
    GRAFT_UNROLL
    for (int i = 0; i < E; ++i) value[i] = otherwise;
  }
}

/// Sum of (value - mean)^2 over the elements that the row has.
template <int Lanes, int V, int E, class C>
GRAFT_DEVICE C squared_distances(const C (&value)[E], int n, C mean) {
  C sum = 0;
  GRAFT_UNROLL
  for (int i = 0; i < E; ++i) {
    const C distance = value[i] - mean;
    if (vector_column<Lanes, V>(i / V) < n) sum += distance * distance;
  }
  return sum;
}

template <int Lanes, int V, int E, class T>
GRAFT_DEVICE void normalise_row(const Forward<T>& f, std::int64_t begin, std::int64_t base, int count,
                                Compute<T> (&value)[E], Compute<T> mean, Compute<T> inv_std) {
  Compute<T> factor[E];
  load_vector_of_row<Lanes, V>(f.gamma == nullptr ? nullptr : f.gamma + base, count, Compute<T>(1), factor);
  GRAFT_UNROLL
  for (int i = 0; i < E; ++i) value[i] = (value[i] - mean) * inv_std * factor[i];
  load_vector_of_row<Lanes, V>(f.beta == nullptr ? nullptr : f.beta + base, count, Compute<T>(0), factor);
  GRAFT_UNROLL
  for (int i = 0; i < E; ++i) value[i] += factor[i];
  store_row<Lanes, V>(f.y + begin + base, count, value);
}

template <class T, int Lanes, int V, int E>
GRAFT_KERNEL(kRowThreads<Lanes>)
layer_norm_rows(Forward<T> f) {
  using C = Compute<T>;
  GRAFT_SHARED(scratch, C[Lanes / kWarp]);
  const int n = static_cast<int>(f.n);
  for (std::int64_t row = first_row<Lanes>(); row < f.rows; row += row_step<Lanes>()) {
    C value[E], sum = 0;
    load_row<Lanes, V>(f.x + row * n, n, C(0), value);
    GRAFT_UNROLL
    for (int i = 0; i < E; ++i) sum += value[i];
    const C mean = row_reduce<Lanes>(sum, scratch, Add{}) / static_cast<C>(n);
    const C squares = row_reduce<Lanes>(squared_distances<Lanes, V>(value, n, mean), scratch, Add{});
    const C inv_std = C(1) / std::sqrt(squares / static_cast<C>(n) + f.eps);
    if (threadIdx.x % Lanes == 0) {
      f.mean[row] = mean;
      f.inv_std[row] = inv_std;
    }
    normalise_row<Lanes, V>(f, row * n, 0, n, value, mean, inv_std);
  }
}

template <class T, int V>
GRAFT_KERNEL(kWide)
layer_norm_wide(Forward<T> f) {
  using C = Compute<T>;
  constexpr int E = kStretch<T>;
  GRAFT_SHARED(scratch, C[kWide / kWarp]);
  for (std::int64_t row = first_row<kWide>(); row < f.rows; row += row_step<kWide>()) {
    const std::int64_t begin = row * f.n;
    C value[E], sum = 0, squares = 0;
    for (std::int64_t base = 0; base < f.n; base += kWide * E) {
      load_row<kWide, V>(f.x + begin + base, stretch<kWide, E>(base, f.n), C(0), value);
      GRAFT_UNROLL
      for (int i = 0; i < E; ++i) sum += value[i];
    }
    const C mean = block_reduce<kWide>(sum, scratch, Add{}) / static_cast<C>(f.n);
    for (std::int64_t base = 0; base < f.n; base += kWide * E) {
      const int count = stretch<kWide, E>(base, f.n);
      load_row<kWide, V>(f.x + begin + base, count, C(0), value);
      squares += squared_distances<kWide, V>(value, count, mean);
    }
    squares = block_reduce<kWide>(squares, scratch, Add{});
    const C inv_std = C(1) / std::sqrt(squares / static_cast<C>(f.n) + f.eps);
    if (threadIdx.x == 0) {
      f.mean[row] = mean;
      f.inv_std[row] = inv_std;
    }
    for (std::int64_t base = 0; base < f.n; base += kWide * E) {
      const int count = stretch<kWide, E>(base, f.n);
      load_row<kWide, V>(f.x + begin + base, count, C(0), value);
      normalise_row<kWide, V>(f, begin, base, count, value, mean, inv_std);
    }
  }
}

// --- backward -------------------------------------------------------------------------------------------------------

template <class T>
struct Backward {
  using C = Compute<T>;
  const T *x, *gy, *gamma;  // gamma may be null
  const C *mean, *inv_std;
  T* gx;
  std::int64_t rows, n;
};

/// h = gamma gy and xhat of one stretch of a row; zero beyond its end.
template <int Lanes, int V, int E, class T>
GRAFT_DEVICE void load_terms(const Backward<T>& b, std::int64_t begin, std::int64_t base, int count, Compute<T> mean,
                             Compute<T> inv_std, Compute<T> (&h)[E], Compute<T> (&xhat)[E]) {
  load_row<Lanes, V>(b.gy + begin + base, count, Compute<T>(0), h);
  load_vector_of_row<Lanes, V>(b.gamma == nullptr ? nullptr : b.gamma + base, count, Compute<T>(1), xhat);
  GRAFT_UNROLL
  for (int i = 0; i < E; ++i) h[i] *= xhat[i];
  load_row<Lanes, V>(b.x + begin + base, count, mean, xhat);
  GRAFT_UNROLL
  for (int i = 0; i < E; ++i) xhat[i] = (xhat[i] - mean) * inv_std;
}

template <class T, int Lanes, int V, int E>
GRAFT_KERNEL(kRowThreads<Lanes>)
layer_norm_backward_rows(Backward<T> b) {
  using C = Compute<T>;
  GRAFT_SHARED(scratch, C[Lanes / kWarp]);
  const int n = static_cast<int>(b.n);
  for (std::int64_t row = first_row<Lanes>(); row < b.rows; row += row_step<Lanes>()) {
    const C inv_std = b.inv_std[row];
    C h[E], xhat[E], sum = 0, sum_xhat = 0;
    load_terms<Lanes, V>(b, row * n, 0, n, b.mean[row], inv_std, h, xhat);
    GRAFT_UNROLL
    for (int i = 0; i < E; ++i) {
      sum += h[i];
      sum_xhat += h[i] * xhat[i];
    }
    sum = row_reduce<Lanes>(sum, scratch, Add{}) / static_cast<C>(n);
    sum_xhat = row_reduce<Lanes>(sum_xhat, scratch, Add{}) / static_cast<C>(n);
    GRAFT_UNROLL
    for (int i = 0; i < E; ++i) h[i] = inv_std * (h[i] - sum - xhat[i] * sum_xhat);
    store_row<Lanes, V>(b.gx + row * n, n, h);
  }
}

template <class T, int V>
GRAFT_KERNEL(kWide)
layer_norm_backward_wide(Backward<T> b) {
  using C = Compute<T>;
  constexpr int E = kStretch<T>;
  GRAFT_SHARED(scratch, C[kWide / kWarp]);
  for (std::int64_t row = first_row<kWide>(); row < b.rows; row += row_step<kWide>()) {
    const std::int64_t begin = row * b.n;
    const C mean = b.mean[row], inv_std = b.inv_std[row];
    C h[E], xhat[E], sum = 0, sum_xhat = 0;
    for (std::int64_t base = 0; base < b.n; base += kWide * E) {
      load_terms<kWide, V>(b, begin, base, stretch<kWide, E>(base, b.n), mean, inv_std, h, xhat);
      GRAFT_UNROLL
      for (int i = 0; i < E; ++i) {
        sum += h[i];
        sum_xhat += h[i] * xhat[i];
      }
    }
    sum = block_reduce<kWide>(sum, scratch, Add{}) / static_cast<C>(b.n);
    sum_xhat = block_reduce<kWide>(sum_xhat, scratch, Add{}) / static_cast<C>(b.n);
    for (std::int64_t base = 0; base < b.n; base += kWide * E) {
      const int count = stretch<kWide, E>(base, b.n);
      load_terms<kWide, V>(b, begin, base, count, mean, inv_std, h, xhat);
      GRAFT_UNROLL
      for (int i = 0; i < E; ++i) h[i] = inv_std * (h[i] - sum - xhat[i] * sum_xhat);
      store_row<kWide, V>(b.gx + begin + base, count, h);
    }
  }
}

template <class T>
struct AddGradient {
  const T *x, *gy;
  const Compute<T>*mean, *inv_std;
  std::int64_t n;
  GRAFT_DEVICE void add(GradientSums<Compute<T>>& sums, std::int64_t row, std::int64_t column) const {
    const Compute<T> g = widen(gy[row * n + column]);
    sums.gy += g;
    sums.gy_xhat += g * ((widen(x[row * n + column]) - mean[row]) * inv_std[row]);
  }
};

template <class T>
struct StoreGradient {
  T *ggamma, *gbeta;  // null where undefined
  GRAFT_DEVICE void operator()(std::int64_t column, const GradientSums<Compute<T>>& sums) const {
    if (ggamma != nullptr) ggamma[column] = narrow<T>(sums.gy_xhat);
    if (gbeta != nullptr) gbeta[column] = narrow<T>(sums.gy);
  }
};

// --- the host's side ------------------------------------------------------------------------------------------------

void run_layer_norm(const LayerNormArgs& args, Stream& stream) {
  const std::int64_t rows = args.x.shape[0], n = args.x.shape[1];
  if (rows * n == 0) return;
  visit_floating(args.x.dtype, [&]<class T>(T) {
    using C = Compute<T>;
    const Forward<T> f = {.x = args.x.as<T>(),
                          .gamma = args.gamma.as<T>(),
                          .beta = args.beta.as<T>(),
                          .y = args.y.as<T>(),
                          .mean = args.mean.as<C>(),
                          .inv_std = args.inv_std.as<C>(),
                          .rows = rows,
                          .n = n,
                          .eps = static_cast<C>(args.eps)};
    visit_width<T>(rows_allow_vectors<T>(n, {f.x, f.gamma, f.beta, f.y}), [&]<int V>(Constant<V>) {
      visit_row_size<T, V>(
          n,
          [&]<int Lanes, int E>(Constant<Lanes>, Constant<E>) {
            launch("layer_norm_forward", layer_norm_rows<T, Lanes, V, E>,
                   {.grid = row_blocks<Lanes>(rows), .block = dim3(kRowThreads<Lanes>)}, stream, f);
          },
          [&] {
            launch("layer_norm_forward_wide", layer_norm_wide<T, V>,
                   {.grid = row_blocks<kWide>(rows), .block = dim3(kWide)}, stream, f);
          });
    });
  });
}

void run_layer_norm_backward(const LayerNormBackwardArgs& args, Stream& stream) {
  const std::int64_t rows = args.x.shape[0], n = args.x.shape[1];
  visit_floating(args.x.dtype, [&]<class T>(T) {
    using C = Compute<T>;
    const Backward<T> b = {.x = args.x.as<T>(),
                           .gy = args.gy.as<T>(),
                           .gamma = args.gamma.as<T>(),
                           .mean = args.mean.as<C>(),
                           .inv_std = args.inv_std.as<C>(),
                           .gx = args.gx.as<T>(),
                           .rows = rows,
                           .n = n};
    if (n > 0 && (args.ggamma.defined() || args.gbeta.defined()))
      reduce_columns<GradientSums<C>>(stream, "layer_norm_backward_sums", "layer_norm_backward_gamma", rows, n,
                                      AddGradient<T>{b.x, b.gy, b.mean, b.inv_std, n},
                                      StoreGradient<T>{args.ggamma.as<T>(), args.gbeta.as<T>()});
    if (rows * n == 0 || !args.gx.defined()) return;
    visit_width<T>(rows_allow_vectors<T>(n, {b.x, b.gy, b.gamma, b.gx}), [&]<int V>(Constant<V>) {
      visit_row_size<T, V>(
          n,
          [&]<int Lanes, int E>(Constant<Lanes>, Constant<E>) {
            launch("layer_norm_backward", layer_norm_backward_rows<T, Lanes, V, E>,
                   {.grid = row_blocks<Lanes>(rows), .block = dim3(kRowThreads<Lanes>)}, stream, b);
          },
          [&] {
            launch("layer_norm_backward_wide", layer_norm_backward_wide<T, V>,
                   {.grid = row_blocks<kWide>(rows), .block = dim3(kWide)}, stream, b);
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
