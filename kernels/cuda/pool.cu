// Pooling over NHWC images: a thread has one pixel and a run of channels, 16 bytes of them where the memory allows it.
//
// Backwards a thread owns a pixel of gx and visits the windows that cover it, in row-major order of the windows: each
// sum has one order and nobody else writes there. Windows of 32 inputs and more (global average pooling) are shared by
// the threads of a block.
#include <graft/kernels/cuda/rows.h>
//
// Within a plane positions are int: the host refuses planes of 2^31 positions and more. Offsets are 64-bit.
#include <graft/kernels/api/contract.h>
#include <graft/kernels/cuda/fast_divisor.cuh>
#include <graft/kernels/cuda/packed.cuh>

namespace graft::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// Images as the threads of a launch go over them: runs of V channels, a plane's rows and columns.
struct Images {
  FastDivisor by_runs, by_plane, by_width;
};

struct Place {
  std::int64_t image;
  int row, column;
  std::int64_t channel;
};

// Where run `i` of V channels lies.
template <int V>
GRAFT_DEVICE Place place_of(std::int64_t i, const Images& images) {
  const std::int64_t pixel = images.by_runs.divide(i);
  const Position at = position(pixel, images.by_plane, images.by_width);
  return {at.n, at.row, at.col, (i - pixel * images.by_runs.divisor) * V};
}

GRAFT_DEVICE std::int64_t thread_number() { return static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; }

// [begin, end)
struct Range {
  int begin, end;
  GRAFT_DEVICE int size() const { return end - begin; }
};

// Windows along one axis: window i sees the inputs i * stride - padding + tap * dilation that are inside.
struct Axis {
  int inputs, outputs;
  int kernel, stride, padding, dilation;
  FastDivisor by_stride, by_dilation;

  GRAFT_DEVICE int start(int window) const { return window * stride - padding; }
  // The windows that reach over position `at` (with a dilation they need not see it).
  GRAFT_DEVICE Range windows_over(int at) const {
    const int padded = at + padding, reach = (kernel - 1) * dilation + 1;
    return {padded < reach ? 0 : by_stride.divide(padded - reach) + 1,
            std::min(by_stride.divide(padded) + 1, outputs)};
  }
  // Which tap of `window`, one of those over it, takes position `at`; -1: none, it lies between two.
  GRAFT_DEVICE int tap_at(int at, int window) const {
    const Split split_at = split(at - start(window), by_dilation);
    return split_at.rest == 0 ? split_at.quotient : -1;
  }
};

// --- max pooling ----------------------------------------------------------------------------------------------------

struct MaxPlan {
  std::int64_t channels;
  Axis vertical, horizontal;
};

// A window of nothing but padding has its maximum nowhere.
template <class Index>
inline constexpr Index kNowhere = static_cast<Index>(-1);

// Index: what names a place in a window, u8 or i32 (max_pool_index_dtype).
template <class T, int V, class Index>
GRAFT_KERNEL(kThreads)
max_pool_windows(const T* __restrict__ x, T* __restrict__ y, Index* __restrict__ index, MaxPlan plan, Images outputs,
                 std::int64_t count, bool relu) {
  using C = Compute<T>;
  const std::int64_t i = thread_number();
  if (i >= count) return;
  const Axis &rows = plan.vertical, &columns = plan.horizontal;
  const Place at = place_of<V>(i, outputs);
  const T* const plane = x + at.image * rows.inputs * columns.inputs * plan.channels + at.channel;
  const int h0 = rows.start(at.row), w0 = columns.start(at.column);
  C best[V];
  int best_at[V];
  GRAFT_UNROLL
  for (int v = 0; v < V; ++v) best[v] = -INFINITY, best_at[v] = kNowhere<Index>;
  bool first = true;
  for (int r = 0; r < rows.kernel; ++r) {
    const int h = h0 + r * rows.dilation;
    if (h < 0 || h >= rows.inputs) continue;
    for (int t = 0; t < columns.kernel; ++t) {
      const int w = w0 + t * columns.dilation;
      if (w < 0 || w >= columns.inputs) continue;
      const int place = r * columns.kernel + t;
      const Packed<T, V> value = load<V>(plane + (h * columns.inputs + w) * plan.channels);
      GRAFT_UNROLL
      for (int v = 0; v < V; ++v) {
        const C a = widen(value.at[v]);
        // The first position inside, then what is greater, or the first NaN.
        if (first || (!(a <= best[v]) && best[v] == best[v])) {
          best[v] = a;
          best_at[v] = place;
        }
      }
      first = false;
    }
  }
  Packed<T, V> result;
  Packed<Index, V> result_at;
  GRAFT_UNROLL
  for (int v = 0; v < V; ++v) {
    result.at[v] = narrow<T>(relu && best[v] < 0 ? C(0) : best[v]);
    result_at.at[v] = static_cast<Index>(best_at[v]);
  }
  store(y + i * V, result);
  if (index != nullptr) store(index + i * V, result_at);
}

