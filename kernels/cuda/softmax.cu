// Softmax and log-softmax over rows, forward and backward.
//
// A row lies in the registers of a warp or of a block (rows.cuh): one read and one write of memory. Longer rows take
// two passes: the first finds maximum and sum together ("online": a sum is scaled down whenever its maximum grows), the
// second reads again, mostly from cache, and writes. Every element is read before its own thread writes it, so results
// may lie where the inputs do.
#include <graft/kernels/cuda/rows.h>
#include <cmath>

#include <graft/kernels/cuda/rows.cuh>

namespace graft::kernels::cuda {
namespace {

constexpr int kWide = 512;  // threads of a row that does not fit the registers

// e = exp(x - max):  softmax e / sum(e), log-softmax x - max - log(sum(e)).
template <class T, int Lanes, int V, int E>
GRAFT_KERNEL(kRowThreads<Lanes>)
softmax_rows(const T* x, T* y, std::int64_t rows, int n, bool log) {
  using C = Compute<T>;
  GRAFT_SHARED(scratch, C[2][Lanes / kWarp]);
  if (const std::int64_t row = row_of_thread<Lanes>(); row < rows) {
    C value[E];
    load_row<Lanes, V>(x + row * n, n, static_cast<C>(-INFINITY), value);
    C greatest = value[0];
    GRAFT_UNROLL
    for (int i = 1; i < E; ++i) greatest = Max{}(greatest, value[i]);
    greatest = row_reduce<Lanes>(greatest, scratch[0], Max{});
    C sum = 0;
    GRAFT_UNROLL
    for (int i = 0; i < E; ++i) {
      const C shifted = value[i] - greatest, e = std::exp(shifted);
      sum += e;
      value[i] = log ? shifted : e;
    }
    sum = row_reduce<Lanes>(sum, scratch[1], Add{});
    const C factor = log ? std::log(sum) : 1 / sum;
    GRAFT_UNROLL
    for (int i = 0; i < E; ++i) value[i] = log ? value[i] - factor : value[i] * factor;
    store_row<Lanes, V>(y + row * n, n, value);
  }
}

template <class T, int V>
GRAFT_KERNEL(kWide)
softmax_wide(const T* x, T* y, std::int64_t rows, std::int64_t n, bool log) {
  using C = Compute<T>;
  constexpr int E = kStretch<T, V>;
  constexpr C nothing = -INFINITY;
  GRAFT_SHARED(scratch, C[2][kWide / kWarp]);
  if (const std::int64_t row = row_of_thread<kWide>(); row < rows) {
    const T* from = x + row * n;
    T* to = y + row * n;
    C value[E], greatest = nothing, sum = 0;
    for (std::int64_t base = 0; base < n; base += kWide * E) {
      load_row<kWide, V>(from + base, stretch<kWide, E>(base, n), nothing, value);
      C next = greatest;
      GRAFT_UNROLL
      for (int i = 0; i < E; ++i) next = Max{}(next, value[i]);
      const C shift = next == nothing ? 0 : next;  // nothing but -infinity so far: all terms are 0
      sum *= std::exp(greatest - shift);
      GRAFT_UNROLL
      for (int i = 0; i < E; ++i) sum += std::exp(value[i] - shift);
      greatest = next;
    }
    const C of_thread = greatest;
    greatest = block_reduce<kWide>(greatest, scratch[0], Max{});
    sum = block_reduce<kWide>(sum * std::exp(of_thread - greatest), scratch[1], Add{});
    const C factor = log ? std::log(sum) : 1 / sum;
    for (std::int64_t base = 0; base < n; base += kWide * E) {
      const int count = stretch<kWide, E>(base, n);
      load_row<kWide, V>(from + base, count, nothing, value);
      GRAFT_UNROLL
      for (int i = 0; i < E; ++i) {
        const C shifted = value[i] - greatest;
        value[i] = log ? shifted - factor : std::exp(shifted) * factor;
      }
      store_row<kWide, V>(to + base, count, value);
    }
  }
}

// What a row of the backward adds up, and what it makes of the sum.
template <class C>
GRAFT_DEVICE C gradient_term(C y, C gy, bool log) {
  return log ? gy : gy * y;
}
template <class C>
GRAFT_DEVICE C gradient(C y, C gy, C sum, bool log) {
  return log ? gy - std::exp(y) * sum : y * (gy - sum);
}

template <class T, int Lanes, int V, int E>
GRAFT_KERNEL(kRowThreads<Lanes>)
softmax_backward_rows(const T* y, const T* gy, T* gx, std::int64_t rows, int n, bool log) {
  using C = Compute<T>;
  GRAFT_SHARED(scratch, C[Lanes / kWarp]);
  if (const std::int64_t row = row_of_thread<Lanes>(); row < rows) {
    C out[E], g[E], sum = 0;
    load_row<Lanes, V>(y + row * n, n, C(0), out);
    load_row<Lanes, V>(gy + row * n, n, C(0), g);
    GRAFT_UNROLL
    for (int i = 0; i < E; ++i) sum += gradient_term(out[i], g[i], log);
    sum = row_reduce<Lanes>(sum, scratch, Add{});
    GRAFT_UNROLL
    for (int i = 0; i < E; ++i) g[i] = gradient(out[i], g[i], sum, log);
    store_row<Lanes, V>(gx + row * n, n, g);
  }
}

template <class T, int V>
GRAFT_KERNEL(kWide)
softmax_backward_wide(const T* y, const T* gy, T* gx, std::int64_t rows, std::int64_t n, bool log) {
  using C = Compute<T>;
  constexpr int E = kStretch<T, V>;
  GRAFT_SHARED(scratch, C[kWide / kWarp]);
  if (const std::int64_t row = row_of_thread<kWide>(); row < rows) {
    const std::int64_t begin = row * n;
    C out[E], g[E], sum = 0;
    for (std::int64_t base = 0; base < n; base += kWide * E) {
      const int count = stretch<kWide, E>(base, n);
      load_row<kWide, V>(y + begin + base, count, C(0), out);
      load_row<kWide, V>(gy + begin + base, count, C(0), g);
      GRAFT_UNROLL
      for (int i = 0; i < E; ++i) sum += gradient_term(out[i], g[i], log);
    }
    sum = block_reduce<kWide>(sum, scratch, Add{});
    for (std::int64_t base = 0; base < n; base += kWide * E) {
      const int count = stretch<kWide, E>(base, n);
      load_row<kWide, V>(y + begin + base, count, C(0), out);
      load_row<kWide, V>(gy + begin + base, count, C(0), g);
      GRAFT_UNROLL
      for (int i = 0; i < E; ++i) g[i] = gradient(out[i], g[i], sum, log);
      store_row<kWide, V>(gx + begin + base, count, g);
    }
  }
}

void run_softmax(const SoftmaxArgs& args, Stream& stream) {
  const std::int64_t rows = args.x.shape[0], n = args.x.shape[1];
  if (rows * n == 0) return;
  visit_floating(args.x.dtype, [&]<class T>(T) {
    const T* x = args.x.as<T>();
    T* y = args.y.as<T>();
    visit_width<T>(rows_allow_vectors<T>(n, {x, y}), [&]<int V>(Constant<V>) {
      visit_row_size<T, V>(
          n,
          [&]<int Lanes, int E>(Constant<Lanes>, Constant<E>) {
            launch("softmax_forward", softmax_rows<T, Lanes, V, E>,
                   {.grid = row_blocks<Lanes>(rows), .block = dim3(kRowThreads<Lanes>)}, stream, x, y, rows, n,
                   args.log);
          },
          [&] {
            launch("softmax_forward_wide", softmax_wide<T, V>, {.grid = row_blocks<kWide>(rows), .block = dim3(kWide)},
                   stream, x, y, rows, n, args.log);
          });
    });
  });
}

void run_softmax_backward(const SoftmaxBackwardArgs& args, Stream& stream) {
  const std::int64_t rows = args.y.shape[0], n = args.y.shape[1];
  if (rows * n == 0) return;
  visit_floating(args.y.dtype, [&]<class T>(T) {
    const T *y = args.y.as<T>(), *gy = args.gy.as<T>();
    T* gx = args.gx.as<T>();
    visit_width<T>(rows_allow_vectors<T>(n, {y, gy, gx}), [&]<int V>(Constant<V>) {
      visit_row_size<T, V>(
          n,
          [&]<int Lanes, int E>(Constant<Lanes>, Constant<E>) {
            launch("softmax_backward", softmax_backward_rows<T, Lanes, V, E>,
                   {.grid = row_blocks<Lanes>(rows), .block = dim3(kRowThreads<Lanes>)}, stream, y, gy, gx, rows, n,
                   args.log);
          },
          [&] {
            launch("softmax_backward_wide", softmax_backward_wide<T, V>,
                   {.grid = row_blocks<kWide>(rows), .block = dim3(kWide)}, stream, y, gy, gx, rows, n, args.log);
          });
    });
  });
}

}  // namespace

void add_softmax(BackendTable& table) {
  table.row<SoftmaxArgs>() = row(run_softmax);
  table.row<SoftmaxBackwardArgs>() = row(run_softmax_backward);
}

}  // namespace graft::kernels::cuda
