// Reading and writing at indexed positions.
//
// Backwards each element of gx has one owner, which adds what belongs to it in the order of the index. Two ways:
//   direct   a thread an element (or 16 bytes) of gx looks through the index: |gx| n comparisons, one launch. For short
//            indices and little work in all.
//   sorted   the entries of the index are brought into the order of their destinations (bucket.cuh, stable), then a
//            thread that stands at the first of a run of equal destinations adds up the run: O(|gx| + n passes).
// An index outside is reported, its element skipped (read: 0), so nothing leaves the tensors.
#include <graft/kernels/cuda/rows.h>
#include <graft/kernels/cuda/bucket.cuh>
#include <graft/kernels/cuda/packed.cuh>

namespace graft::kernels::cuda {
namespace {

using runtime::FaultKind;
using runtime::FaultRecord;

constexpr int kThreads = 256;
// Limits of the direct way: entries of the index that one thread reads, and that all threads together read. Chosen by
// estimate (2^26 cached reads should take about as long as the sorted way's launches), not yet measured on a GPU.
constexpr std::int64_t kDirectLength = 1024, kDirectWork = std::int64_t{1} << 26;

GRAFT_DEVICE std::int64_t thread_number() { return static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; }

LaunchConfig one_thread_each(std::int64_t count) {
  return {.grid = dim3(blocks_for(count, kThreads)), .block = dim3(kThreads)};
}

// An index tensor and what it points into.
struct Index {
  const std::int64_t* values;
  std::int64_t size;  // of the axis: values are 0 .. size - 1
  FaultKind kind;
  FaultRecord* faults;

  GRAFT_DEVICE bool inside(std::int64_t value) const { return value >= 0 && value < size; }
  GRAFT_DEVICE void report(std::int64_t position, std::int64_t value) const {
    report_fault(faults, kind, position, value, size);
  }
};

Index index_of(const TensorRef& index, std::int64_t size, FaultKind kind, const Stream& stream) {
  return {index.as<std::int64_t>(), size, kind, runtime::fault_record(stream.device.index)};
}

// A tensor around an axis: (outer, size, inner).
struct AxisSplit {
  std::int64_t outer = 1, inner = 1;
  AxisSplit(const Shape& shape, int axis) {
    for (int d = 0; d < axis; ++d) outer *= shape[d];
    for (int d = axis + 1; d < shape.rank(); ++d) inner *= shape[d];
  }
};

// The element of x that element i of an index of x's rank stands for: i's own place, but for the axis.
struct ElementMap {
  int rank = 0;
  std::int64_t sizes[kMaxRank] = {}, strides[kMaxRank] = {};  // of the index; in x, 0 along the axis
  std::int64_t step = 1;                                      // of x along the axis