// Reads index (and gy) as often as windows overlap: 1 for 2x2/2, 2.25 for 3x3/2, mostly from the caches.
// Windows are taken kAhead x kAhead at a time, all of them read before any is used: 2 where windows overlap, else 1. What
// lies beyond the windows over an input is read at the first window of the plane, and counts for nothing.
template <class T, int V, class Index, int kAhead>
GRAFT_KERNEL(kThreads)
max_pool_gradient(const T* __restrict__ gy, const Index* __restrict__ index, const T* __restrict__ y,
                  T* __restrict__ gx, MaxPlan plan, Images inputs, std::int64_t count) {
  using C = Compute<T>;
  const std::int64_t i = thread_number();
  if (i >= count) return;
  const Axis &vertical = plan.vertical, &horizontal = plan.horizontal;
  const Place at = place_of<V>(i, inputs);
  const Range rows = vertical.windows_over(at.row), columns = horizontal.windows_over(at.column);
  const std::int64_t plane = at.image * vertical.outputs * horizontal.outputs * plan.channels + at.channel;
  C sum[V] = {};
  constexpr int kNone = -2;  // no place, and not kNowhere
  for (int p = rows.begin; p < rows.end; p += kAhead)
    for (int q = columns.begin; q < columns.end; q += kAhead) {
      int place[kAhead * kAhead];
      Packed<Index, V> from[kAhead * kAhead];
      Packed<T, V> gradient[kAhead * kAhead];
      GRAFT_UNROLL
      for (int k = 0; k < kAhead * kAhead; ++k) {
        const int row = p + k / kAhead, column = q + k % kAhead;
        const int r = row < rows.end ? vertical.tap_at(at.row, row) : -1;
        const int t = column < columns.end ? horizontal.tap_at(at.column, column) : -1;
        const bool covers = r >= 0 && t >= 0;
        place[k] = covers ? r * horizontal.kernel + t : kNone;
        const std::int64_t window = plane + (covers ? (row * horizontal.outputs + column) * plan.channels : 0);
        from[k] = load<V>(index + window);
        gradient[k] = load<V>(gy + window);
        if (y == nullptr) continue;
        const Packed<T, V> value = load<V>(y + window);  // fused relu: closed unless positive or NaN
        GRAFT_UNROLL
        for (int v = 0; v < V; ++v)
          if (widen(value.at[v]) <= 0) from[k].at[v] = kNowhere<Index>;
      }
      GRAFT_UNROLL
      for (int k = 0; k < kAhead * kAhead; ++k) GRAFT_UNROLL
      for (int v = 0; v < V; ++v)
        if (static_cast<int>(from[k].at[v]) == place[k]) sum[v] += widen(gradient[k].at[v]);
    }
  Packed<T, V> result;
  GRAFT_UNROLL
  for (int v = 0; v < V; ++v) result.at[v] = narrow<T>(sum[v]);
  store(gx + i * V, result);
}

// --- average pooling ------------------------------------------------------------------------------------------------

// Which inputs along one axis an output averages, and which outputs an input is part of.
struct AverageAxis : Axis {
  bool adaptive;
  FastDivisor by_inputs, by_outputs;

