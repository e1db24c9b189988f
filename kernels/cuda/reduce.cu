// Sums, means and maxima over any axes. Two kernels read x:
//   reduce_rows     a warp or a block an output, its threads side by side along the terms; 16-byte loads where the
//   terms are
//                   contiguous. Serves every layout.
//   reduce_columns  where outputs are contiguous and terms are not: threads side by side along the outputs.
// Where there are few outputs with many terms, the terms are cut into chunks (by the shape alone) whose partial results
// go to a workspace; the last block of each output's (ticket.cuh) combines them in double. Where that would be much for
// one block, a second launch does it: reduce_finish. Every thread restarts its accumulators each kRun steps, so
// that the error of a long sum grows with the length of a run and the number of runs, not with their product.
#include <graft/kernels/cuda/rows.h>
#include <graft/kernels/cuda/reduce.cuh>
#include <graft/kernels/cuda/ticket.cuh>

namespace graft::kernels::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp, kRun = 64;

template <class T>
using Accumulator = std::conditional_t<std::is_integral_v<T>, std::int64_t, Compute<T>>;

/// Whether the error of a sum grows with its terms, so that runs are worth their registers.
template <class A, bool kMax>
inline constexpr bool kRounds = !kMax && !std::is_integral_v<A>;

/// What partial results are combined in.
template <class A>
using Wide = std::conditional_t<std::is_integral_v<A>, A, double>;

template <bool kMax, class A>
GRAFT_DEVICE A identity() {
  if constexpr (!kMax)
    return A(0);
  else if constexpr (std::is_integral_v<A>)
    return std::numeric_limits<A>::min();
  else
    return -static_cast<A>(INFINITY);
}

template <bool kMax, class A>
GRAFT_DEVICE A combine(A a, A b) {
  if constexpr (kMax)
    return Max{}(a, b);
  else
    return a + b;
}

/// The terms of an n-vector of accumulators, as a tree.
template <bool kMax, int n, class A>
GRAFT_DEVICE A combine_all(A (&values)[n]) {
  GRAFT_UNROLL
  for (int width = n / 2; width > 0; width /= 2) GRAFT_UNROLL
  for (int i = 0; i < n / 2; ++i)
    if (i < width) values[i] = combine<kMax>(values[i], values[i + width]);
  return values[0];
}

template <class T>
GRAFT_DEVICE Accumulator<T> load(const T* p) {
  if constexpr (std::is_integral_v<T>)
    return *p;
  else
    return widen(*p);
}

template <class T, class A>
GRAFT_DEVICE T result_of(A total, std::int64_t divisor) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(total);
  else
    return narrow<T>(static_cast<Compute<T>>(divisor < 0 ? total : total / static_cast<A>(divisor)));
}

struct Plan {
  Walk kept, terms;
  std::int64_t outputs, length;        // length: terms an output
  std::int64_t chunk, chunks;          // terms are cut into `chunks` of `chunk`
  std::int64_t divisor;                // of a mean; -1: none
  std::int64_t columns, column_tiles;  // of reduce_columns: the innermost kept dimension
  int across;                          // its threads side by side along the columns
  bool vectors, per_warp;
};

// --- partial results ------------------------------------------------------------------------------------------------

/// parts (outputs, chunks) of `count` outputs to y: a warp kTogether outputs at a time, its lanes along the chunks.
template <class T, bool kMax, int kTogether>
GRAFT_DEVICE void finish_outputs(const Accumulator<T>* parts, T* y, std::int64_t first, std::int64_t count,
                                 const std::int64_t chunks, std::int64_t divisor) {
  using W = Wide<Accumulator<T>>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  for (std::int64_t o = static_cast<std::int64_t>(warp) * kTogether; o < count; o += kWarps * kTogether) {
    W total[kTogether];
    GRAFT_UNROLL
    for (int k = 0; k < kTogether; ++k) total[k] = identity<kMax, W>();
    for (std::int64_t i = lane; i < chunks; i += kWarp) GRAFT_UNROLL
    for (int k = 0; k < kTogether; ++k)
      if (o + k < count) total[k] = combine<kMax>(total[k], static_cast<W>(parts[(first + o + k) * chunks + i]));
    GRAFT_UNROLL
    for (int k = 0; k < kTogether; ++k)
      total[k] = warp_reduce(total[k], [](W a, W b) { return combine<kMax>(a, b); });
    GRAFT_UNROLL
    for (int k = 0; k < kTogether; ++k)
      if (lane == k && o + k < count) y[first + o + k] = result_of<T>(total[k], divisor);
  }
}

