// The parts of a weight or bias gradient, which blocks have made of different positions, added up by the last blocks of
// each tile (ticket.cuh) in place of a second launch.
//
// Where a tile has many parts, in two steps: the last block of each group of parts adds those into the first of them,
// the last of the groups adds the groups' sums. So what one block reads alone grows with the root of the parts, and
// the groups of a tile work beside one another. An element's parts are added one after another within a group, and
// then the groups: an order that is the same whatever block is last.
#pragma once

#include <graft/kernels/cuda/ticket.cuh>

namespace graft::kernels::cuda {

/// Parts that are added in one step, at most; of more, groups of as many at least.
inline constexpr int kPartsAtOnce = 8;

/// Elements that a block adds in one step, at most (256 KB of float, which a multiprocessor reads from the L2 cache in
/// two to three microseconds, as long as a launch takes to begin). For more the other multiprocessors are worth one.
inline constexpr std::int64_t kMostAdded = std::int64_t{1} << 16;

template <class T>
struct PartSums {
  Compute<T>* parts = nullptr;  // (splits, count)
  T* to = nullptr;              // (count); null: nobody adds the parts
  std::uint32_t* counters = nullptr;  // of each tile, one of each group and one more
  std::int64_t count = 0;
  int splits = 1, group = 1, groups = 1;
  bool vectors = false;  // every tile's rows begin and end at multiples of 16 bytes in the parts, and so do they in `to`
};

/// A tile of the result: rows of neighbours.
struct PartTile {
  std::int64_t first, stride;
  int rows, columns;
};

/// to = parts[0] + parts[1] + ... over a tile. The parts lie `step` elements apart. A thread takes Runs runs of V elements
/// at a time and reads four parts of each before it adds them: the waits are what this costs.
template <int Threads, int V, int Runs, class C, class To>
GRAFT_DEVICE void add_parts_of_tile(const C* parts, std::int64_t step, int number, const PartTile& tile, To* to) {
  constexpr int kRuns = Runs, kAhead = 4;
  const int across = tile.columns / V, runs = tile.rows * across;
  GRAFT_NO_UNROLL
  for (int i = static_cast<int>(threadIdx.x); i < runs; i += kRuns * Threads) {
    int at[kRuns];
    Vector<C, V> sum[kRuns] = {};
    GRAFT_UNROLL
    for (int r = 0; r < kRuns; ++r) {
      const int run = i + r * Threads;
      at[r] = static_cast<int>(tile.first) + run / across * static_cast<int>(tile.stride) + run % across * V;
    }
    GRAFT_NO_UNROLL
    for (int s = 0; s < number; s += kAhead) {
      Vector<C, V> part[kAhead][kRuns] = {};
      GRAFT_UNROLL
      for (int k = 0; k < kAhead; ++k) GRAFT_UNROLL
      for (int r = 0; r < kRuns; ++r)
        if (s + k < number && i + r * Threads < runs)
          part[k][r] = *reinterpret_cast<const Vector<C, V>*>(parts + (s + k) * step + at[r]);
      GRAFT_UNROLL
      for (int k = 0; k < kAhead; ++k) GRAFT_UNROLL
      for (int r = 0; r < kRuns; ++r) GRAFT_UNROLL
      for (int j = 0; j < V; ++j)
        if (s + k < number) sum[r].at[j] += part[k][r].at[j];
    }
    GRAFT_UNROLL
    for (int r = 0; r < kRuns; ++r) {
      if (i + r * Threads >= runs) continue;
      Vector<To, V> result;
      GRAFT_UNROLL
      for (int j = 0; j < V; ++j) result.at[j] = narrow<To>(sum[r].at[j]);
      store_vector(to + at[r], result);
    }
  }
}

/// Called by all threads of each block that has written part `split` of the tile with this index. Vectors, Runs: a
/// kernel that has few registers may do without the adding of vectors, and take fewer runs at a time.
template <int Threads, bool Vectors, int Runs, class T>
GRAFT_DEVICE void finish_parts(const PartSums<T>& sums, int index, int split, const PartTile& tile) {
  if (sums.to == nullptr) return;
  const auto add = [&](const auto* parts, std::int64_t step, int number, auto* to) {
    if constexpr (Vectors)
      if (sums.vectors) return add_parts_of_tile<Threads, kVectorLength<Compute<T>>, Runs>(parts, step, number, tile, to);
    add_parts_of_tile<Threads, 1, Runs>(parts, step, number, tile, to);
  };
  std::uint32_t* const counters = sums.counters + std::int64_t{index} * (sums.groups + 1);
  if (sums.group > 1) {
    const int group = split / sums.group, first = group * sums.group;
    const int number = sums.splits - first < sums.group ? sums.splits - first : sums.group;
    if (!is_last_block(counters + 1 + group, static_cast<unsigned>(number))) return;
    Compute<T>* const parts = sums.parts + first * sums.count;
    add(parts, sums.count, number, parts);
  }
  if (!is_last_block(counters, static_cast<unsigned>(sums.groups))) return;
  add(sums.parts, sums.group * sums.count, sums.groups, sums.to);
}

/// For `tiles` tiles, the largest of `tile_elements`. Nobody adds (to is null) where one block would take long, or where
/// the only part is the result itself.
template <class T>
PartSums<T> part_sums(Compute<T>* parts, int splits, const TensorRef& to, std::int64_t tiles,
                      std::int64_t tile_elements, bool vectors, const Stream& stream) {
  PartSums<T> sums{.parts = parts, .count = to.numel(), .splits = splits};
  if (static_cast<const void*>(parts) == to.data) return sums;
  if (splits > kPartsAtOnce)
    for (sums.group = kPartsAtOnce; std::int64_t{sums.group} * sums.group < splits;) ++sums.group;
  sums.groups = ceil_div(splits, sums.group);
  if (std::max(sums.group, sums.groups) * tile_elements > kMostAdded || sums.count > std::int64_t{1} << 30) return sums;
  sums.to = to.as<T>();
  sums.counters = tickets(tiles * (sums.groups + 1), stream);
  sums.vectors = vectors && is_aligned(parts, 16) && is_aligned(to.data, sizeof(Vector<T, kVectorLength<Compute<T>>>));
  return sums;
}

}  // namespace graft::kernels::cuda