  // first * a / b, rounded down or up.
  GRAFT_DEVICE static int down(int first, int a, const FastDivisor& by_b) {
    return static_cast<int>(by_b.divide(static_cast<std::int64_t>(first) * a));
  }
  GRAFT_DEVICE static int up(int first, int a, const FastDivisor& by_b) {
    return static_cast<int>(by_b.divide(static_cast<std::int64_t>(first) * a + by_b.divisor - 1));
  }
  GRAFT_DEVICE Range inputs_of(int p) const {
    if (adaptive) return {down(p, inputs, by_outputs), up(p + 1, inputs, by_outputs)};
    return {std::max(start(p), 0), std::min(start(p) + kernel, inputs)};
  }
  // Adaptive: floor(p inputs / outputs) <= h < (p + 1) inputs / outputs, solved for p.
  GRAFT_DEVICE Range outputs_of(int h) const {
    if (adaptive) return {down(h, outputs, by_inputs), up(h + 1, outputs, by_inputs)};
    return windows_over(h);
  }
};

struct AveragePlan {
  std::int64_t channels;
  AverageAxis vertical, horizontal;
  std::int64_t area;  // what divides every sum; 0: as many inputs as the window has inside

  template <class C>
  GRAFT_DEVICE C divisor(const Range& rows, const Range& columns) const {
    return static_cast<C>(area > 0 ? area : rows.size() * columns.size());
  }
};

template <class T, int V>
GRAFT_KERNEL_RESIDENT(kThreads, 4)  // for six, its own choice, ptxas would spill
average_pool_windows(const T* __restrict__ x, T* __restrict__ y, AveragePlan a, Images outputs, std::int64_t count) {
  using C = Compute<T>;
  const std::int64_t i = thread_number();
  if (i >= count) return;
  const Place at = place_of<V>(i, outputs);
  const T* const plane = x + at.image * a.vertical.inputs * a.horizontal.inputs * a.channels + at.channel;
  const Range rows = a.vertical.inputs_of(at.row), columns = a.horizontal.inputs_of(at.column);
  C sum[V] = {};
  for (int h = rows.begin; h < rows.end; ++h) {
    const T* input = plane + (h * a.horizontal.inputs + columns.begin) * a.channels;
    for (int w = columns.begin; w < columns.end; ++w, input += a.channels) {
      const Packed<T, V> value = load<V>(input);
      GRAFT_UNROLL
      for (int v = 0; v < V; ++v) sum[v] += widen(value.at[v]);
    }
  }
  const C divisor = a.template divisor<C>(rows, columns);
  Packed<T, V> result;
  GRAFT_UNROLL
  for (int v = 0; v < V; ++v) result.at[v] = narrow<T>(sum[v] / divisor);
  store(y + i * V, result);
}

// Large windows: a block has one output pixel and `lanes` runs of channels (a power of two); thread t adds the inputs
// t / lanes, t / lanes + kThreads / lanes, ... of the window, then the first `lanes` threads add up the parts in order.
template <class T, int V>
GRAFT_KERNEL(kThreads)
average_pool_large(const T* __restrict__ x, T* __restrict__ y, AveragePlan a, Images pixels, FastDivisor by_tiles,
                   int lanes) {
  using C = Compute<T>;
  GRAFT_SHARED(parts, C[kThreads][V]);
  const Split block = split(static_cast<int>(blockIdx.x), by_tiles);  // pixel, tile of channels
  const std::int64_t pixel = block.quotient;
  const int slot = static_cast<int>(threadIdx.x) / lanes, slots = kThreads / lanes;
  const std::int64_t run = std::int64_t{block.rest} * lanes + static_cast<int>(threadIdx.x) % lanes;
  const bool active = run * V < a.channels;
  const Position at = position(pixel, pixels.by_plane, pixels.by_width);
  const T* const plane = x + at.n * a.vertical.inputs * a.horizontal.inputs * a.channels + run * V;
  const Range rows = a.vertical.inputs_of(at.row), columns = a.horizontal.inputs_of(at.col);
  C sum[V] = {};
  const auto area = static_cast<unsigned>(rows.size() * columns.size()), width = static_cast<unsigned>(columns.size());
  for (unsigned t = slot; active && t < area; t += slots) {
    const int h = static_cast<int>(t / width), w = static_cast<int>(t % width);
    const Packed<T, V> value =
        load<V>(plane + ((rows.begin + h) * a.horizontal.inputs + columns.begin + w) * a.channels);
    GRAFT_UNROLL
    for (int v = 0; v < V; ++v) sum[v] += widen(value.at[v]);
  }
  GRAFT_UNROLL
  for (int v = 0; v < V; ++v) parts[threadIdx.x][v] = sum[v];
  __syncthreads();
  if (slot > 0 || !active) return;
  const C divisor = a.template divisor<C>(rows, columns);
  for (int other = 1; other < slots; ++other) {
    GRAFT_UNROLL
    for (int v = 0; v < V; ++v) sum[v] += parts[other * lanes + static_cast<int>(threadIdx.x)][v];
  }
  Packed<T, V> result;
  GRAFT_UNROLL
  for (int v = 0; v < V; ++v) result.at[v] = narrow<T>(sum[v] / divisor);
  store(y + pixel * a.channels + run * V, result);
}