constexpr int kFinished = 32;  // outputs a block of reduce_finish

template <class T, bool kMax>
GRAFT_KERNEL(kThreads)
reduce_finish(const Accumulator<T>* parts, T* y, std::int64_t outputs, std::int64_t chunks, std::int64_t divisor) {
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kFinished;
  finish_outputs<T, kMax, 4>(parts, y, first, outputs - first < kFinished ? outputs - first : kFinished, chunks, divisor);
}

// --- terms side by side ---------------------------------------------------------------------------------------------

/// parts (outputs, chunks), or nullptr: the results go to y. counters: one an output, or nullptr: parts stay.
template <class T, bool kMax>
GRAFT_KERNEL_RESIDENT(kThreads, 4)  // for six, its own choice, ptxas would spill
reduce_rows(const Plan plan, const T* __restrict__ x, T* __restrict__ y, Accumulator<T>* parts,
            std::uint32_t* counters) {
  using A = Accumulator<T>;
  constexpr int n = kVectorLength<T>;
  GRAFT_SHARED(scratch, Accumulator<T>[kWarps]);
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int team = plan.per_warp ? kWarp : kThreads, lane = static_cast<int>(threadIdx.x) % team;
  const std::int64_t item = plan.per_warp ? static_cast<std::int64_t>(blockIdx.x) * kWarps + warp : blockIdx.x;
  const std::int64_t output = item / plan.chunks, begin = item % plan.chunks * plan.chunk;
  const bool exists = output < plan.outputs;
  const std::int64_t end = !exists ? begin : plan.length - begin < plan.chunk ? plan.length : begin + plan.chunk;
  A total = identity<kMax, A>();
  if (exists) x += plan.kept.offset(output);
  const auto add_runs = [&](std::int64_t i, std::int64_t stop, std::int64_t step, const auto& add) {
    while (i < stop) {
      A sums[n];
      GRAFT_UNROLL
      for (int j = 0; j < n; ++j) sums[j] = identity<kMax, A>();
      for (int run = 0; run < kRun && i < stop; ++run, i += step) add(i, sums);
      total = combine<kMax>(total, combine_all<kMax>(sums));
    }
  };
  if (plan.vectors) {
    const std::int64_t whole = end - (end - begin) % n;
    add_runs(begin + lane * n, whole, team * n, [&](std::int64_t i, A(&sums)[n]) {
      const auto v = *reinterpret_cast<const Vector<T, n>*>(x + plan.terms.offset(i));
      GRAFT_UNROLL
      for (int j = 0; j < n; ++j) sums[j] = combine<kMax>(sums[j], load(&v.at[j]));
    });
    if (lane < end - whole) total = combine<kMax>(total, load(x + plan.terms.offset(whole + lane)));
  } else {
    add_runs(begin + lane, end, team * n, [&](std::int64_t i, A(&sums)[n]) {
      GRAFT_UNROLL
      for (int j = 0; j < n; ++j)
        if (i + j * team < end) sums[j] = combine<kMax>(sums[j], load(x + plan.terms.offset(i + j * team)));
    });
  }
  total = warp_reduce(total, [](A a, A b) { return combine<kMax>(a, b); });
  if (!plan.per_warp) {
    if (threadIdx.x % kWarp == 0) scratch[warp] = total;
    __syncthreads();
    total = scratch[0];
    GRAFT_UNROLL
    for (int w = 1; w < kWarps; ++w) total = combine<kMax>(total, scratch[w]);
  }
  if (parts == nullptr) {
    if (lane == 0 && exists) y[output] = result_of<T>(total, plan.divisor);
    return;
  }
  if (lane == 0) parts[item] = total;  // a block an item
  if (is_last_block_of_first_threads(counters + output, static_cast<unsigned>(plan.chunks)))
    finish_outputs<T, kMax, 1>(parts, y, output, 1, plan.chunks, plan.divisor);
}

// --- outputs side by side -------------------------------------------------------------------------------------------

