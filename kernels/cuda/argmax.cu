// The position of the maximum along an axis: the first of equal values, NaN the greatest. A thread, a warp or a block
// an output: a thread where outputs are contiguous (a warp then reads 32 neighbours at each step), else by the length.
#include <graft/kernels/cuda/reduce.cuh>

namespace graft::kernels::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;

template <class T>
using Value = std::conditional_t<std::is_integral_v<T>, std::int64_t, Compute<T>>;

template <class V>
struct Best {
  V value;
  std::int64_t position;  // -1: nothing yet
};

/// The greater of two; of equals the one that comes first, whatever the order in which they are given.
template <class V>
GRAFT_DEVICE Best<V> better(const Best<V>& a, const Best<V>& b) {
  if (a.position < 0) return b;
  if (b.position < 0) return a;
  const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
  if (a_nan != b_nan) return a_nan ? a : b;
  if (a.value != b.value && !a_nan) return a.value > b.value ? a : b;
  return a.position < b.position ? a : b;
}

template <class T>
GRAFT_KERNEL(kThreads)
argmax_kernel(const Walk kept, const T* __restrict__ x, std::int64_t* __restrict__ y, std::int64_t outputs,
              std::int64_t length, std::int64_t stride, int team) {
  using V = Value<T>;
  GRAFT_SHARED(values, Value<T>[kWarps]);
  GRAFT_SHARED(positions, std::int64_t[kWarps]);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % team;
  const std::int64_t output = static_cast<std::int64_t>(blockIdx.x) * (kThreads / team) + thread / team;
  Best<V> best{V(0), -1};
  if (output < outputs) {
    x += kept.offset(output);
    for (std::int64_t i = lane; i < length; i += team) {
      const V value = static_cast<V>(x[i * stride]);
      if (best.position < 0 || value > best.value || (value != value && best.value == best.value)) best = {value, i};
    }
  }
  if (team > 1) GRAFT_UNROLL
  for (int offset = kWarp / 2; offset > 0; offset /= 2)
    best = better(best, Best<V>{__shfl_xor_sync(kAllLanes, best.value, offset),
                                __shfl_xor_sync(kAllLanes, best.position, offset)});
  if (team == kThreads) {
    if (thread % kWarp == 0) {
      values[thread / kWarp] = best.value;
      positions[thread / kWarp] = best.position;
    }
    __syncthreads();
    for (int w = 0; w < kWarps; ++w) best = better(best, Best<V>{values[w], positions[w]});
  }
  if (lane == 0 && output < outputs) y[output] = best.position;
}

}  // namespace

void argmax(const ArgmaxArgs& args, Stream& stream) {
  const std::int64_t outputs = args.y.numel(), length = args.x.shape[args.axis];
  if (outputs == 0) return;
  Walk kept, terms;
  split_dimensions(
      args.x, [&](int d) { return d == args.axis; }, kept, terms);
  const std::int64_t stride = args.x.strides[args.axis];
  const int team = kept.contiguous() && stride != 1 ? 1 : length <= 1024 ? kWarp : kThreads;
  visit_element(args.x.dtype, [&]<class T>(T) {
    launch("argmax", argmax_kernel<T>, {.grid = dim3(blocks_for(outputs, kThreads / team)), .block = dim3(kThreads)},
           stream, kept, args.x.as<const T>(), args.y.as<std::int64_t>(), outputs, length, stride, team);
  });
}

}  // namespace graft::kernels::cuda