template <class T, int V>
GRAFT_KERNEL(kThreads)
average_pool_gradient(const T* __restrict__ gy, T* __restrict__ gx, AveragePlan a, Images inputs, std::int64_t count) {
  using C = Compute<T>;
  const std::int64_t i = thread_number();
  if (i >= count) return;
  const Place at = place_of<V>(i, inputs);
  const T* const plane = gy + at.image * a.vertical.outputs * a.horizontal.outputs * a.channels + at.channel;
  const Range rows = a.vertical.outputs_of(at.row), columns = a.horizontal.outputs_of(at.column);
  C sum[V] = {};
  for (int p = rows.begin; p < rows.end; ++p)
    for (int q = columns.begin; q < columns.end; ++q) {
      const Packed<T, V> gradient = load<V>(plane + (p * a.horizontal.outputs + q) * a.channels);
      const C share = C(1) / a.template divisor<C>(a.vertical.inputs_of(p), a.horizontal.inputs_of(q));
      GRAFT_UNROLL
      for (int v = 0; v < V; ++v) sum[v] += widen(gradient.at[v]) * share;
    }
  Packed<T, V> result;
  GRAFT_UNROLL
  for (int v = 0; v < V; ++v) result.at[v] = narrow<T>(sum[v]);
  store(gx + i * V, result);
}

// --- the host's side ------------------------------------------------------------------------------------------------

// Calls f.template operator()<T, V>(): V channels a thread, as C and the addresses allow.
template <class F>
void visit_channels(const TensorRef& like, std::initializer_list<const void*> pointers, F&& f) {
  visit_floating(like.dtype, [&]<class T>(T) {
    visit_width<T>(like.shape[1] % kVectorLength<T> == 0 && all_aligned(pointers),
                   [&]<int V>(std::integral_constant<int, V>) { f.template operator()<T, V>(); });
  });
}

LaunchConfig one_thread_each(std::int64_t count) {
  return {.grid = dim3(blocks_for(count, kThreads)), .block = dim3(kThreads)};
}

constexpr std::int64_t kIntLimit = std::numeric_limits<int>::max();

// How the threads of a launch go over images like this one, V channels each.
template <int V>
Images images_of(const TensorRef& like) {
  return {FastDivisor(like.shape[1] / V), FastDivisor(like.shape[2] * like.shape[3]), FastDivisor(like.shape[3])};
}

// What positions in int and the divisors need, besides the contract.
template <class Args>
Support supports(const Args& args, const TensorRef& x, const TensorRef& y, const PoolGeometry& g) {
  if (Support support = check_contract(args); !support.ok) return support;
  Contract c;
  c.require(x.shape[2] * x.shape[3] <= kIntLimit, "runs planes of less than 2^31 positions, got ", x);
  c.require(y.shape[2] * y.shape[3] <= kIntLimit, "runs planes of less than 2^31 positions, got ", y);
  c.require(x.shape[2] + 2 * g.padding_h <= kIntLimit && x.shape[3] + 2 * g.padding_w <= kIntLimit,
            "runs padded planes of less than 2^31 rows and columns, got padding (", g.padding_h, ", ", g.padding_w,
            ")");
  c.require(x.shape[1] <= kIntLimit, "runs less than 2^31 channels, got ", x);
  constexpr std::int64_t exact = std::int64_t{1} << 51;  // FastDivisor's limit, with room for a sum
  c.require(x.shape[2] * y.shape[2] <= exact && x.shape[3] * y.shape[3] <= exact,
            "runs rows and columns whose numbers, in times out, are at most 2^51, got ", x, " and ", y);
  return c.result();
}