/// A block takes `across` * n columns and one chunk of rows: n columns a thread (neighbours where whole vectors can be
/// read, else `across` apart), 256 / across rows at once. Blocks: tiles of columns, then chunks, then outer positions.
/// counters: one a tile and outer position, or nullptr: parts stay.
template <class T, bool kMax>
GRAFT_KERNEL(kThreads)
reduce_columns(const Plan plan, const T* __restrict__ x, T* __restrict__ y, Accumulator<T>* parts,
               std::uint32_t* counters) {
  using A = Accumulator<T>;
  constexpr int n = kVectorLength<T>;
  constexpr int kEntries = kThreads * kVectorLength<T>;  // nvcc takes the product itself for a variable
  GRAFT_SHARED(sums, Accumulator<T>[kEntries]);
  const int across = plan.across, down = kThreads / across;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % across, row = thread / across;
  const std::int64_t tile = blockIdx.x % plan.column_tiles, rest = blockIdx.x / plan.column_tiles;
  const std::int64_t chunk = rest % plan.chunks, outer = rest / plan.chunks;
  const std::int64_t first_column = tile * across * n, first_output = outer * plan.columns + first_column;
  const int here =
      static_cast<int>(std::min<std::int64_t>(plan.columns - first_column, static_cast<std::int64_t>(across * n)));
  const std::int64_t begin = chunk * plan.chunk;
  const std::int64_t end = plan.length - begin < plan.chunk ? plan.length : begin + plan.chunk;
  const int spacing = plan.vectors ? 1 : across, mine = plan.vectors ? lane * n : lane;  // column mine + j * spacing
  x += plan.kept.offset(first_output) + mine;
  A total[n];
  GRAFT_UNROLL
  for (int j = 0; j < n; ++j) total[j] = identity<kMax, A>();
  const auto add_row = [&](std::int64_t i, A(&into)[n]) {
    const T* const from = x + plan.terms.offset(i);
    if (plan.vectors) {
      const auto v = *reinterpret_cast<const Vector<T, n>*>(from);
      GRAFT_UNROLL
      for (int j = 0; j < n; ++j) into[j] = combine<kMax>(into[j], load(&v.at[j]));
    } else {
      GRAFT_UNROLL
      for (int j = 0; j < n; ++j)
        if (mine + j * across < here) into[j] = combine<kMax>(into[j], load(from + j * across));
    }
  };
  std::int64_t i = mine < here ? begin + row : end;
  if constexpr (!kRounds<A, kMax>) {
    for (; i < end; i += down) add_row(i, total);
  } else {
    while (i < end) {
      A run_sums[n] = {};
      for (int run = 0; run < kRun && i < end; ++run, i += down) add_row(i, run_sums);
      GRAFT_UNROLL
      for (int j = 0; j < n; ++j) total[j] += run_sums[j];
    }
  }
  GRAFT_UNROLL
  for (int j = 0; j < n; ++j) sums[row * across * n + mine + j * spacing] = total[j];
  __syncthreads();
  for (int c = thread; c < here; c += kThreads) {
    A value = sums[c];
    for (int r = 1; r < down; ++r) value = combine<kMax>(value, sums[r * across * n + c]);
    if (parts != nullptr)
      parts[(first_output + c) * plan.chunks + chunk] = value;
    else
      y[first_output + c] = result_of<T>(value, plan.divisor);
  }
  if (counters != nullptr &&
      is_last_block(counters + outer * plan.column_tiles + tile, static_cast<unsigned>(plan.chunks)))
    finish_outputs<T, kMax, 4>(parts, y, first_output, here, plan.chunks, plan.divisor);
}

// --- the host's side ------------------------------------------------------------------------------------------------

/// Whether 16-byte vectors along `inner` can be read everywhere: all other strides and the address keep the alignment.
template <class T>
bool reads_vectors(const TensorRef& x, const Walk& inner, const Walk& other, bool any_length) {
  constexpr int n = kVectorLength<T>;
  if (!inner.contiguous() || !is_aligned(x.data, 16)) return false;
  if (!(any_length && inner.rank == 1) && inner.inner_size() % n != 0) return false;
  for (int d = 0; d < inner.rank - 1; ++d)
    if (inner.strides[d] % n != 0) return false;
  for (int d = 0; d < other.rank; ++d)
    if (other.strides[d] % n != 0) return false;
  return true;
}

/// Partial results that the last block of a tile combines; for more the other multiprocessors' help is worth a launch.
constexpr std::int64_t kMostParts = 16384;

