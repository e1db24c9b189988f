// A matrix product as Hopper's fast ones are made: a producer warp loads tiles by bulk tensor copies into a ring of
// stages, two warpgroups multiply by wgmma, a bulk store writes the result. With a cluster of two blocks, one below the
// other, each loads half of b's tile and sends it to both. Compiled by nvcc too, to see that both worlds take it.
#include <graft/kernels/cuda/arch/sm90.h>

namespace graft::simt::hopper_gemm {

namespace arch = kernels::cuda::arch;

inline constexpr int kRows = 128, kColumns = 64, kDepth = 64, kStages = 3, kConsumers = 2;
inline constexpr int kThreads = 128 * (1 + kConsumers);

struct alignas(1024) Tiles {
  __nv_bfloat16 a[kStages][kRows * kDepth];     // [row][depth], 128-byte swizzle
  __nv_bfloat16 b[kStages][kColumns * kDepth];  // the same
  float c[kConsumers][64 * kColumns];
  std::uint64_t full[kStages], empty[kStages];
};

// c (m x n, float) = a (m x k) b (n x k, transposed), by blocks of kThreads in clusters of Cluster along x (rows).
template <int Cluster>
GRAFT_KERNEL_RESIDENT(kThreads, 1)
multiply(const __grid_constant__ runtime::TensorMap a, const __grid_constant__ runtime::TensorMap b,
         const __grid_constant__ runtime::TensorMap c, int depth) {
  GRAFT_DYNAMIC_SHARED(Tiles, tiles);
  const int steps = (depth + kDepth - 1) / kDepth;
  const int row = static_cast<int>(blockIdx.x) * kRows, column = static_cast<int>(blockIdx.y) * kColumns;
  const unsigned group = threadIdx.x / 128, warp = threadIdx.x / 32, rank = Cluster > 1 ? arch::cluster_rank() : 0;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      arch::mbarrier_init(&tiles->full[i], 1);
      arch::mbarrier_init(&tiles->empty[i], 4 * kConsumers * Cluster);  // a lane of each consuming warp
    }
    arch::fence_mbarrier_init();
  }
  if constexpr (Cluster > 1)
    arch::cluster_sync();
  else
    __syncthreads();

  if (group == 0) {
    arch::registers_down<40>();
    if (warp == 0 && arch::elect_one()) {
      for (int t = 0; t < steps; ++t) {
        const int stage = t % kStages, round = t / kStages;
        if (round > 0) arch::mbarrier_wait(&tiles->empty[stage], (round - 1) & 1);
        std::uint64_t* const full = &tiles->full[stage];
        arch::mbarrier_arrive_expect(full, (kRows + kColumns) * kDepth * 2);
        arch::tma_load(tiles->a[stage], &a, full, {t * kDepth, row});
        if constexpr (Cluster > 1) {
          const int half = static_cast<int>(rank) * kColumns / 2;
          arch::tma_load_multicast(tiles->b[stage] + half * kDepth, &b, full, 3, {t * kDepth, column + half});
        } else {
          arch::tma_load(tiles->b[stage], &b, full, {t * kDepth, column});
        }
      }
    }
  } else {
    arch::registers_up<232>();
    const unsigned consumer = group - 1;
    float d[kColumns / 2];
    const auto give_back = [&](int t) {
      if (threadIdx.x % 32 == 0)
        for (unsigned r = 0; r < Cluster; ++r) arch::mbarrier_arrive_remote(&tiles->empty[t % kStages], r);
    };
    for (int t = 0; t < steps; ++t) {
      const int stage = t % kStages;
      arch::mbarrier_wait(&tiles->full[stage], t / kStages & 1);
      arch::wgmma_keep(d);
      arch::wgmma_fence();
      GRAFT_UNROLL
      for (int k = 0; k < kDepth; k += 16)
        arch::wgmma<__nv_bfloat16>(
            d, arch::wgmma_descriptor(tiles->a[stage] + consumer * 64 * kDepth + k, arch::Swizzle::bytes128, 1024),
            arch::wgmma_descriptor(tiles->b[stage] + k, arch::Swizzle::bytes128, 1024), t > 0 || k > 0);
      arch::wgmma_commit();
      arch::wgmma_wait<1>();
      if (t > 0) give_back(t - 1);
    }
    arch::wgmma_wait<0>();
    arch::wgmma_keep(d);

    float* const out = tiles->c[consumer];
    const unsigned lane = threadIdx.x % 32, first = warp % 4 * 16 + lane / 4;
    GRAFT_UNROLL
    for (unsigned i = 0; i < kColumns / 2; ++i)
      out[(first + i % 4 / 2 * 8) * kColumns + i / 4 * 8 + lane % 4 * 2 + i % 2] = d[i];
    arch::fence_proxy_async();
    arch::named_barrier_sync(1 + static_cast<int>(consumer), 128);
    if (threadIdx.x % 128 == 0) {
      arch::tma_store(&c, out, {column, row + static_cast<int>(consumer) * 64});
      arch::bulk_commit();
      arch::bulk_wait_read<0>();
    }
  }
  if constexpr (Cluster > 1) arch::cluster_sync();
}

// What nvcc is to build of the templates.
[[maybe_unused]] static const std::tuple kInstances{&multiply<1>, &multiply<2>};

}  // namespace graft::simt::hopper_gemm
