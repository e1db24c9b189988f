// Cross-entropy of logits, fused with softmax.
//
// Forward: one pass over the logits. A warp takes a row (a block a long one) and finds maximum and sum of exponentials
// together, as softmax.cu does for long rows. Each block adds up the losses of its rows, and the block that ends last
// adds those sums in a fixed order. Backward: one pass, a warp to every 1024 elements, as
//   gx = g (p (a + s' W) - s' w[c] - a [c == t]),   p = exp((logit - row_max) - log_sum),
// with a = (1 - s) w[t], s' = s / C and W the sum of all class weights.
#include <cmath>

#include <graft/kernels/cuda/rows.h>
#include <graft/kernels/cuda/rows.cuh>
#include <graft/kernels/cuda/ticket.cuh>

namespace graft::kernels::cuda {
namespace {

constexpr int kLong = 256;  // threads of a row of more than kShortRow classes
constexpr std::int64_t kShortRow = 1024;
constexpr int kLossBlocks = 1024;  // of the forward at most: whose sums the last one adds up

template <class T>
struct LossRows {
  const T* logits;              // (rows, classes)
  const std::int64_t* targets;  // (rows)
  const T* weights;             // (classes) or nullptr
  Compute<T>* row_max;          // (rows)
  Compute<T>* log_sum;          // (rows)
  Compute<T>* loss;             // (rows) without a reduction, else a scalar
  Compute<T>* scale;            // a scalar
  double* partial;              // (blocks, 2) with a reduction, else nullptr: sums of losses and of weights
  std::uint32_t* counter;       // with a reduction: the blocks' tickets
  runtime::FaultRecord* faults;
  std::int64_t rows, classes, ignore_index;
  double smoothing;
  bool mean;
};

/// Whether the row takes part: not ignored, and its target a class. Tells the host where it is none.
template <class Rows>
GRAFT_DEVICE bool takes_part(const Rows& r, std::int64_t row, std::int64_t target, bool report) {
  if (target == r.ignore_index) return false;
  if (target >= 0 && target < r.classes) return true;
  if (report) report_fault(r.faults, runtime::FaultKind::target, row, target, r.classes);
  return false;
}

/// `weighted`, the sum of w (x - old) over elements whose weights are `all_weights` in sum, as the sum of w (x - next).
/// While the maximum is -infinity there were no elements, or only such: what is 0, infinite or NaN has no origin.
template <class C>
GRAFT_DEVICE C to_maximum(C weighted, C all_weights, C old, C next) {
  return old == -INFINITY ? weighted : weighted + all_weights * (old - next);
}

/// loss and scale of the blocks' sums, by a block of Threads.
template <int Threads, class T>
GRAFT_DEVICE void finish_loss(const LossRows<T>& r) {
  using C = Compute<T>;
  GRAFT_SHARED(scratch, double[2][Threads / kWarp]);
  double losses = 0, weights = 0;
  GRAFT_NO_UNROLL
  for (unsigned i = threadIdx.x; i < gridDim.x; i += Threads) {
    losses += r.partial[2 * i];
    weights += r.partial[2 * i + 1];
  }
  losses = block_reduce<Threads>(losses, scratch[0], Add{});
  weights = block_reduce<Threads>(weights, scratch[1], Add{});
  if (threadIdx.x != 0) return;
  *r.scale = static_cast<C>(r.mean ? 1 / weights : 1.0);  // infinite where every row is ignored
  *r.loss = static_cast<C>(r.mean ? losses / weights : losses);
}

template <class T, int Lanes, int V>
GRAFT_KERNEL_RESIDENT(kRowThreads<Lanes>, 512 / kRowThreads<Lanes>)  // for more ptxas would spill
cross_entropy_rows(const LossRows<T> r) {
  using C = Compute<T>;
  constexpr int E = V > 4 ? V : 4, kRows = kRowsPerBlock<Lanes>;  // more would spill
  constexpr C nothing = -INFINITY;
  GRAFT_SHARED(scratch, C[2][Lanes / kWarp]);
  GRAFT_SHARED(sums, double[kRows][2]);
  const bool leader = threadIdx.x % Lanes == 0, smooth = r.smoothing > 0;
  double losses = 0, weights = 0;  // of this row's thread 0
  for (std::int64_t row = row_of_thread<Lanes>(); row < r.rows; row += row_step<Lanes>()) {
    const T* logits = r.logits + row * r.classes;
    const std::int64_t target = r.targets[row];
    C greatest = nothing, sum = 0;
    C weighted = 0, all_weights = 0;  // sums of w[c] (logit[c] - greatest) and w[c], for the smoothing
    for (std::int64_t base = 0; base < r.classes; base += Lanes * E) {
      const int count = stretch<Lanes, E>(base, r.classes);
      C value[E];
      load_row<Lanes, V>(logits + base, count, nothing, value);
      C next = greatest;
      GRAFT_UNROLL
      for (int i = 0; i < E; ++i) next = Max{}(next, value[i]);
      const C shift = next == nothing ? 0 : next;  // nothing but -infinity so far: all terms are 0
      sum *= std::exp(greatest - shift);
      GRAFT_UNROLL
      for (int i = 0; i < E; ++i) sum += std::exp(value[i] - shift);
      if (smooth) weighted = to_maximum(weighted, all_weights, greatest, next);
      greatest = next;
      if (!smooth) continue;
      C w[E];
      if (r.weights != nullptr) {
        load_row<Lanes, V>(r.weights + base, count, C(0), w);
      } else {
        GRAFT_UNROLL
        for (int i = 0; i < E; ++i) w[i] = 1;
      }
      GRAFT_UNROLL
      for (int i = 0; i < E; ++i) {
        if (vector_column<Lanes, V>(i / V) >= count) continue;
        weighted += w[i] * (value[i] - shift);
        all_weights += w[i];
      }
    }
    const C of_thread = greatest;
    greatest = row_reduce<Lanes>(greatest, scratch[0], Max{});
    sum = row_reduce<Lanes>(sum * std::exp(of_thread - greatest), scratch[1], Add{});
    if (smooth) {
      weighted = row_reduce<Lanes>(to_maximum(weighted, all_weights, of_thread, greatest), scratch[0], Add{});
      all_weights = row_reduce<Lanes>(all_weights, scratch[1], Add{});
    }
    if (!leader) continue;
    const C log_sum = std::log(sum);
    r.row_max[row] = greatest;
    r.log_sum[row] = log_sum;
    double loss = 0;
    if (takes_part(r, row, target, true)) {
      const double w = r.weights != nullptr ? static_cast<double>(widen(r.weights[target])) : 1.0;
      // log_sum - (x - max) and not (max + log_sum) - x, which would round at the size of the logits.
      loss = (1 - r.smoothing) * w * static_cast<double>(log_sum - (widen(logits[target]) - greatest));
      if (smooth)
        loss += r.smoothing / static_cast<double>(r.classes) *
                (static_cast<double>(all_weights) * static_cast<double>(log_sum) - static_cast<double>(weighted));
      losses += loss;
      weights += w;
    }
    if (r.partial == nullptr) r.loss[row] = static_cast<C>(loss);
  }
  if (r.partial == nullptr) {
    if (blockIdx.x == 0 && threadIdx.x == 0) *r.scale = 1;
    return;
  }
  if (leader) {
    sums[threadIdx.x / Lanes][0] = losses;
    sums[threadIdx.x / Lanes][1] = weights;
  }
  if constexpr (kRows > 1) __syncthreads();
  if (threadIdx.x == 0) {
    for (int i = 1; i < kRows; ++i) {
      losses += sums[i][0];
      weights += sums[i][1];
    }
    r.partial[2 * static_cast<std::int64_t>(blockIdx.x)] = losses;
    r.partial[2 * static_cast<std::int64_t>(blockIdx.x) + 1] = weights;
  }
  if (is_last_block_of_first_threads(r.counter, gridDim.x)) finish_loss<kRowThreads<Lanes>>(r);
}

void run_cross_entropy(const CrossEntropyArgs& args, Stream& stream) {
  const std::int64_t rows = args.logits.shape[0], classes = args.logits.shape[1];
  const bool is_long = classes > kShortRow, none = args.reduction == Reduction::none;
  const auto blocks = static_cast<unsigned>(std::clamp<std::int64_t>(
      is_long ? rows : ceil_div<std::int64_t>(rows, kRowsPerBlock<kWarp>), 1, kLossBlocks));
  const Workspace partial(none ? 0 : 2 * blocks * sizeof(double), stream);
  visit_floating(args.logits.dtype, [&]<class T>(T) {
    using W = Compute<T>;
    LossRows<T> r{};
    r.logits = args.logits.as<T>();
    r.targets = args.targets.as<std::int64_t>();
    r.weights = args.class_weights.as<T>();
    r.row_max = args.row_max.as<W>();
    r.log_sum = args.log_sum.as<W>();
    r.loss = args.loss.as<W>();
    r.scale = args.scale.as<W>();
    r.partial = partial.as<double>();
    r.counter = none ? nullptr : tickets(1, stream);
    r.faults = runtime::fault_record(stream.device.index);
    r.rows = rows;
    r.classes = classes;
    r.ignore_index = args.ignore_index;
    r.smoothing = args.label_smoothing;
    r.mean = args.reduction == Reduction::mean;
    visit_width<T>(rows_allow_vectors<T>(classes, {r.logits, r.weights}), [&]<int V>(Constant<V>) {
      if (is_long)
        launch("cross_entropy_forward_long", cross_entropy_rows<T, kLong, V>,
               {.grid = dim3(blocks), .block = dim3(kLong)}, stream, r);
      else
        launch("cross_entropy_forward", cross_entropy_rows<T, kWarp, V>,
               {.grid = dim3(blocks), .block = dim3(kRowThreads<kWarp>)}, stream, r);
    });
  });
}

// --- backward -------------------------------------------------------------------------------------------------------

constexpr int kPiece = 1024;  // elements of a row that a warp takes
constexpr int kSumThreads = 256;

template <class T>
struct GradientRows {
  const T* logits;
  const std::int64_t* targets;
  const T* weights;
  const Compute<T>*row_max, *log_sum, *scale;
  const Compute<T>* gy;  // nullptr: ones
  const double* all_weights;  // their sum, where there are weights and smoothing
  T* gx;
  runtime::FaultRecord* faults;
  std::int64_t rows, classes, pieces, ignore_index;  // pieces of a row
  double smoothing;
  bool gy_per_row;
};

template <class T, int V>
GRAFT_KERNEL(kRowThreads<kWarp>)
cross_entropy_gradient(const GradientRows<T> r) {
  using C = Compute<T>;
  constexpr int E = sizeof(T) == 8 || V > 4 ? V : 4;  // more would spill
  const C smooth = static_cast<C>(r.smoothing / static_cast<double>(r.classes));
  if (const std::int64_t item = row_of_thread<kWarp>(); item < r.rows * r.pieces) {
    const std::int64_t row = item / r.pieces, begin = item % r.pieces * kPiece;
    const std::int64_t end = begin + kPiece < r.classes ? begin + kPiece : r.classes;
    const std::int64_t target = r.targets[row];
    const bool counted = takes_part(r, row, target, begin == 0 && threadIdx.x % kWarp == 0);
    C g = 0, own = 0, factor = 0, row_max = 0, log_sum = 0;
    if (counted) {
      g = *r.scale;
      if (r.gy != nullptr) g *= r.gy[r.gy_per_row ? row : 0];
      own = static_cast<C>(1 - r.smoothing) * (r.weights != nullptr ? widen(r.weights[target]) : C(1));
      const double all = r.all_weights != nullptr ? *r.all_weights : static_cast<double>(r.classes);
      factor = own + smooth * static_cast<C>(all);
      row_max = r.row_max[row];
      log_sum = r.log_sum[row];
    }
    for (std::int64_t base = begin; base < end; base += kWarp * E) {
      const std::int64_t from = row * r.classes + base;
      const int count = stretch<kWarp, E>(base, end), hit = counted ? static_cast<int>(target - base) : -1;
      C value[E];
      if (counted) {
        load_row<kWarp, V>(r.logits + from, count, C(0), value);
        GRAFT_UNROLL
        for (int i = 0; i < E; ++i) {
          const C p = std::exp(value[i] - row_max - log_sum);
          const bool is_target = vector_column<kWarp, V>(i / V) + i % V == hit;
          value[i] = p * factor - (is_target ? own : C(0));
        }
        C w[E];
        if (r.smoothing > 0 && r.weights != nullptr) {
          load_row<kWarp, V>(r.weights + base, count, C(0), w);
        } else {
          GRAFT_UNROLL
          for (int i = 0; i < E; ++i) w[i] = 1;
        }
        GRAFT_UNROLL
        for (int i = 0; i < E; ++i) value[i] = g * (value[i] - smooth * w[i]);
      } else {  // zero, also where scale is infinite
        GRAFT_UNROLL
        for (int i = 0; i < E; ++i) value[i] = 0;
      }
      store_row<kWarp, V>(r.gx + from, count, value);
    }
  }
}

template <class T>
GRAFT_KERNEL(kSumThreads)
cross_entropy_weight_sum(const T* weights, std::int64_t classes, double* sum) {
  GRAFT_SHARED(scratch, double[kSumThreads / kWarp]);
  double mine = 0;
  for (std::int64_t c = threadIdx.x; c < classes; c += kSumThreads) mine += static_cast<double>(widen(weights[c]));
  mine = block_reduce<kSumThreads>(mine, scratch, Add{});
  if (threadIdx.x == 0) *sum = mine;
}

void run_cross_entropy_backward(const CrossEntropyBackwardArgs& args, Stream& stream) {
  const std::int64_t rows = args.logits.shape[0], classes = args.logits.shape[1];
  if (rows == 0) return;
  const bool sum_weights = args.label_smoothing > 0 && args.class_weights.defined();
  const Workspace sum(sum_weights ? sizeof(double) : 0, stream);
  visit_floating(args.logits.dtype, [&]<class T>(T) {
    using W = Compute<T>;
    GradientRows<T> r{};
    r.logits = args.logits.as<T>();
    r.targets = args.targets.as<std::int64_t>();
    r.weights = args.class_weights.as<T>();
    r.row_max = args.row_max.as<W>();
    r.log_sum = args.log_sum.as<W>();
    r.scale = args.scale.as<W>();
    r.gy = args.gy.as<W>();
    r.all_weights = sum.as<double>();
    r.gx = args.gx.as<T>();
    r.faults = runtime::fault_record(stream.device.index);
    r.rows = rows;
    r.classes = classes;
    r.pieces = ceil_div<std::int64_t>(classes, kPiece);
    r.ignore_index = args.ignore_index;
    r.smoothing = args.label_smoothing;
    r.gy_per_row = args.reduction == Reduction::none;
    if (sum_weights)
      launch("cross_entropy_weight_sum", cross_entropy_weight_sum<T>, {.block = dim3(kSumThreads)}, stream,
             r.weights, classes, sum.as<double>());
    visit_width<T>(rows_allow_vectors<T>(classes, {r.logits, r.weights, r.gx}), [&]<int V>(Constant<V>) {
      launch("cross_entropy_backward", cross_entropy_gradient<T, V>,
             {.grid = row_blocks<kWarp>(rows * r.pieces), .block = dim3(kRowThreads<kWarp>)}, stream, r);
    });
  });
}

}  // namespace

void add_cross_entropy(BackendTable& table) {
  table.row<CrossEntropyArgs>() = row(run_cross_entropy);
  table.row<CrossEntropyBackwardArgs>() = row(run_cross_entropy_backward);
}

}  // namespace graft::kernels::cuda