/// Cuts the terms so that about 512 blocks have work, each of them `least` terms or more; chunks are multiples of 64.
void cut(Plan& plan, std::int64_t blocks, std::int64_t least) {
  const std::int64_t chunks =
      std::max<std::int64_t>(std::min(512 / std::max<std::int64_t>(blocks, 1), plan.length / least), 1);
  plan.chunk = ceil_div<std::int64_t>(std::max<std::int64_t>(ceil_div(plan.length, chunks), 1), 64) * 64;
  plan.chunks = std::max<std::int64_t>(ceil_div(plan.length, plan.chunk), 1);
}

template <class T, bool kMax>
void reduce(const ReduceArgs& args, const Stream& stream) {
  using A = Accumulator<T>;
  constexpr int n = kVectorLength<T>;
  Plan plan{};
  split_dimensions(
      args.x, [&](int d) { return args.y.shape[d] == 1 && args.x.shape[d] != 1; }, plan.kept, plan.terms);
  plan.outputs = args.y.numel();
  plan.length = args.x.numel() / plan.outputs;
  plan.divisor = args.op == ReduceOp::mean ? plan.length : -1;
  const T* const x = args.x.as<const T>();
  T* const y = args.y.as<T>();
  const bool columns = plan.length > 0 && plan.kept.contiguous() && !plan.terms.contiguous();
  std::int64_t blocks = 0;
  if (columns) {
    plan.columns = plan.kept.inner_size();
    plan.vectors = reads_vectors<T>(args.x, plan.kept, plan.terms, false);
    for (plan.across = 1; plan.across < kWarp && plan.across * n < plan.columns;) plan.across *= 2;
    plan.column_tiles = ceil_div<std::int64_t>(plan.columns, plan.across * n);
    const std::int64_t tiles = plan.column_tiles * (plan.outputs / plan.columns);
    cut(plan, tiles, 4 * (kThreads / plan.across));
    blocks = tiles * plan.chunks;
  } else {
    plan.vectors = reads_vectors<T>(args.x, plan.terms, plan.kept, true);
    plan.per_warp = plan.length <= 1024;
    cut(plan, plan.outputs, plan.per_warp ? plan.length + 1 : 4096);
    blocks = plan.per_warp ? ceil_div<std::int64_t>(plan.outputs, kWarps) : plan.outputs * plan.chunks;
  }
  const LaunchConfig config{.grid = dim3(blocks_for(blocks, 1)), .block = dim3(kThreads)};
  const auto run = [&](A* parts, std::uint32_t* counters) {
    if (columns)
      launch("reduce_columns", reduce_columns<T, kMax>, config, stream, plan, x, y, parts, counters);
    else
      launch("reduce_rows", reduce_rows<T, kMax>, config, stream, plan, x, y, parts, counters);
  };
  if (plan.chunks == 1) return run(nullptr, nullptr);
  const Workspace parts(static_cast<std::size_t>(plan.outputs * plan.chunks) * sizeof(A), stream);
  if (!columns || plan.across * n * plan.chunks <= kMostParts)
    return run(parts.as<A>(), tickets(blocks / plan.chunks, stream));
  run(parts.as<A>(), nullptr);
  launch("reduce_finish", reduce_finish<T, kMax>,
         {.grid = dim3(blocks_for(plan.outputs, kFinished)), .block = dim3(kThreads)}, stream, parts.as<A>(), y,
         plan.outputs, plan.chunks, plan.divisor);
}

template <class T>
void reduce(const ReduceArgs& args, const Stream& stream) {
  args.op == ReduceOp::max ? reduce<T, true>(args, stream) : reduce<T, false>(args, stream);
}

void run_reduce(const ReduceArgs& args, Stream& stream) {
  if (args.y.numel() == 0) return;
  switch (args.x.dtype) {
    case DType::i64:
      return reduce<std::int64_t>(args, stream);
    case DType::i32:
      return reduce<std::int32_t>(args, stream);
    default:
      visit_floating(args.x.dtype, [&]<class T>(T) { reduce<T>(args, stream); });
  }
}

}  // namespace

void add_reduce(BackendTable& table) {
  table.row<ReduceArgs>() = row(run_reduce);
  table.row<ArgmaxArgs>() = row(argmax);
}

}  // namespace graft::kernels::cuda