// A stride or a dilation beyond int belongs to a single window or tap: any large number does.
Axis axis_of(std::int64_t inputs, std::int64_t outputs, std::int64_t kernel, std::int64_t stride, std::int64_t padding,
             std::int64_t dilation) {
  const auto clamped = [](std::int64_t value) { return static_cast<int>(std::min(value, kIntLimit)); };
  return {clamped(inputs),      clamped(outputs),  clamped(kernel),
          clamped(stride),      clamped(padding),  clamped(dilation),
          FastDivisor(clamped(stride)), FastDivisor(clamped(dilation))};
}

MaxPlan max_plan_of(const TensorRef& x, const TensorRef& y, const PoolGeometry& g) {
  return {x.shape[1], axis_of(x.shape[2], y.shape[2], g.kernel_h, g.stride_h, g.padding_h, g.dilation_h),
          axis_of(x.shape[3], y.shape[3], g.kernel_w, g.stride_w, g.padding_w, g.dilation_w)};
}

// Calls f(Index{}) for what names the places of this geometry's windows.
template <class F>
void visit_index(const PoolGeometry& g, F&& f) {
  if (max_pool_index_dtype(g) == DType::u8)
    f(std::uint8_t{});
  else
    f(std::int32_t{});
}

void run_max_pool(const MaxPoolArgs& args, Stream& stream) {
  if (args.y.numel() == 0) return;
  const MaxPlan plan = max_plan_of(args.x, args.y, args.geometry);
  visit_channels(args.x, {args.x.data, args.y.data, args.index.data}, [&]<class T, int V>() {
    visit_index(args.geometry, [&]<class Index>(Index) {
      const std::int64_t count = args.y.numel() / V;
      launch("max_pool_forward", max_pool_windows<T, V, Index>, one_thread_each(count), stream, args.x.as<T>(),
             args.y.as<T>(), args.index.as<Index>(), plan, images_of<V>(args.y), count, args.relu);
    });
  });
}

void run_max_pool_backward(const MaxPoolBackwardArgs& args, Stream& stream) {
  if (args.gx.numel() == 0) return;
  const MaxPlan plan = max_plan_of(args.gx, args.gy, args.geometry);
  const TensorRef y = args.relu ? args.y : TensorRef{};
  visit_channels(args.gx, {args.gy.data, args.index.data, y.data, args.gx.data}, [&]<class T, int V>() {
    visit_index(args.geometry, [&]<class Index>(Index) {
      const std::int64_t count = args.gx.numel() / V;
      const PoolGeometry& g = args.geometry;
      // Doubles would need more registers than there are.
      constexpr int most = sizeof(T) < 8 ? 2 : 1;
      const bool overlap = g.kernel_h > g.stride_h || g.kernel_w > g.stride_w;
      launch("max_pool_backward", overlap ? max_pool_gradient<T, V, Index, most> : max_pool_gradient<T, V, Index, 1>,
             one_thread_each(count), stream, args.gy.as<T>(), args.index.as<Index>(), y.as<T>(), args.gx.as<T>(), plan,
             images_of<V>(args.gx), count);
    });
  });
}

AverageAxis average_axis(const Axis& axis, bool adaptive) {
  return {axis, adaptive, FastDivisor(axis.inputs), FastDivisor(axis.outputs)};
}

AveragePlan average_of(const TensorRef& x, const TensorRef& y, const PoolGeometry& g) {
  const MaxPlan windows = max_plan_of(x, y, g);
  return {windows.channels, average_axis(windows.vertical, false), average_axis(windows.horizontal, false),
          g.count_include_pad ? g.kernel_h * g.kernel_w : 0};
}

AveragePlan adaptive_average_of(const TensorRef& x, const TensorRef& y) {
  return {x.shape[1], average_axis(axis_of(x.shape[2], y.shape[2], 0, 1, 0, 1), true),
          average_axis(axis_of(x.shape[3], y.shape[3], 0, 1, 0, 1), true), 0};
}

