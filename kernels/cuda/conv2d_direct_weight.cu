// Direct convolution (conv2d_direct.cuh), gradient of the weights: gw (K, R S C) sums gy times x over all positions. A
// thread adds up 8 filters times 5 terms: 40 products for 7 reads of shared memory. The few threads that this makes a
// whole gradient of are there several times, as slices that take the positions of a tile in turns; a block adds its
// slices up in order, and the last blocks of a tile the parts of all blocks (conv2d_parts.cuh).
#include <graft/kernels/cuda/conv2d_direct.cuh>
#include <graft/kernels/cuda/conv2d_parts.cuh>

namespace graft::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTerms = 5;  // 9, 25, 27, 49 and 147 fill 90 to 100 of 100 threads
constexpr int kSums = kDirectFilters * kTerms;
constexpr int kMostGroups = 8;
constexpr int kGradients = 4096;             // elements of gy in shared memory: 16 KB
constexpr std::int64_t kBlocks = 3 * 132;    // three for each multiprocessor of a large device
constexpr std::int64_t kShortestPart = 256;  // positions
constexpr std::int64_t kMostPartElements = std::int64_t{1} << 26;

struct WeightPlan {
  DirectTiles tiles;
  int groups, filter_tiles;     // of 8 filters in a block
  int term_groups, term_tiles;  // of 5 terms in a block
  int slices;
  FastDivisor by_width;  // the filters of a block
  std::int64_t part;     // tiles of a block
};

// A thread's filter `e` of group `group` among the block's: four neighbours and, half the block's filters further on,
// four more. So neighbouring groups read different banks.
GRAFT_DEVICE int filter_of(int group, int e, int groups) { return (e / 4 * groups + group) * 4 + e % 4; }

