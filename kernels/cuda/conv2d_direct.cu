// Direct convolution (conv2d_direct.cuh), forward. A block has up to 64 filters in shared memory, as float, and goes
// over tiles of output positions; a thread adds up 8 filters for 4 positions: 32 products for 6 reads of shared memory.
#include <graft/kernels/cuda/conv2d_direct.cuh>

namespace graft::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kPositions = 4;
constexpr int kMostGroups = 8;  // of filters: neighbouring threads, so that their results are neighbours in memory
// Blocks go on to further tiles beyond eight for each of a large device's 132 multiprocessors: each loads its filters
// once.
constexpr std::int64_t kBlocks = 8 * 132;

// Taps whose elements are neighbours in the patch are gone through as one run.
struct TapRuns {
  int runs, length, step;
};

struct ForwardPlan {
  DirectTiles tiles;
  FastDivisor by_terms;
  TapRuns taps;
  int groups, filter_tiles, pitch;
};

// Where a thread's filter `e` of group `group` lies among the block's 8 * groups: results of 16 bytes belong to one
// thread, so a thread has 8 neighbours of the 16-bit types, and twice 4 neighbours of f32.
template <class T>
GRAFT_DEVICE int filter_of(int group, int e, int groups) {
  constexpr int v = kVectorLength<T>;
  return (e / v * groups + group) * v + e % v;
}

template <class T>
GRAFT_KERNEL_RESIDENT(kThreads, 5)  // for more ptxas would spill
conv2d_direct_kernel(const ConvShape g, const ForwardPlan plan, const T* __restrict__ x, const T* __restrict__ w,
                     const T* __restrict__ bias, T* __restrict__ y, bool vector_stores, bool relu) {
  constexpr int v = kVectorLength<T>;
  GRAFT_DYNAMIC_SHARED(float, shared);
  const DirectTiles& tiles = plan.tiles;
  const int terms = static_cast<int>(plan.by_terms.divisor), groups = plan.groups, half = 4 * groups;
  float* const filters = shared;  // (terms, pitch): of each thread's 8 filters four here, four `half` further on
  float* const patch = shared + terms * plan.pitch;

  const int thread = static_cast<int>(threadIdx.x), group = thread % groups, slot = thread / groups;
  const int filter_tile = static_cast<int>(blockIdx.x) % plan.filter_tiles;
  const int first_filter = filter_tile * groups * kDirectFilters, left = g.k - first_filter;

  for (int i = thread; i < groups * kDirectFilters * terms; i += kThreads) {
    const Split at = split(i, plan.by_terms);  // place, term
    const int e = at.quotient % kDirectFilters, of_group = at.quotient / kDirectFilters;
    const int filter = filter_of<T>(of_group, e, groups);
    const float value = filter < left ? widen(w[std::int64_t{first_filter + filter} * terms + at.rest]) : 0.0f;
    filters[at.rest * plan.pitch + e / 4 * half + of_group * 4 + e % 4] = value;
  }

  const int slots = kThreads / groups;
  int base[kPositions];  // where the windows of this thread's positions begin in the patch
  GRAFT_UNROLL
  for (int j = 0; j < kPositions; ++j) {
    const int at = slot + j * slots;
    const Split place = split(at, tiles.by_columns);
    base[j] = at < tiles.positions() ? place.quotient * g.stride_h * tiles.run + place.rest * g.stride_w * g.c : 0;
  }

  const auto step = static_cast<std::int64_t>(gridDim.x / static_cast<unsigned>(plan.filter_tiles));
  for (std::int64_t tile = blockIdx.x / static_cast<unsigned>(plan.filter_tiles); tile < tiles.count; tile += step) {
    const Position first = tiles.first_of(tile);
    __syncthreads();  // nobody reads the patch of the tile before
    load_patch<kThreads>(g, tiles, x + first.n * g.h * g.w * g.c, first.row * g.stride_h - g.padding_h,
                         first.col * g.stride_w - g.padding_w, patch);
    __syncthreads();  // patch and filters are there

    float sum[kPositions][kDirectFilters] = {};
    const float* weights = filters + group * 4;
    for (int r = 0; r < g.r; ++r)
      for (int s = 0; s < plan.taps.runs; ++s) {
        const float* from = patch + r * g.dilation_h * tiles.run + s * plan.taps.step;
        GRAFT_UNROLL_BY(3)
        for (int i = 0; i < plan.taps.length; ++i, ++from, weights += plan.pitch) {
          const Packed<float, 4> low = load<4>(weights), high = load<4>(weights + half);
          GRAFT_UNROLL
          for (int j = 0; j < kPositions; ++j) {
            const float value = from[base[j]];
            GRAFT_UNROLL
            for (int e = 0; e < 4; ++e) {
              sum[j][e] += value * low.at[e];
              sum[j][4 + e] += value * high.at[e];
            }
          }
        }
      }

    float bias_of[kDirectFilters];
    GRAFT_UNROLL
    for (int e = 0; e < kDirectFilters; ++e) {
      const int filter = filter_of<T>(group, e, groups);
      bias_of[e] = bias != nullptr && filter < left ? widen(bias[first_filter + filter]) : 0.0f;
    }
    GRAFT_UNROLL
    for (int j = 0; j < kPositions; ++j) {
      const int at = slot + j * slots;
      const Split place = split(at, tiles.by_columns);
      const int p = first.row + place.quotient, q = first.col + place.rest;
      if (at >= tiles.positions() || p >= g.p || q >= g.q) continue;
      T* const to = y + ((first.n * g.p + p) * g.q + q) * g.k + first_filter;
      GRAFT_UNROLL
      for (int e = 0; e < kDirectFilters; e += v) {
        const int filter = filter_of<T>(group, e, groups);
        Packed<T, v> result;
        GRAFT_UNROLL
        for (int i = 0; i < v; ++i) {
          const float value = sum[j][e + i] + bias_of[e + i];
          result.at[i] = narrow<T>(relu && value < 0 ? 0.0f : value);  // NaN passes
        }
        if (vector_stores && filter + v <= left) {
          store(to + filter, result);
        } else {
          GRAFT_UNROLL
          for (int i = 0; i < v; ++i)
            if (filter + i < left) to[filter + i] = result.at[i];
        }
      }
    }
  }
}