// From this many inputs a window on it is shared by the threads of a block.
constexpr std::int64_t kLargeWindow = 32;

void average(const char* name, const TensorRef& x, const TensorRef& y, const AveragePlan& a, Stream& stream) {
  if (y.numel() == 0) return;
  const auto longest = [](const AverageAxis& axis) -> std::int64_t {
    return axis.adaptive ? ceil_div(axis.inputs, axis.outputs) : std::min(axis.kernel, axis.inputs);
  };
  const bool large = longest(a.vertical) * longest(a.horizontal) >= kLargeWindow;
  visit_channels(x, {x.data, y.data}, [&]<class T, int V>() {
    const std::int64_t runs = a.channels / V, count = y.numel() / V;
    if (!large) {
      launch(name, average_pool_windows<T, V>, one_thread_each(count), stream, x.as<T>(), y.as<T>(), a,
             images_of<V>(y), count);
      return;
    }
    int lanes = 1;
    while (lanes < kWarp && lanes < runs) lanes *= 2;
    const std::int64_t tiles = ceil_div<std::int64_t>(runs, lanes);
    launch(name, average_pool_large<T, V>, {.grid = dim3(blocks_for(count / runs * tiles, 1)), .block = dim3(kThreads)},
           stream, x.as<T>(), y.as<T>(), a, images_of<V>(y), FastDivisor(tiles), lanes);
  });
}

void average_backward(const char* name, const TensorRef& gy, const TensorRef& gx, const AveragePlan& a,
                      Stream& stream) {
  if (gx.numel() == 0) return;
  visit_channels(gx, {gy.data, gx.data}, [&]<class T, int V>() {
    const std::int64_t count = gx.numel() / V;
    launch(name, average_pool_gradient<T, V>, one_thread_each(count), stream, gy.as<T>(), gx.as<T>(), a,
           images_of<V>(gx), count);
  });
}

void run_avg_pool(const AvgPoolArgs& args, Stream& stream) {
  average("avg_pool_forward", args.x, args.y, average_of(args.x, args.y, args.geometry), stream);
}

void run_avg_pool_backward(const AvgPoolBackwardArgs& args, Stream& stream) {
  average_backward("avg_pool_backward", args.gy, args.gx, average_of(args.gx, args.gy, args.geometry), stream);
}

void run_adaptive_avg_pool(const AdaptiveAvgPoolArgs& args, Stream& stream) {
  average("adaptive_avg_pool_forward", args.x, args.y, adaptive_average_of(args.x, args.y), stream);
}

void run_adaptive_avg_pool_backward(const AdaptiveAvgPoolBackwardArgs& args, Stream& stream) {
  average_backward("adaptive_avg_pool_backward", args.gy, args.gx, adaptive_average_of(args.gx, args.gy), stream);
}

// The rows, with the geometry that `supports` looks at.
template <class Args>
Row<Args> forward_row(void (*run)(const Args&, Stream&)) {
  return {[](const Args& args) {
            if constexpr (requires { args.geometry; })
              return supports(args, args.x, args.y, args.geometry);
            else
              return supports(args, args.x, args.y, {});
          },
          run};
}

template <class Args>
Row<Args> backward_row(void (*run)(const Args&, Stream&)) {
  return {[](const Args& args) {
            if constexpr (requires { args.geometry; })
              return supports(args, args.gx, args.gy, args.geometry);
            else
              return supports(args, args.gx, args.gy, {});
          },
          run};
}

}  // namespace

void add_pool(BackendTable& table) {
  table.row<MaxPoolArgs>() = forward_row(run_max_pool);
  table.row<MaxPoolBackwardArgs>() = backward_row(run_max_pool_backward);
  table.row<AvgPoolArgs>() = forward_row(run_avg_pool);
  table.row<AvgPoolBackwardArgs>() = backward_row(run_avg_pool_backward);
  table.row<AdaptiveAvgPoolArgs>() = forward_row(run_adaptive_avg_pool);
  table.row<AdaptiveAvgPoolBackwardArgs>() = backward_row(run_adaptive_avg_pool_backward);
}

}  // namespace graft::kernels::cuda
