// Boxes of tensors brought to shared memory, and from there, as it lies, to where the test looks at it. Compiled by
// nvcc too.
#include <graft/kernels/cuda/arch/sm90.h>

namespace graft::simt::tensor_copies {

namespace arch = kernels::cuda::arch;

inline constexpr unsigned kMostBytes = 32 * 1024;

struct Place {
  int at[5];
  unsigned short offset[3];
};

struct alignas(1024) Box {
  std::uint32_t words[kMostBytes / 4];
  std::uint64_t full;
};

template <int Rank, bool Im2col>
GRAFT_DEVICE void load(Box* box, const runtime::TensorMap* map, const Place& p) {
  const int* const c = p.at;
  if constexpr (Im2col) {
    if constexpr (Rank == 3) arch::tma_load_im2col(box->words, map, &box->full, {c[0], c[1], c[2]}, {p.offset[0]});
    if constexpr (Rank == 4)
      arch::tma_load_im2col(box->words, map, &box->full, {c[0], c[1], c[2], c[3]}, {p.offset[0], p.offset[1]});
    if constexpr (Rank == 5)
      arch::tma_load_im2col(box->words, map, &box->full, {c[0], c[1], c[2], c[3], c[4]},
                            {p.offset[0], p.offset[1], p.offset[2]});
  } else {
    if constexpr (Rank == 1) arch::tma_load(box->words, map, &box->full, {c[0]});
    if constexpr (Rank == 2) arch::tma_load(box->words, map, &box->full, {c[0], c[1]});
    if constexpr (Rank == 3) arch::tma_load(box->words, map, &box->full, {c[0], c[1], c[2]});
    if constexpr (Rank == 4) arch::tma_load(box->words, map, &box->full, {c[0], c[1], c[2], c[3]});
    if constexpr (Rank == 5) arch::tma_load(box->words, map, &box->full, {c[0], c[1], c[2], c[3], c[4]});
  }
}

template <int Rank>
GRAFT_DEVICE void store(const runtime::TensorMap* map, const Box* box, const Place& p) {
  const int* const c = p.at;
  if constexpr (Rank == 1) arch::tma_store(map, box->words, {c[0]});
  if constexpr (Rank == 2) arch::tma_store(map, box->words, {c[0], c[1]});
  if constexpr (Rank == 3) arch::tma_store(map, box->words, {c[0], c[1], c[2]});
  if constexpr (Rank == 4) arch::tma_store(map, box->words, {c[0], c[1], c[2], c[3]});
  if constexpr (Rank == 5) arch::tma_store(map, box->words, {c[0], c[1], c[2], c[3], c[4]});
}

GRAFT_DEVICE void make_barrier(Box* box, unsigned arrivals) {
  if (threadIdx.x == 0) {
    arch::mbarrier_init(&box->full, arrivals);
    arch::fence_mbarrier_init();
  }
}

// y gets the `words` words that a load of one box leaves in shared memory.
template <int Rank, bool Im2col>
GRAFT_KERNEL(64)
look_at_box(const __grid_constant__ runtime::TensorMap map, Place place, std::uint32_t* y, unsigned words) {
  GRAFT_DYNAMIC_SHARED(Box, box);
  make_barrier(box, 1);
  __syncthreads();
  if (threadIdx.x == 0) {
    arch::prefetch_tensor_map(&map);
    arch::mbarrier_arrive_expect(&box->full, words * 4);
    load<Rank, Im2col>(box, &map, place);
  }
  arch::mbarrier_wait(&box->full, 0);
  for (unsigned i = threadIdx.x; i < words; i += blockDim.x) y[i] = box->words[i];
}

// One box from x into y at the same place, which only bulk copies and one more in every word touch.
template <int Rank>
GRAFT_KERNEL(64)
add_one(const __grid_constant__ runtime::TensorMap x, const __grid_constant__ runtime::TensorMap y, Place place,
        unsigned words) {
  GRAFT_DYNAMIC_SHARED(Box, box);
  make_barrier(box, 2);
  __syncthreads();
  if (threadIdx.x == 32) {
    arch::mbarrier_expect(&box->full, words * 4);
    load<Rank, false>(box, &x, place);
    arch::mbarrier_arrive(&box->full);
  }
  if (threadIdx.x == 0) arch::mbarrier_arrive(&box->full);
  while (!arch::mbarrier_try_wait(&box->full, 0)) {
  }
  for (unsigned i = threadIdx.x; i < words; i += blockDim.x) box->words[i] += 1;
  arch::fence_proxy_async();
  __syncthreads();
  if (threadIdx.x == 0) {
    store<Rank>(&y, box, place);
    arch::bulk_commit();
    arch::bulk_wait<0>();
    arch::mbarrier_invalidate(&box->full);
  }
}

// y = x reversed by blocks of 1024 words, each through a plain run of bytes in and out.
GRAFT_KERNEL(64) swap_runs(const std::uint32_t* x, std::uint32_t* y, unsigned runs) {
  GRAFT_DYNAMIC_SHARED(Box, box);
  make_barrier(box, 1);
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (unsigned i = 0; i < runs; ++i) {
    if (i >= 2) arch::bulk_wait_read<1>();  // the half that comes next is free
    std::uint32_t* const half = box->words + i % 2 * 1024;
    arch::mbarrier_arrive_expect(&box->full, 4096);
    arch::bulk_load(half, x + i * 1024, 4096, &box->full);
    arch::mbarrier_wait(&box->full, i & 1);
    arch::bulk_store(y + (runs - 1 - i) * 1024, half, 4096);
    arch::bulk_commit();
  }
  arch::bulk_wait_read<0>();
}

// Each block of a cluster loads a part of a box of (32, rows) words and sends it to all: y gets what each block has.
GRAFT_KERNEL(64)
share_box(const __grid_constant__ runtime::TensorMap map, std::uint32_t* y, unsigned rows) {
  GRAFT_DYNAMIC_SHARED(Box, box);
  const unsigned rank = arch::cluster_rank(), blocks = arch::cluster_size(), part = rows / blocks;
  make_barrier(box, 1);
  arch::cluster_sync();
  if (threadIdx.x == 0) {
    arch::mbarrier_arrive_expect(&box->full, rows * 128);
    arch::tma_load_multicast(box->words + rank * part * 32, &map, &box->full,
                             static_cast<std::uint16_t>((1u << blocks) - 1), {0, static_cast<int>(rank * part)});
  }
  arch::mbarrier_wait(&box->full, 0);
  for (unsigned i = threadIdx.x; i < rows * 32; i += blockDim.x) y[blockIdx.x * rows * 32 + i] = box->words[i];
  arch::cluster_sync();
}

// The same with `pixels` pixels of 32 words of an im2col matrix of images of `columns` x `rows` places.
GRAFT_KERNEL(64)
share_pixels(const __grid_constant__ runtime::TensorMap map, std::uint32_t* y, unsigned pixels, unsigned columns,
             unsigned rows) {
  GRAFT_DYNAMIC_SHARED(Box, box);
  const unsigned rank = arch::cluster_rank(), blocks = arch::cluster_size(), part = pixels / blocks;
  make_barrier(box, 1);
  arch::cluster_sync();
  if (threadIdx.x == 0) {
    const auto place = [](unsigned value) { return static_cast<int>(value); };
    const unsigned first = rank * part;
    arch::mbarrier_arrive_expect(&box->full, pixels * 128);
    arch::tma_load_im2col_multicast(
        box->words + first * 32, &map, &box->full, static_cast<std::uint16_t>((1u << blocks) - 1),
        {0, place(first % columns) - 1, place(first / columns % rows) - 1, place(first / columns / rows)},
        {static_cast<unsigned short>(2), static_cast<unsigned short>(1)});
  }
  arch::mbarrier_wait(&box->full, 0);
  for (unsigned i = threadIdx.x; i < pixels * 32; i += blockDim.x) y[blockIdx.x * pixels * 32 + i] = box->words[i];
  arch::cluster_sync();
}

// Each block of a cluster adds up the others' words, read where they lie.
GRAFT_KERNEL(64) add_over_cluster(std::uint32_t* y) {
  GRAFT_SHARED(mine, std::uint32_t[64]);
  mine[threadIdx.x] = blockIdx.x * 100 + threadIdx.x;
  arch::cluster_arrive();
  std::uint32_t sum = 0;
  arch::cluster_wait();
  for (unsigned r = 0; r < arch::cluster_size(); ++r) sum += arch::cluster_map(&mine[0], r)[threadIdx.x];
  y[blockIdx.x * 64 + threadIdx.x] = sum;
  arch::cluster_sync();
}

// What nvcc is to build of the templates.
[[maybe_unused]] static const std::tuple kInstances{&look_at_box<1, false>,
                                                    &look_at_box<2, false>,
                                                    &look_at_box<3, false>,
                                                    &look_at_box<4, false>,
                                                    &look_at_box<5, false>,
                                                    &look_at_box<3, true>,
                                                    &look_at_box<4, true>,
                                                    &look_at_box<5, true>,
                                                    &add_one<1>,
                                                    &add_one<2>,
                                                    &add_one<3>,
                                                    &add_one<4>,
                                                    &add_one<5>};

}  // namespace graft::simt::tensor_copies
