// Wrong programs, one bug each: what the emulator says of them names the call, its line, the block and the thread.
#include "simt/exec.h"

#include <graft/kernels/cuda/arch/global.h>
#include <graft/kernels/cuda/arch/sm80.h>
#include <graft/kernels/cuda/arch/sm90.h>

namespace graft::simt {
namespace {

namespace arch = kernels::cuda::arch;
using testing::HasSubstr;

class ExecMisuse : public Exec {
 protected:
  template <class... P, class... Matchers>
  static void expect(void (*kernel)(P...), LaunchDims dims, Matchers... matchers) {
    expect_report("exec_misuse_test.cpp", launch(kernel, dims), HasSubstr(matchers)...);
  }
  static LaunchDims cluster(unsigned blocks, unsigned threads) {
    LaunchDims d = dims(blocks, threads);
    d.cluster = dim3(blocks);
    return d;
  }
};
INSTANTIATE_TEST_SUITE_P(Schedules, ExecMisuse, kSchedules, schedule_name);

// --- barriers -------------------------------------------------------------------------------------------------------

GRAFT_KERNEL(64) divergent_barrier() {  // the second line to be reached is the one that is reported
  if (threadIdx.x < 32)
    MARK(__syncthreads());
  else
    MARK(__syncthreads());
}
TEST_P(ExecMisuse, DivergentBarrier) { expect(divergent_barrier, dims(1, 64), "__syncthreads", "divergent barrier"); }

GRAFT_KERNEL(64) early_exit() {
  if (threadIdx.x == 40) return;
  MARK(__syncthreads());
}
TEST_P(ExecMisuse, EarlyExitBeforeABarrier) { expect(early_exit, dims(1, 64), "__syncthreads", "early exit"); }

GRAFT_KERNEL(64) named_barrier_without_partner() {
  if (threadIdx.x < 32) MARK(arch::named_barrier_sync(1, 64));
}
TEST_P(ExecMisuse, NamedBarrierThatNobodyCompletes) {
  expect(named_barrier_without_partner, dims(1, 64), "deadlock", "named barrier");
}

GRAFT_KERNEL(64) named_barrier_out_of_range() { MARK(arch::named_barrier_sync(16, 64)); }
TEST_P(ExecMisuse, NamedBarrierOutOfRange) { expect(named_barrier_out_of_range, dims(1, 64), "from 1 to 15"); }

GRAFT_KERNEL(64) named_barrier_of_no_whole_warps() { MARK(arch::named_barrier_sync(1, 40)); }
TEST_P(ExecMisuse, NamedBarrierOfNoWholeWarps) {
  expect(named_barrier_of_no_whole_warps, dims(1, 64), "multiple of 32");
}

GRAFT_KERNEL(96) named_barrier_of_two_counts() { MARK(arch::named_barrier_sync(1, threadIdx.x < 32 ? 64 : 96)); }
TEST_P(ExecMisuse, NamedBarrierWithTwoCounts) { expect(named_barrier_of_two_counts, dims(1, 96), "expecting"); }

// --- warps ----------------------------------------------------------------------------------------------------------

GRAFT_KERNEL(32) shuffle_outside_its_mask() { MARK(__shfl_sync(0x0000ffffu, 1, 0)); }
TEST_P(ExecMisuse, MaskWithoutTheCaller) {
  expect(shuffle_outside_its_mask, dims(1, 32), "__shfl_sync", "does not name the calling lane");
}

GRAFT_KERNEL(32) shuffle_of_half_a_warp() {
  if (threadIdx.x < 16) MARK(__shfl_down_sync(0xffffffffu, 1, 1));
}
TEST_P(ExecMisuse, MaskWithLanesThatDoNotCome) {
  const cudaError_t launched = launch(shuffle_of_half_a_warp, dims(1, 32));
  expect_report("exec_misuse_test.cpp", launched, HasSubstr("__shfl_down_sync"), HasSubstr("return"));
}

GRAFT_KERNEL(32) two_masks() { MARK(__ballot_sync(threadIdx.x < 16 ? 0xffffffffu : 0xffff0000u, 1)); }
TEST_P(ExecMisuse, MasksThatContradictOneAnother) { expect(two_masks, dims(1, 32), "__ballot_sync", "mask"); }

GRAFT_KERNEL(32) odd_width() { MARK(__shfl_xor_sync(0xffffffffu, 1, 1, 12)); }
TEST_P(ExecMisuse, ShuffleOfAnOddWidth) { expect(odd_width, dims(1, 32), "width 12", "power of two"); }

GRAFT_KERNEL(32) syncwarp_that_half_misses() {
  if (threadIdx.x < 16) MARK(__syncwarp());
}
TEST_P(ExecMisuse, SyncwarpThatLanesMiss) { expect(syncwarp_that_half_misses, dims(1, 32), "__syncwarp", "return"); }

// --- deadlock -------------------------------------------------------------------------------------------------------

GRAFT_KERNEL(64) crossed_barriers() {  // each warp waits for the other at another barrier
  const int mine = threadIdx.x < 32 ? 1 : 2;
  MARK(arch::named_barrier_sync(mine, 64));
}
TEST_P(ExecMisuse, Deadlock) {
  expect(crossed_barriers, dims(1, 64), "deadlock: no thread can go on", "named barrier");
}

// --- asynchronous copies --------------------------------------------------------------------------------------------

GRAFT_KERNEL(32) misaligned_copy(const float* x) {
  GRAFT_SHARED(tile, float[64]);
  MARK(arch::cp_async16(&tile[1], x));
}
TEST_P(ExecMisuse, MisalignedAsynchronousCopy) {
  const OnDevice<float> x(std::vector<float>(64, 1.0F));
  expect_report("exec_misuse_test.cpp", launch(misaligned_copy, dims(1, 32), static_cast<const float*>(x)),
                HasSubstr("cp.async of 16 bytes"), HasSubstr("misaligned"));
}

GRAFT_KERNEL(32) copy_to_global(const float* x) { MARK(arch::cp_async4(const_cast<float*>(x) + 32, x)); }
TEST_P(ExecMisuse, AsynchronousCopyOutsideSharedMemory) {
  const OnDevice<float> x(std::vector<float>(64, 1.0F));
  expect_report("exec_misuse_test.cpp", launch(copy_to_global, dims(1, 32), static_cast<const float*>(x)),
                HasSubstr("does not lie in the block's shared memory"));
}

struct alignas(16) Four {
  float at[4];
};
GRAFT_KERNEL(32) store_to_shared() {
  GRAFT_SHARED(tile, Four[32]);
  MARK(arch::store16(tile + threadIdx.x, Four{}));
}
TEST_P(ExecMisuse, GlobalStoreToSharedMemory) {
  expect(store_to_shared, dims(1, 32), "store16 writes to global memory", "shared memory");
}

// --- mbarriers ------------------------------------------------------------------------------------------------------

GRAFT_KERNEL(32) mbarrier_not_initialised() {
  GRAFT_SHARED(barrier, std::uint64_t[1]);
  MARK(arch::mbarrier_arrive(barrier));
}
TEST_P(ExecMisuse, MbarrierThatWasNotInitialised) {
  expect(mbarrier_not_initialised, dims(1, 32), "mbarrier", "not been initialised");
}

GRAFT_KERNEL(32) mbarrier_with_a_late_thread() {
  GRAFT_SHARED(barrier, std::uint64_t[1]);
  if (threadIdx.x == 0) arch::mbarrier_init(barrier, 33);
  __syncthreads();
  arch::mbarrier_arrive(barrier);
  MARK(arch::mbarrier_wait(barrier, 0));
}
TEST_P(ExecMisuse, MbarrierThatCountsTooMany) { expect(mbarrier_with_a_late_thread, dims(1, 32), "deadlock"); }

GRAFT_KERNEL(32) mbarrier_made_twice() {
  GRAFT_SHARED(barrier, std::uint64_t[1]);
  if (threadIdx.x != 0) return;
  arch::mbarrier_init(barrier, 1);
  MARK(arch::mbarrier_init(barrier, 1));
}
TEST_P(ExecMisuse, MbarrierInitialisedTwice) { expect(mbarrier_made_twice, dims(1, 32), "initialised at", "already"); }

GRAFT_KERNEL(32) bulk_copy_without_a_fence(const float* x) {
  GRAFT_DYNAMIC_SHARED(float, tile);
  auto* barrier = reinterpret_cast<std::uint64_t*>(tile + 32);
  if (threadIdx.x != 0) return;
  arch::mbarrier_init(barrier, 1);
  arch::mbarrier_arrive_expect(barrier, 128);
  MARK(arch::bulk_load(tile, x, 128, barrier));
}
TEST_P(ExecMisuse, MbarrierWithoutAFenceBeforeACopy) {
  const OnDevice<float> x(std::vector<float>(32, 1.0F));
  expect_report("exec_misuse_test.cpp",
                launch(bulk_copy_without_a_fence, dims(1, 32, 256), static_cast<const float*>(x)),
                HasSubstr("without a fence_mbarrier_init"));
}

// --- bulk copies ----------------------------------------------------------------------------------------------------

GRAFT_KERNEL(32) bulk_copy(const float* x, int announced, int bytes, int offset) {
  GRAFT_DYNAMIC_SHARED(float, tile);
  auto* barrier = reinterpret_cast<std::uint64_t*>(tile + 64);
  if (threadIdx.x == 0) {
    arch::mbarrier_init(barrier, 1);
    arch::fence_mbarrier_init();
    arch::mbarrier_arrive_expect(barrier, static_cast<unsigned>(announced));
    if (announced == bytes)
      MARK(arch::bulk_load(tile + offset, x, static_cast<unsigned>(bytes), barrier));
    else
      arch::bulk_load(tile + offset, x, static_cast<unsigned>(bytes), barrier);
  }
  __syncthreads();
  if (announced != bytes) MARK(arch::mbarrier_wait(barrier, 0));
}
TEST_P(ExecMisuse, BulkCopyOfLessThanWasAnnounced) {
  const OnDevice<float> x(std::vector<float>(64, 1.0F));
  expect_report("exec_misuse_test.cpp", launch(bulk_copy, dims(1, 32, 512), static_cast<const float*>(x), 256, 128, 0),
                HasSubstr("deadlock"));
}
TEST_P(ExecMisuse, BulkCopyOfAnOddSize) {
  const OnDevice<float> x(std::vector<float>(64, 1.0F));
  expect_report("exec_misuse_test.cpp", launch(bulk_copy, dims(1, 32, 512), static_cast<const float*>(x), 100, 100, 0),
                HasSubstr("of 100 bytes"), HasSubstr("multiple of 16"));
}
TEST_P(ExecMisuse, MisalignedBulkCopy) {
  const OnDevice<float> x(std::vector<float>(64, 1.0F));
  expect_report("exec_misuse_test.cpp", launch(bulk_copy, dims(1, 32, 512), static_cast<const float*>(x), 64, 64, 1),
                HasSubstr("misaligned"));
}

GRAFT_KERNEL(32) tensor_load_without_a_map(const float* x) {
  GRAFT_DYNAMIC_SHARED(float, tile);
  auto* barrier = reinterpret_cast<std::uint64_t*>(tile + 64);
  if (threadIdx.x != 0) return;
  arch::mbarrier_init(barrier, 1);
  arch::fence_mbarrier_init();
  arch::mbarrier_arrive_expect(barrier, 128);
  MARK(arch::tma_load(tile, reinterpret_cast<const runtime::TensorMap*>(x), barrier, {0, 0}));
}
TEST_P(ExecMisuse, TensorLoadWithoutATensorMap) {
  const OnDevice<float> x(std::vector<float>(64, 1.0F));
  expect_report("exec_misuse_test.cpp",
                launch(tensor_load_without_a_map, dims(1, 32, 512), static_cast<const float*>(x)),
                HasSubstr("no tensor map"));
}

GRAFT_KERNEL(32) tensor_load_between_chunks(const __grid_constant__ runtime::TensorMap map) {
  GRAFT_DYNAMIC_SHARED(float, tile);
  auto* barrier = reinterpret_cast<std::uint64_t*>(tile + 64);
  if (threadIdx.x != 0) return;
  arch::mbarrier_init(barrier, 1);
  arch::fence_mbarrier_init();
  arch::mbarrier_arrive_expect(barrier, 128);
  MARK(arch::tma_load(tile, &map, barrier, {10}));
}
TEST_P(ExecMisuse, TensorLoadFromBetweenTwo16ByteChunks) {
  const OnDevice<float> x(std::vector<float>(64, 1.0F));
  const auto map = runtime::make_tensor_map(dense(x, DType::f32, {64}), {32});
  expect_report("exec_misuse_test.cpp", launch(tensor_load_between_chunks, dims(1, 32, 512), map),
                HasSubstr("innermost coordinate, 10, is 40 bytes"), HasSubstr("multiple of 16"));
}

// --- clusters -------------------------------------------------------------------------------------------------------

GRAFT_KERNEL(32) cluster_wait_alone() { MARK(arch::cluster_wait()); }
TEST_P(ExecMisuse, ClusterWaitWithoutAnArrival) {
  expect(cluster_wait_alone, cluster(2, 32), "cluster_wait", "has not arrived");
}

GRAFT_KERNEL(32) cluster_arrive_twice() {
  arch::cluster_arrive();
  MARK(arch::cluster_arrive());
}
TEST_P(ExecMisuse, ClusterArrivalTwice) { expect(cluster_arrive_twice, cluster(2, 32), "has arrived already"); }

GRAFT_KERNEL(32) cluster_left_early() {
  if (blockIdx.x == 1) return;
  MARK(arch::cluster_sync());
}
TEST_P(ExecMisuse, BlockThatLeavesItsCluster) {
  const cudaError_t launched = launch(cluster_left_early, cluster(2, 32));
  EXPECT_EQ(launched, cudaErrorLaunchFailure);
  EXPECT_THAT(text_of(cudaErrorLaunchFailure), HasSubstr("(early exit)"));
  reset();
}

// --- wgmma ----------------------------------------------------------------------------------------------------------

GRAFT_KERNEL(128) product(bool fence, bool alike) {
  GRAFT_DYNAMIC_SHARED(__nv_bfloat16, tiles);
  for (unsigned i = threadIdx.x; i < 2 * 64 * 64; i += 128) tiles[i] = __float2bfloat16_rn(1.0F);
  arch::fence_proxy_async();
  __syncthreads();
  float d[32] = {};
  const auto a = arch::wgmma_descriptor(tiles, arch::Swizzle::bytes128, 1024);
  const auto b = arch::wgmma_descriptor(tiles + 64 * 64, arch::Swizzle::bytes128, 1024);
  if (fence) arch::wgmma_fence();
  MARK(arch::wgmma<__nv_bfloat16>(d, a, b, alike || threadIdx.x < 64));
  arch::wgmma_commit();
  arch::wgmma_wait<0>();
}
TEST_P(ExecMisuse, ProductWithoutAFence) {
  expect_report("exec_misuse_test.cpp", launch(product, dims(1, 128, 2 * 64 * 64 * 2), false, true),
                HasSubstr("no wgmma_fence"));
}
TEST_P(ExecMisuse, ProductThatItsWarpsDisagreeOn) {
  expect_report("exec_misuse_test.cpp", launch(product, dims(1, 128, 2 * 64 * 64 * 2), true, false),
                HasSubstr("different descriptors or flags"));
}

GRAFT_KERNEL(128) product_at_an_odd_address() {
  GRAFT_DYNAMIC_SHARED(__nv_bfloat16, tiles);
  float d[32] = {};
  arch::wgmma_fence();
  const auto odd = arch::wgmma_descriptor(tiles + 3 * 64, arch::Swizzle::bytes128, 1024);
  MARK(arch::wgmma<__nv_bfloat16>(d, odd, odd, false));
  arch::wgmma_commit();
  arch::wgmma_wait<0>();
}
TEST_P(ExecMisuse, ProductInsideASwizzlesPattern) {
  expect(product_at_an_odd_address, dims(1, 128, 2 * 64 * 64 * 2), "begins inside a swizzle's pattern");
}

GRAFT_KERNEL(96) product_of_three_warps() { MARK(arch::wgmma_fence()); }
TEST_P(ExecMisuse, ProductOfNoWholeWarpgroup) { expect(product_of_three_warps, dims(1, 96), "no whole warpgroup"); }

}  // namespace
}  // namespace graft::simt