// Shared memory: gy (positions, filters), the patch of x, where each position's window begins in it (-1: no position).
// Later, where there are slices, in its place their sums: (8 x 5, threads).
template <class T>
GRAFT_KERNEL_RESIDENT(kThreads, 3)
conv2d_direct_weight_kernel(const ConvShape g, const WeightPlan plan, const T* __restrict__ x, const T* __restrict__ gy,
                            const PartSums<T> sums, bool vector_loads) {
  constexpr int v = kVectorLength<T>;
  GRAFT_DYNAMIC_SHARED(float, shared);
  const DirectTiles& tiles = plan.tiles;
  const int groups = plan.groups, width = groups * kDirectFilters, positions = tiles.positions();
  float* const gradients = shared;
  float* const patch = gradients + positions * width;
  int* const windows = reinterpret_cast<int*>(patch + tiles.patch());

  const int thread = static_cast<int>(threadIdx.x);
  const int group = thread % groups, term_group = thread / groups % plan.term_groups;
  const int slice_threads = groups * plan.term_groups, slice = thread / slice_threads;
  unsigned block = blockIdx.x;
  const int filter_tile = static_cast<int>(block % static_cast<unsigned>(plan.filter_tiles));
  block /= static_cast<unsigned>(plan.filter_tiles);
  const int term_tile = static_cast<int>(block % static_cast<unsigned>(plan.term_tiles));
  const std::int64_t split_at = block / static_cast<unsigned>(plan.term_tiles);
  const int first_filter = filter_tile * width, left = g.k - first_filter;
  const int terms = g.taps() * g.c, first_term = term_tile * plan.term_groups * kTerms;

  int offset[kTerms];  // of this thread's terms from a window's begin
  GRAFT_UNROLL
  for (int i = 0; i < kTerms; ++i) {
    const int term = first_term + i * plan.term_groups + term_group;
    const Tap at = tap(g, term < terms ? term : 0, g.by_c);
    offset[i] = at.r * g.dilation_h * tiles.run + at.s * g.dilation_w * g.c + at.channel;
  }

  float sum[kDirectFilters][kTerms] = {};
  const std::int64_t begin = split_at * plan.part;
  const std::int64_t end = begin + plan.part < tiles.count ? begin + plan.part : tiles.count;
  for (std::int64_t tile = begin; tile < end; ++tile) {
    const Position first = tiles.first_of(tile);
    __syncthreads();  // nobody reads the tile before
    load_patch<kThreads>(g, tiles, x + first.n * g.h * g.w * g.c, first.row * g.stride_h - g.padding_h,
                         first.col * g.stride_w - g.padding_w, patch);
    for (int i = thread; i < positions; i += kThreads) {
      const Split at = split(i, tiles.by_columns);
      const bool exists = first.row + at.quotient < g.p && first.col + at.rest < g.q;
      windows[i] = exists ? at.quotient * g.stride_h * tiles.run + at.rest * g.stride_w * g.c : -1;
    }
    const T* const picture = gy + first.n * g.p * g.q * g.k + first_filter;
    GRAFT_UNROLL_BY(2)
    for (int i = thread; i < positions * width / v; i += kThreads) {
      const Split at = split(i * v, plan.by_width);  // position, filter
      const Split place = split(at.quotient, tiles.by_columns);
      const int filter = at.rest;
      const int p = first.row + place.quotient, q = first.col + place.rest;
      Packed<float, v> wide{};
      if (p < g.p && q < g.q && filter < left) {
        const T* const from = picture + (std::int64_t{p} * g.q + q) * g.k + filter;
        if (vector_loads) {
          const Packed<T, v> loaded = load<v>(from);
          GRAFT_UNROLL
          for (int f = 0; f < v; ++f) wide.at[f] = widen(loaded.at[f]);
        } else {
          GRAFT_UNROLL
          for (int f = 0; f < v; ++f)
            if (filter + f < left) wide.at[f] = widen(from[f]);
        }
      }
      store_shared(gradients + i * v, wide);
    }
    __syncthreads();  // the tile is there

    if (slice < plan.slices)
      for (int i = slice; i < positions; i += plan.slices) {
        const int window = windows[i];
        if (window < 0) continue;
        const float* const row = gradients + i * width + group * 4;
        const Packed<float, 4> low = load<4>(row), high = load<4>(row + groups * 4);
        GRAFT_UNROLL
        for (int t = 0; t < kTerms; ++t) {
          const float value = patch[window + offset[t]];
          GRAFT_UNROLL
          for (int f = 0; f < 4; ++f) {
            sum[f][t] += low.at[f] * value;
            sum[4 + f][t] += high.at[f] * value;
          }
        }
      }
  }

  // The first slice adds those after it.
  if (plan.slices > 1) {
    __syncthreads();  // nobody reads the last tile
    GRAFT_UNROLL
    for (int i = 0; i < kSums; ++i) shared[i * kThreads + thread] = sum[i / kTerms][i % kTerms];
    __syncthreads();  // the sums are there
    if (slice == 0) {
      GRAFT_UNROLL
      for (int i = 0; i < kSums; ++i) {
        float total = sum[i / kTerms][i % kTerms];
        for (int other = 1; other < plan.slices; ++other)
          total += shared[i * kThreads + other * slice_threads + thread];
        sum[i / kTerms][i % kTerms] = total;
      }
    }
  }
  if (slice == 0) {
    GRAFT_UNROLL
    for (int f = 0; f < kDirectFilters; ++f) {
      const int filter = filter_of(group, f, groups);
      float* const to = sums.parts + (split_at * g.k + first_filter + filter) * terms;
      GRAFT_UNROLL
      for (int i = 0; i < kTerms; ++i) {
        const int term = first_term + i * plan.term_groups + term_group;
        if (filter < left && term < terms) to[term] = sum[f][i];
      }
    }
  }
  // A block's filters with all terms are one run, of the lengths of vectors where the whole is.
  const int filters = min(left, width);
  const PartTile run{std::int64_t{first_filter} * terms, 0, 1, filters * terms};
  const PartTile some{std::int64_t{first_filter} * terms + first_term, terms, filters,
                      min(terms - first_term, plan.term_groups * kTerms)};
  const auto index = static_cast<int>(blockIdx.x % static_cast<unsigned>(plan.filter_tiles * plan.term_tiles));
  finish_parts<kThreads, true, 1>(sums, index, static_cast<int>(split_at), plan.term_tiles == 1 ? run : some);
}

