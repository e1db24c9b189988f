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

/// to = parts[0] + parts[1] + ... over a tile, V elements a thread. The parts lie `step` elements apart.
template <int Threads, int V, class C, class To>
GRAFT_DEVICE void add_parts_of_tile(const C* parts, std::int64_t step, int number, const PartTile& tile, To* to) {
  const int across = tile.columns / V;
  GRAFT_NO_UNROLL
  for (int i = static_cast<int>(threadIdx.x); i < tile.rows * across; i += Threads) {
    const std::int64_t at = tile.first + i / across * tile.stride + i % across * V;
    const C* from = parts + at;
    Vector<C, V> sum{};
    GRAFT_UNROLL_BY(kPartsAtOnce)
    for (int s = 0; s < number; ++s, from += step) {
      const auto part = *reinterpret_cast<const Vector<C, V>*>(from);
      GRAFT_UNROLL
      for (int j = 0; j < V; ++j) sum.at[j] += part.at[j];
    }
    Vector<To, V> result;
    GRAFT_UNROLL
    for (int j = 0; j < V; ++j) result.at[j] = narrow<To>(sum.at[j]);
    store_vector(to + at, result);
  }
}

/// Called by all threads of each block that has written part `split` of the tile with this index. Vectors: a kernel
/// that has other things in its registers may do without the adding of vectors.
template <int Threads, bool Vectors, class T>
GRAFT_DEVICE void finish_parts(const PartSums<T>& sums, int index, int split, const PartTile& tile) {
  if (sums.to == nullptr) return;
  const auto add = [&](const auto* parts, std::int64_t step, int number, auto* to) {
    if constexpr (Vectors)
      if (sums.vectors) return add_parts_of_tile<Threads, kVectorLength<Compute<T>>>(parts, step, number, tile, to);
    add_parts_of_tile<Threads, 1>(parts, step, number, tile, to);
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
  if (std::max(sums.group, sums.groups) * tile_elements > kMostAdded) return sums;
  sums.to = to.as<T>();
  sums.counters = tickets(tiles * (sums.groups + 1), stream);
  sums.vectors = vectors && is_aligned(parts, 16) && is_aligned(to.data, sizeof(Vector<T, kVectorLength<Compute<T>>>));
  return sums;
}

}  // namespace graft::kernels::cuda