  GRAFT_DEVICE std::int64_t operator()(std::int64_t i, std::int64_t value) const {
    std::int64_t offset = value * step;
    for (int d = rank - 1; d > 0; --d) {
      const std::int64_t outer = i / sizes[d];
      offset += (i - outer * sizes[d]) * strides[d];
      i = outer;
    }
    return rank > 0 ? offset + i * strides[0] : offset;
  }
};

ElementMap map_of(const Shape& index, const Shape& x, int axis) {
  ElementMap map;
  Shape strides = contiguous_strides(x);
  map.step = std::exchange(strides[axis], 0);
  for (int d = 0; d < index.rank(); ++d) {
    if (index[d] == 1) continue;
    const int last = map.rank - 1;
    // One dimension with the one before where steps along both are alike.
    if (map.rank > 0 && map.strides[last] == strides[d] * index[d]) {
      map.sizes[last] *= index[d];
      map.strides[last] = strides[d];
    } else {
      map.sizes[map.rank] = index[d];
      map.strides[map.rank++] = strides[d];
    }
  }
  return map;
}

// --- forward --------------------------------------------------------------------------------------------------------

// x (outer, size, units), y (outer, n, units): units of 1 to 16 bytes make up a row of the inner dimensions.
template <class Unit>
GRAFT_KERNEL(kThreads)
copy_selected(const Unit* __restrict__ x, Index index, Unit* __restrict__ y, std::int64_t n, std::int64_t units,
              std::int64_t count) {
  const std::int64_t i = thread_number();
  if (i >= count) return;
  const std::int64_t line = i / units, unit = i - line * units, outer = line / n, j = line - outer * n;
  const std::int64_t value = index.values[j];
  if (index.inside(value)) {
    y[i] = x[(outer * index.size + value) * units + unit];
    return;
  }
  y[i] = Unit{};
  if (outer == 0 && unit == 0) index.report(j, value);
}

template <class Unit>
GRAFT_KERNEL(kThreads)
copy_gathered(const Unit* __restrict__ x, Index index, ElementMap map, Unit* __restrict__ y, std::int64_t count) {
  const std::int64_t i = thread_number();
  if (i >= count) return;
  const std::int64_t value = index.values[i];
  const bool inside = index.inside(value);
  y[i] = inside ? x[map(i, value)] : Unit{};
  if (!inside) index.report(i, value);
}

// Calls f with a value of a type of `bytes` bytes: 1, 2, 4, 8 or 16.
template <class F>
void visit_unit(std::size_t bytes, F&& f) {
  switch (bytes) {
    case 1:
      return f(std::uint8_t{});
    case 2:
      return f(std::uint16_t{});
    case 4:
      return f(std::uint32_t{});
    case 8:
      return f(std::uint64_t{});
    default:
      return f(Vector<std::uint32_t, 4>{});
  }
}

void run_index_select(const IndexSelectArgs& args, Stream& stream) {
  if (args.y.numel() == 0) return;
  const AxisSplit split(args.x.shape, args.axis);
  const std::size_t row_bytes = static_cast<std::size_t>(split.inner) * size_of(args.x.dtype);
  std::size_t unit = 16;
  while (row_bytes % unit != 0 || !is_aligned(args.x.data, unit) || !is_aligned(args.y.data, unit)) unit /= 2;
  const auto units = static_cast<std::int64_t>(row_bytes / unit);
  const std::int64_t n = args.index.shape[0], count = split.outer * n * units;
  const Index index = index_of(args.index, args.x.shape[args.axis], FaultKind::index_select, stream);
  visit_unit(unit, [&]<class Unit>(Unit) {
    launch("index_select_forward", copy_selected<Unit>, one_thread_each(count), stream, args.x.as<Unit>(), index,
           args.y.as<Unit>(), n, units, count);
  });
}

void run_gather(const GatherArgs& args, Stream& stream) {
  const std::int64_t count = args.y.numel();
  if (count == 0) return;
  const Index index = index_of(args.index, args.x.shape[args.axis], FaultKind::gather, stream);
  const ElementMap map = map_of(args.index.shape, args.x.shape, args.axis);
  visit_unit(size_of(args.x.dtype), [&]<class Unit>(Unit) {
    launch("gather_forward", copy_gathered<Unit>, one_thread_each(count), stream, args.x.as<Unit>(), index, map,
           args.y.as<Unit>(), count);
  });
}

// --- backward, direct -----------------------------------------------------------------------------------------------

// gx (outer, size, inner): a thread has V elements along inner.
template <class T, int V>
GRAFT_KERNEL(kThreads)
add_selected(const T* __restrict__ gy, Index index, T* __restrict__ gx, int n, std::int64_t inner, std::int64_t count) {
  const std::int64_t i = thread_number();
  if (blockIdx.x == 0)
    for (int j = static_cast<int>(threadIdx.x); j < n; j += kThreads)
      if (!index.inside(index.values[j])) index.report(j, index.values[j]);
  if (i >= count) return;
  const std::int64_t runs = inner / V, line = i / runs, column = (i - line * runs) * V;
  const std::int64_t outer = line / index.size, own = line - outer * index.size;
  const T* const lines = gy + outer * n * inner + column;
  Compute<T> sum[V] = {};
  for (int j = 0; j < n; ++j) {
    if (index.values[j] != own) continue;
    const Packed<T, V> gradient = load<V>(lines + j * inner);
    GRAFT_UNROLL
    for (int v = 0; v < V; ++v) sum[v] += widen(gradient.at[v]);
  }
  Packed<T, V> result;
  GRAFT_UNROLL
  for (int v = 0; v < V; ++v) result.at[v] = narrow<T>(sum[v]);
  store(gx + i * V, result);
}

// Where an element of gx finds its line of the index, of `length` entries `step` apart.
struct LineMap {
  int rank;
  std::int64_t x_sizes[kMaxRank], index_sizes[kMaxRank], index_strides[kMaxRank];
  int axis;
  std::int64_t length, step;
};

template <class T>
GRAFT_KERNEL(kThreads)
add_gathered(const T* __restrict__ gy, Index index, LineMap map, T* __restrict__ gx, std::int64_t count) {
  const std::int64_t i = thread_number();
  if (i >= count) return;
  std::int64_t rest = i, first = 0, own = 0;
  bool beside = false;  // where the index is smaller than x: nothing comes here
  for (int d = map.rank - 1; d >= 0; --d) {
    const std::int64_t outer = rest / map.x_sizes[d], at = rest - outer * map.x_sizes[d];
    rest = outer;
    if (d == map.axis) {
      own = at;
    } else {
      beside = beside || at >= map.index_sizes[d];
      first += at * map.index_strides[d];
    }
  }
  Compute<T> sum = 0;
  for (std::int64_t j = 0; !beside && j < map.length; ++j) {
    const std::int64_t place = first + j * map.step, value = index.values[place];
    if (own == 0 && !index.inside(value)) index.report(place, value);
    if (value == own) sum += widen(gy[place]);
  }
  gx[i] = narrow<T>(sum);
}

LineMap lines_of(const Shape& index, const Shape& x, int axis) {
  LineMap map{};
  map.rank = x.rank();
  map.axis = axis;
  const Shape strides = contiguous_strides(index);
  for (int d = 0; d < x.rank(); ++d) {
    map.x_sizes[d] = x[d];
    map.index_sizes[d] = index[d];
    map.index_strides[d] = strides[d];
  }
  map.length = index[axis];
  map.step = strides[axis];
  return map;
}

// --- backward, sorted -----------------------------------------------------------------------------------------------

// keys[i] = where entry i of the index goes, `limit` when it is outside; or only the report, for null keys.
GRAFT_KERNEL(kThreads)
find_destinations(Index index, ElementMap map, std::int64_t* __restrict__ keys, std::int64_t n, std::int64_t limit) {
  const std::int64_t i = thread_number();
  if (i >= n) return;
  const std::int64_t value = index.values[i];
  const bool inside = index.inside(value);
  if (!inside) index.report(i, value);
  if (keys != nullptr) keys[i] = inside ? map(i, value) : limit;
}

// gy (outer, n, inner), gx (outer, limit, inner), which holds zeros: thread (outer, i, run of V columns) adds up the
// entries from order[i] on that have its key, if it is the first of them.
template <class T, int V>
GRAFT_KERNEL(kThreads)
add_runs(const T* __restrict__ gy, const std::int64_t* __restrict__ keys, const std::int64_t* __restrict__ order,
         T* __restrict__ gx, std::int64_t n, std::int64_t limit, std::int64_t inner, std::int64_t count) {
  const std::int64_t thread = thread_number();
  if (thread >= count) return;
  const std::int64_t runs = inner / V, line = thread / runs, column = (thread - line * runs) * V;
  const std::int64_t outer = line / n, i = line - outer * n;
  std::int64_t entry = order[i];
  const std::int64_t key = keys[entry];
  if (key == limit || (i > 0 && keys[order[i - 1]] == key)) return;
  Compute<T> sum[V] = {};
  for (std::int64_t j = i;;) {
    const Packed<T, V> gradient = load<V>(gy + (outer * n + entry) * inner + column);
    GRAFT_UNROLL
    for (int v = 0; v < V; ++v) sum[v] += widen(gradient.at[v]);
    if (++j == n) break;
    entry = order[j];
    if (keys[entry] != key) break;
  }
  Packed<T, V> result;
  GRAFT_UNROLL
  for (int v = 0; v < V; ++v) result.at[v] = narrow<T>(sum[v]);
  store(gx + (outer * limit + key) * inner + column, result);
}

// Elements of gx are (outer, limit, inner), those of gy (outer, n, inner); `map` says where in 0 .. limit - 1 the
// entries of the index go.
void add_sorted(const char* name, const TensorRef& gy, const Index& index, const ElementMap& map, const TensorRef& gx,
                const AxisSplit& split, std::int64_t n, std::int64_t limit, const Stream& stream) {
  const Workspace scratch(static_cast<std::size_t>(n) * 3 * sizeof(std::int64_t), stream);
  auto* const keys = scratch.as<std::int64_t>();
  runtime::set_bytes(gx.data, 0, static_cast<std::size_t>(gx.numel()) * size_of(gx.dtype), stream);
  launch("find_destinations", find_destinations, one_thread_each(n), stream, index, map, keys, n, limit);
  const std::int64_t* const order = bucket_order(keys, keys + n, keys + 2 * n, n, limit, stream);
  visit_floating(gx.dtype, [&]<class T>(T) {
    visit_width<T>(split.inner % kVectorLength<T> == 0 && all_aligned({gy.data, gx.data}),
                   [&]<int V>(std::integral_constant<int, V>) {
                     const std::int64_t count = gy.numel() / V;
                     launch(name, add_runs<T, V>, one_thread_each(count), stream, gy.as<T>(), keys, order, gx.as<T>(),
                            n, limit, split.inner, count);
                   });
  });
}

// What both backward ops do where there is nothing to add, or nowhere to add it. True when that was all.
bool nothing_to_add(const TensorRef& gy, const Index& index, const TensorRef& gx, std::int64_t entries,
                    const Stream& stream) {
  if (gx.numel() > 0 && gy.numel() == 0)
    runtime::set_bytes(gx.data, 0, static_cast<std::size_t>(gx.numel()) * size_of(gx.dtype), stream);
  if (gx.numel() == 0 && gy.numel() > 0)  // the axis is empty: every index is outside
    launch("find_destinations", find_destinations, one_thread_each(entries), stream, index, ElementMap{}, nullptr,
           entries, 0);
  return gx.numel() == 0 || gy.numel() == 0;
}

void run_index_select_backward(const IndexSelectBackwardArgs& args, Stream& stream) {
  const AxisSplit split(args.gx.shape, args.axis);
  const std::int64_t n = args.index.shape[0], size = args.gx.shape[args.axis];
  const Index index = index_of(args.index, size, FaultKind::index_select, stream);
  if (nothing_to_add(args.gy, index, args.gx, n, stream)) return;
  if (n > kDirectLength || n * ceil_div<std::int64_t>(args.gx.numel(), 4) > kDirectWork) {
    add_sorted("index_select_backward", args.gy, index, ElementMap{}, args.gx, split, n, size, stream);
    return;
  }
  visit_floating(args.gx.dtype, [&]<class T>(T) {
    visit_width<T>(split.inner % kVectorLength<T> == 0 && all_aligned({args.gy.data, args.gx.data}),
                   [&]<int V>(std::integral_constant<int, V>) {
                     const std::int64_t count = args.gx.numel() / V;
                     launch("index_select_backward", add_selected<T, V>, one_thread_each(count), stream,
                            args.gy.as<T>(), index, args.gx.as<T>(), n, split.inner, count);
                   });
  });
}

void run_gather_backward(const GatherBackwardArgs& args, Stream& stream) {
  const std::int64_t entries = args.gy.numel(), count = args.gx.numel(), length = args.index.shape[args.axis];
  const Index index = index_of(args.index, args.gx.shape[args.axis], FaultKind::gather, stream);
  if (nothing_to_add(args.gy, index, args.gx, entries, stream)) return;
  if (length > kDirectLength || length * count > kDirectWork) {
    const ElementMap map = map_of(args.index.shape, args.gx.shape, args.axis);
    add_sorted("gather_backward", args.gy, index, map, args.gx, AxisSplit({}, 0), entries, count, stream);
    return;
  }
  visit_floating(args.gx.dtype, [&]<class T>(T) {
    launch("gather_backward", add_gathered<T>, one_thread_each(count), stream, args.gy.as<T>(), index,
           lines_of(args.index.shape, args.gx.shape, args.axis), args.gx.as<T>(), count);
  });
}

}  // namespace

void add_gather(BackendTable& table) {
  table.row<IndexSelectArgs>() = row(run_index_select);
  table.row<IndexSelectBackwardArgs>() = row(run_index_select_backward);
  table.row<GatherArgs>() = row(run_gather);
  table.row<GatherBackwardArgs>() = row(run_gather_backward);
}

}  // namespace graft::kernels::cuda