std::size_t shared_bytes(const WeightPlan& plan) {
  const int staged = plan.tiles.positions() * (plan.groups * kDirectFilters + 1) + plan.tiles.patch();
  return sizeof(float) * static_cast<std::size_t>(plan.slices > 1 ? std::max(staged, kSums * kThreads) : staged);
}

}  // namespace

bool direct_backward_weight(const Conv2dBackwardWeightArgs& args, const ConvShape& g, Stream& stream) {
  return visit_floating(args.x.dtype, [&]<class T>(T) {
    if constexpr (!std::is_same_v<T, double>) {
      if (!is_direct<T>(g) || args.gy.numel() == 0) return false;
      const int terms = g.r * g.s * g.c;
      WeightPlan plan{};
      plan.groups = filter_groups(g.k, kMostGroups);
      plan.filter_tiles = ceil_div(g.k, plan.groups * kDirectFilters);
      plan.term_groups = std::min(ceil_div(terms, kTerms), kThreads / plan.groups);
      plan.term_tiles = ceil_div(terms, plan.term_groups * kTerms);
      plan.slices = kThreads / (plan.groups * plan.term_groups);
      plan.by_width = FastDivisor(plan.groups * kDirectFilters);
      const std::int64_t most =
          kDirectMostShared / static_cast<std::int64_t>(sizeof(float)) - kGradients - kGradients / kDirectFilters;
      plan.tiles = output_tiles(g, kGradients / (plan.groups * kDirectFilters), most);
      if (plan.tiles.count == 0) return false;
      // As many parts as make blocks enough, of whole tiles, unless they become short or take much memory.
      const std::int64_t weights = args.gw.numel(), blocks_a_part = std::int64_t{plan.filter_tiles} * plan.term_tiles;
      const std::int64_t positions = g.n * g.p * g.q;
      std::int64_t splits = std::min({ceil_div(kBlocks, blocks_a_part), plan.tiles.count, positions / kShortestPart,
                                      kMostPartElements / weights});
      plan.part = ceil_div(plan.tiles.count, std::max<std::int64_t>(splits, 1));
      splits = ceil_div(plan.tiles.count, plan.part);
      const bool whole = splits == 1 && std::is_same_v<T, float>;  // the sum is gw itself
      const Workspace memory(whole ? 0 : sizeof(float) * static_cast<std::size_t>(splits * weights), stream);
      auto* parts = whole ? static_cast<float*>(args.gw.data) : memory.as<float>();
      const std::int64_t filters = std::min(g.k, plan.groups * kDirectFilters);
      const PartSums<T> sums =
          part_sums<T>(parts, static_cast<int>(splits), args.gw, blocks_a_part,
                       filters * std::min(terms, plan.term_groups * kTerms),
                       plan.term_tiles == 1 && weights % kVectorLength<float> == 0, stream);
      launch("conv2d_direct_backward_weight", conv2d_direct_weight_kernel<T>,
             {.grid = dim3(blocks_for(blocks_a_part * splits, 1)),
              .block = dim3(kThreads),
              .shared_bytes = shared_bytes(plan)},
             stream, g, plan, args.x.as<T>(), args.gy.as<T>(), sums,
             g.k % kVectorLength<T> == 0 && all_aligned({args.gy.data}));
      if (!whole && sums.to == nullptr) add_parts(parts, static_cast<int>(splits), args.gw, stream);
      return true;
    }
    return false;
  });
}

}  // namespace graft::kernels::cuda