// Filters a block: as many as fit the shared memory beside their patch.
ForwardPlan plan_forward(const ConvShape& g, std::int64_t budget, std::size_t& bytes) {
  ForwardPlan plan{};
  const std::int64_t terms = std::int64_t{g.r} * g.s * g.c;
  for (int groups = filter_groups(g.k, kMostGroups); groups >= 1; groups /= 2) {
    const int pitch = groups * kDirectFilters + 4;  // the filters' loads write at most four times to a bank
    const std::int64_t left = budget / static_cast<std::int64_t>(sizeof(float)) - terms * pitch;
    if (left <= 0) continue;
    plan.tiles = output_tiles(g, kThreads / groups * kPositions, left);
    if (plan.tiles.count == 0) continue;
    plan.by_terms = FastDivisor(terms);
    plan.taps = g.dilation_w == 1 ? TapRuns{1, g.s * g.c, 0} : TapRuns{g.s, g.c, g.dilation_w * g.c};
    plan.groups = groups;
    plan.filter_tiles = ceil_div(g.k, groups * kDirectFilters);
    plan.pitch = pitch;
    bytes = sizeof(float) * static_cast<std::size_t>(terms * pitch + plan.tiles.patch());
    break;
  }
  return plan;
}

}  // namespace

bool direct_forward(const Conv2dForwardArgs& args, const ConvShape& g, Stream& stream) {
  return visit_floating(args.x.dtype, [&]<class T>(T) {
    if constexpr (!std::is_same_v<T, double>) {
      if (!is_direct<T>(g)) return false;
      std::size_t bytes = 0;
      ForwardPlan plan = plan_forward(g, kDirectShared, bytes);
      if (plan.tiles.count == 0) plan = plan_forward(g, kDirectMostShared, bytes);
      if (plan.tiles.count == 0) return false;
      const std::int64_t blocks =
          std::min(plan.tiles.count, std::max<std::int64_t>(kBlocks / plan.filter_tiles, 1)) * plan.filter_tiles;
      launch("conv2d_direct_forward", conv2d_direct_kernel<T>,
             {.grid = dim3(blocks_for(blocks, 1)), .block = dim3(kThreads), .shared_bytes = bytes}, stream, g, plan,
             args.x.as<T>(), args.w.as<T>(), args.bias.as<T>(), args.y.as<T>(),
             g.k % kVectorLength<T> == 0 && all_aligned({args.y.data}), args.activation == Activation::relu);
      return true;
    }
    return false;
  });
}

}  // namespace graft::kernels::cuda
