// PTX of sm_90a: clusters, mbarriers, bulk (tensor) copies, wgmma. On the host the emulator's functions of the same
// names. A kernel file is compiled for older devices as well: there these functions trap, and a kernel that calls them
// is launched on devices of compute capability 9.0 only.
#pragma once

#include <graft/kernels/cuda/arch/sm80.h>
#include <graft/kernels/runtime/tensor_map.h>

#if GRAFT_EMULATED
#include <graft/kernels/simt/sm90.h>
#else
#include <graft/kernels/cuda/arch/wgmma_operands.h>

// A body of PTX that only sm_90a has.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define GRAFT_SM90(...) __VA_ARGS__
#else
#define GRAFT_SM90(...) __trap()
#endif

namespace graft::kernels::cuda::arch {

// --- clusters -------------------------------------------------------------------------------------------------------

/// The block's number in its cluster, and how many blocks the cluster has.
GRAFT_DEVICE unsigned cluster_rank() {
  unsigned rank = 0;
  GRAFT_SM90(asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank)));
  return rank;
}
GRAFT_DEVICE unsigned cluster_size() {
  unsigned size = 0;
  GRAFT_SM90(asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(size)));
  return size;
}

/// The cluster's barrier, of all threads of all its blocks, in two halves, and as a whole. No block may return while
/// others use its shared memory: such a cluster ends with this barrier. `.aligned` is undefined for a warp that has not
/// come together again after a branch or a loop that its lanes left one by one, hence the __syncwarp.
GRAFT_DEVICE void cluster_arrive() {
  __syncwarp();
  GRAFT_SM90(asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"));
}
GRAFT_DEVICE void cluster_wait() {
  __syncwarp();
  GRAFT_SM90(asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"));
}
GRAFT_DEVICE void cluster_sync() {
  cluster_arrive();
  cluster_wait();
}

/// Where the shared variable that p points to lies in block `rank` of the cluster, for ordinary loads and stores.
template <class T>
GRAFT_DEVICE T* cluster_map(T* p, unsigned rank) {
  std::uint64_t there = 0;
  GRAFT_SM90(asm("mapa.u64 %0, %1, %2;" : "=l"(there) : "l"(reinterpret_cast<std::uint64_t>(p)), "r"(rank)));
  return reinterpret_cast<T*>(there);
}

/// True in one lane of the warp, the same each time. All lanes must call.
GRAFT_DEVICE bool elect_one() {
  unsigned elected = 0;
  GRAFT_SM90(asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.u32 %0, 1, 0, p;\n}" : "=r"(elected)));
  return elected != 0;
}

/// Changes how many registers each thread of the warp may use (setmaxnreg; 24 to 256, by 8): producers give, consumers
/// take. All warps of a warpgroup must call; ptxas ignores it unless the kernel is a GRAFT_KERNEL_RESIDENT.
template <int Count>
GRAFT_DEVICE void registers_up() {
  GRAFT_SM90(asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Count)));
}
template <int Count>
GRAFT_DEVICE void registers_down() {
  GRAFT_SM90(asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Count)));
}

// --- mbarriers ------------------------------------------------------------------------------------------------------

/// A barrier in shared memory whose phases are complete after `arrivals` arrivals and as many bytes of bulk loads as
/// were announced. Then fence_mbarrier_init, and a barrier of the block (the cluster), before others use it.
GRAFT_DEVICE void mbarrier_init(std::uint64_t* barrier, unsigned arrivals) {
  GRAFT_SM90(asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals)
                          : "memory"));
}
/// Its memory may serve another purpose from here on.
GRAFT_DEVICE void mbarrier_invalidate(std::uint64_t* barrier) {
  GRAFT_SM90(asm volatile("mbarrier.inval.shared::cta.b64 [%0];" ::"r"(shared_address(barrier)) : "memory"));
}
GRAFT_DEVICE void mbarrier_arrive(std::uint64_t* barrier) {
  GRAFT_SM90(asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory"));
}
/// Arrives, and announces bytes that the phase waits for.
GRAFT_DEVICE void mbarrier_arrive_expect(std::uint64_t* barrier, unsigned bytes) {
  GRAFT_SM90(
      asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
                   : "memory"));
}
/// Announces bytes without arriving.
GRAFT_DEVICE void mbarrier_expect(std::uint64_t* barrier, unsigned bytes) {
  GRAFT_SM90(
      asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
                   : "memory"));
}
/// Arrives at the barrier that lies in block `rank` of the cluster where `barrier` lies in this one.
GRAFT_DEVICE void mbarrier_arrive_remote(std::uint64_t* barrier, unsigned rank) {
  GRAFT_SM90(
      asm volatile("{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %0, %1;\n"
                   "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [there];\n}" ::"r"(shared_address(barrier)),
                   "r"(rank)
                   : "memory"));
}
/// Whether the phase of this parity is complete (the first phase has 0); waits for a while. Call it in a loop only.
GRAFT_DEVICE bool mbarrier_try_wait(std::uint64_t* barrier, unsigned parity) {
  unsigned complete = 0;
  GRAFT_SM90(
      asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;\n"
                   "selp.u32 %0, 1, 0, p;\n}"
                   : "=r"(complete)
                   : "r"(shared_address(barrier)), "r"(parity)
                   : "memory"));
  return complete != 0;
}
/// Waits until the phase of this parity is complete.
GRAFT_DEVICE void mbarrier_wait(std::uint64_t* barrier, unsigned parity) {
  GRAFT_SM90(while (!mbarrier_try_wait(barrier, parity)){});
}

/// Makes the caller's mbarrier_init known to the cluster and to bulk copies.
GRAFT_DEVICE void fence_mbarrier_init() {
  GRAFT_SM90(asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"));
}
/// Between the caller's ordinary writes to shared memory and what bulk copies or wgmma do to it after the next barrier.
GRAFT_DEVICE void fence_proxy_async() { GRAFT_SM90(asm volatile("fence.proxy.async.shared::cta;" ::: "memory")); }

// --- bulk copies ----------------------------------------------------------------------------------------------------
// One thread starts them. A tensor map is a kernel's `const __grid_constant__ runtime::TensorMap` parameter.
// Coordinates are elements, innermost dimension first, and may lie outside the tensor: what is read there is 0, what is
// written there is dropped. The innermost is a multiple of 16 bytes, or the instruction is illegal. Shared memory is
// 128-byte aligned (with a swizzle better to its pattern of 8 rows).

GRAFT_DEVICE void prefetch_tensor_map(const runtime::TensorMap* map) {
  GRAFT_SM90(asm volatile("prefetch.tensormap [%0];" ::"l"(reinterpret_cast<std::uint64_t>(map)) : "memory"));
}

#define GRAFT_TMA_PLACES_1 "{%3}"
#define GRAFT_TMA_PLACES_2 "{%3, %4}"
#define GRAFT_TMA_PLACES_3 "{%3, %4, %5}"
#define GRAFT_TMA_PLACES_4 "{%3, %4, %5, %6}"
#define GRAFT_TMA_PLACES_5 "{%3, %4, %5, %6, %7}"
#define GRAFT_TMA_AT_1 "r"(at[0])
#define GRAFT_TMA_AT_2 GRAFT_TMA_AT_1, "r"(at[1])
#define GRAFT_TMA_AT_3 GRAFT_TMA_AT_2, "r"(at[2])
#define GRAFT_TMA_AT_4 GRAFT_TMA_AT_3, "r"(at[3])
#define GRAFT_TMA_AT_5 GRAFT_TMA_AT_4, "r"(at[4])
#define GRAFT_TMA_LOAD(rank, mode, more, ...)                                                                       \
  if constexpr (Rank == rank)                                                                                       \
  asm volatile("cp.async.bulk.tensor." #rank "d.shared::cluster.global" mode " [%0], [%1, " GRAFT_TMA_PLACES_##rank \
               "], [%2]" more ";" ::"r"(shared_address(to)),                                                        \
               "l"(reinterpret_cast<std::uint64_t>(map)), "r"(shared_address(barrier)),                             \
               GRAFT_TMA_AT_##rank __VA_OPT__(, ) __VA_ARGS__                                                       \
               : "memory")

/// Loads the map's box at these coordinates; the barrier of the block gets its bytes.
template <int Rank>
GRAFT_DEVICE void tma_load(void* to, const runtime::TensorMap* map, std::uint64_t* barrier, const int (&at)[Rank]) {
#define GRAFT_MODE ".mbarrier::complete_tx::bytes"
  GRAFT_SM90(GRAFT_TMA_LOAD(1, GRAFT_MODE, ""); GRAFT_TMA_LOAD(2, GRAFT_MODE, ""); GRAFT_TMA_LOAD(3, GRAFT_MODE, "");
             GRAFT_TMA_LOAD(4, GRAFT_MODE, ""); GRAFT_TMA_LOAD(5, GRAFT_MODE, ""););
}

/// The same for all blocks of the cluster that `blocks` names by bits: each gets the box and the bytes at the places
/// that `to` and `barrier` are in this one.
template <int Rank>
GRAFT_DEVICE void tma_load_multicast(void* to, const runtime::TensorMap* map, std::uint64_t* barrier,
                                     std::uint16_t blocks, const int (&at)[Rank]) {
#define GRAFT_MULTI GRAFT_MODE ".multicast::cluster"
  GRAFT_SM90(GRAFT_TMA_LOAD(1, GRAFT_MULTI, ", %4", "h"(blocks)); GRAFT_TMA_LOAD(2, GRAFT_MULTI, ", %5", "h"(blocks));
             GRAFT_TMA_LOAD(3, GRAFT_MULTI, ", %6", "h"(blocks)); GRAFT_TMA_LOAD(4, GRAFT_MULTI, ", %7", "h"(blocks));
             GRAFT_TMA_LOAD(5, GRAFT_MULTI, ", %8", "h"(blocks)););
}

/// Loads channels of pixels, as make_im2col_map describes: from the pixel at these coordinates (channel, column, row,
/// image) on, each read `offset` (columns, rows) further.
template <int Rank, int Offsets>
GRAFT_DEVICE void tma_load_im2col(void* to, const runtime::TensorMap* map, std::uint64_t* barrier,
                                  const int (&at)[Rank], const unsigned short (&offset)[Offsets]) {
  static_assert(Rank == Offsets + 2, "an offset for each dimension but the channels and the images");
#define GRAFT_IM2COL ".im2col" GRAFT_MODE
  GRAFT_SM90(GRAFT_TMA_LOAD(3, GRAFT_IM2COL, ", {%6}", "h"(offset[0]));
             GRAFT_TMA_LOAD(4, GRAFT_IM2COL, ", {%7, %8}", "h"(offset[0]), "h"(offset[1]));
             GRAFT_TMA_LOAD(5, GRAFT_IM2COL, ", {%8, %9, %10}", "h"(offset[0]), "h"(offset[1]), "h"(offset[2])););
}
template <int Rank, int Offsets>
GRAFT_DEVICE void tma_load_im2col_multicast(void* to, const runtime::TensorMap* map, std::uint64_t* barrier,
                                            std::uint16_t blocks, const int (&at)[Rank],
                                            const unsigned short (&offset)[Offsets]) {
  static_assert(Rank == Offsets + 2, "an offset for each dimension but the channels and the images");
#define GRAFT_IM2COL_MULTI GRAFT_IM2COL ".multicast::cluster"
  GRAFT_SM90(GRAFT_TMA_LOAD(3, GRAFT_IM2COL_MULTI, ", {%6}, %7", "h"(offset[0]), "h"(blocks));
             GRAFT_TMA_LOAD(4, GRAFT_IM2COL_MULTI, ", {%7, %8}, %9", "h"(offset[0]), "h"(offset[1]), "h"(blocks));
             GRAFT_TMA_LOAD(5, GRAFT_IM2COL_MULTI, ", {%8, %9, %10}, %11", "h"(offset[0]), "h"(offset[1]),
                            "h"(offset[2]), "h"(blocks)););
}
#undef GRAFT_MODE
#undef GRAFT_MULTI
#undef GRAFT_IM2COL
#undef GRAFT_IM2COL_MULTI
#undef GRAFT_TMA_LOAD

#define GRAFT_TMA_STORE(rank, places)                                                       \
  if constexpr (Rank == rank)                                                               \
  asm volatile("cp.async.bulk.tensor." #rank "d.global.shared::cta.bulk_group [%0, " places \
               "], [%1];" ::"l"(reinterpret_cast<std::uint64_t>(map)),                      \
               "r"(shared_address(from)), GRAFT_TMA_AT_##rank                               \
               : "memory")

/// Stores a box; shared memory that ordinary writes filled needs fence_proxy_async and a barrier before. Then
/// bulk_commit, and bulk_wait_read before the memory is used again or the block ends.
template <int Rank>
GRAFT_DEVICE void tma_store(const runtime::TensorMap* map, const void* from, const int (&at)[Rank]) {
  GRAFT_SM90(GRAFT_TMA_STORE(1, "{%2}"); GRAFT_TMA_STORE(2, "{%2, %3}"); GRAFT_TMA_STORE(3, "{%2, %3, %4}");
             GRAFT_TMA_STORE(4, "{%2, %3, %4, %5}"); GRAFT_TMA_STORE(5, "{%2, %3, %4, %5, %6}"););
}
#undef GRAFT_TMA_STORE

/// A run of bytes (a multiple of 16, both 16-byte aligned) from global to shared memory, as tma_load.
GRAFT_DEVICE void bulk_load(void* to, const void* from, unsigned bytes, std::uint64_t* barrier) {
  GRAFT_SM90(
      asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                       shared_address(to)),
                   "l"(from), "r"(bytes), "r"(shared_address(barrier))
                   : "memory"));
}
/// The other way, as tma_store.
GRAFT_DEVICE void bulk_store(void* to, const void* from, unsigned bytes) {
  GRAFT_SM90(asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to),
                          "r"(shared_address(from)), "r"(bytes)
                          : "memory"));
}
/// Closes the group of stores started by this thread since the last commit.
GRAFT_DEVICE void bulk_commit() { GRAFT_SM90(asm volatile("cp.async.bulk.commit_group;" ::: "memory")); }
/// Waits until at most N of this thread's groups are under way, or still read shared memory.
template <int N>
GRAFT_DEVICE void bulk_wait() {
  GRAFT_SM90(asm volatile("cp.async.bulk.wait_group %0;" ::"n"(N) : "memory"));
}
template <int N>
GRAFT_DEVICE void bulk_wait_read() {
  GRAFT_SM90(asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(N) : "memory"));
}

// --- wgmma ----------------------------------------------------------------------------------------------------------

struct Tf32;

// `p` names the operand that accumulates.
#define GRAFT_WGMMA(n, shape, p, operands, ...)                                                         \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " p ", 0;\nwgmma.mma_async.sync.aligned.m64n" #n shape \
               " {" GRAFT_NAMES_##n "}, " operands ";\n}"                                               \
               : GRAFT_SUMS_##n                                                                         \
               : __VA_ARGS__)
#define GRAFT_WGMMA_SHARED(n, o0, o1, o2, o3, o4, o5, o6)                                                              \
  if constexpr (2 * Sums == n) {                                                                                       \
    if constexpr (std::is_same_v<T, Tf32>)                                                                             \
      GRAFT_WGMMA(n, "k8.f32.tf32.tf32", o2, o0 ", " o1 ", p, 1, 1", "l"(a), "l"(b), "r"(int{accumulate}));            \
    else if constexpr (std::is_same_v<T, __nv_bfloat16>)                                                               \
      GRAFT_WGMMA(n, "k16.f32.bf16.bf16", o2, o0 ", " o1 ", p, 1, 1, " o3 ", " o4, "l"(a), "l"(b),                     \
                  "r"(int{accumulate}), "n"(int{AColumns}), "n"(int{BRows}));                                          \
    else                                                                                                               \
      GRAFT_WGMMA(n, "k16.f32.f16.f16", o2, o0 ", " o1 ", p, 1, 1, " o3 ", " o4, "l"(a), "l"(b), "r"(int{accumulate}), \
                  "n"(int{AColumns}), "n"(int{BRows}));                                                                \
  }
#define GRAFT_WGMMA_REGISTERS(n, o0, o1, o2, o3, o4, o5, o6)                                                       \
  if constexpr (2 * Sums == n) {                                                                                   \
    if constexpr (std::is_same_v<T, Tf32>)                                                                         \
      GRAFT_WGMMA(n, "k8.f32.tf32.tf32", o5, "{" o0 ", " o1 ", " o2 ", " o3 "}, " o4 ", p, 1, 1", "r"(a[0]),       \
                  "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int{accumulate}));                                  \
    else if constexpr (std::is_same_v<T, __nv_bfloat16>)                                                           \
      GRAFT_WGMMA(n, "k16.f32.bf16.bf16", o5, "{" o0 ", " o1 ", " o2 ", " o3 "}, " o4 ", p, 1, 1, " o6, "r"(a[0]), \
                  "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int{accumulate}), "n"(int{BRows}));                 \
    else                                                                                                           \
      GRAFT_WGMMA(n, "k16.f32.f16.f16", o5, "{" o0 ", " o1 ", " o2 ", " o3 "}, " o4 ", p, 1, 1, " o6, "r"(a[0]),   \
                  "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int{accumulate}), "n"(int{BRows}));                 \
  }

/// d (64 x 2 Sums, float) = a (64 x k) b (k x 2 Sums) + (accumulate ? d : 0), by the four warps of a warpgroup
/// together; T is __nv_bfloat16, __half (k = 16) or Tf32 (k = 8). The matrices lie in shared memory as their
/// descriptors say (wgmma_descriptor), depth innermost unless a lies by columns, b by rows. Warp w holds rows 16 w on;
/// d[4 j + i] is row lane / 4 + 8 (i / 2), column 8 j + 2 (lane % 4) + i % 2 of those.
///
/// Asynchronous: wgmma_fence before the first and after any other access to d or a's registers; wgmma_commit and
/// wgmma_wait before the next such access, and before the shared memory is given back.
template <class T, bool AColumns = false, bool BRows = false, int Sums>
GRAFT_DEVICE void wgmma(float (&d)[Sums], std::uint64_t a, std::uint64_t b, bool accumulate) {
  static_assert(Sums % 4 == 0 && Sums <= 128, "8 to 256 columns, a multiple of 8");
  static_assert(!std::is_same_v<T, Tf32> || (!AColumns && !BRows), "tf32 lies with the depth innermost");
  GRAFT_SM90(GRAFT_WGMMA_SIZES(GRAFT_WGMMA_SHARED));
}
/// The same with a in registers, which lie as those of mma_m16n8k16 (mma_m16n8k8_tf32) for the warp's 16 rows.
template <class T, bool BRows = false, int Sums>
GRAFT_DEVICE void wgmma(float (&d)[Sums], const std::uint32_t (&a)[4], std::uint64_t b, bool accumulate) {
  static_assert(Sums % 4 == 0 && Sums <= 128, "8 to 256 columns, a multiple of 8");
  static_assert(!std::is_same_v<T, Tf32> || !BRows, "tf32 lies with the depth innermost");
  GRAFT_SM90(GRAFT_WGMMA_SIZES(GRAFT_WGMMA_REGISTERS));
}

GRAFT_DEVICE void wgmma_fence() { GRAFT_SM90(asm volatile("wgmma.fence.sync.aligned;" ::: "memory")); }
/// Closes the group of products started since the last commit.
GRAFT_DEVICE void wgmma_commit() { GRAFT_SM90(asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory")); }
/// Waits until at most N groups are under way.
template <int N>
GRAFT_DEVICE void wgmma_wait() {
  GRAFT_SM90(asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"));
}
/// Keeps the compiler from moving accesses to d across: before the first product, and behind the wait.
template <int Sums>
GRAFT_DEVICE void wgmma_keep(float (&d)[Sums]) {
  GRAFT_UNROLL
  for (int i = 0; i < Sums; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

}  // namespace graft::kernels::cuda::arch

#endif

namespace graft::kernels::cuda::arch {

/// How the 16-byte chunks of shared memory are permuted, in tensor maps and matrix descriptors alike: chunk c of row r
/// (of 32, 64 or 128 bytes) lies at c ^ (r / (128 / bytes) % (bytes / 16)).
using runtime::Swizzle;

/// Describes a matrix in shared memory to wgmma. Depth innermost, rows of 32, 64 or 128 bytes under the same swizzle:
/// `stride` is the bytes from 8 rows to the next 8, `leading` counts not (1); the matrix begins at a multiple of 8
/// rows, and a step of depth adds 32 bytes to p. Without a swizzle: blocks of 8 rows x 16 bytes, `leading` the bytes to
/// the next along the depth, `stride` to the next 8 rows. M or N innermost under a swizzle: rows of one depth, 32, 64
/// or 128 bytes wide; `stride` is the bytes from 8 of them to the next 8, `leading` to the next such width; without one
/// `stride` is the bytes to the next 8 elements, `leading` to the next 8 of the depth.
GRAFT_DEVICE std::uint64_t wgmma_descriptor(const void* p, Swizzle swizzle, unsigned stride, unsigned leading = 16) {
  const std::uint64_t kind = swizzle == Swizzle::none       ? 0
                             : swizzle == Swizzle::bytes128 ? 1
                             : swizzle == Swizzle::bytes64  ? 2
                                                            : 3;
  return (shared_address(p) & 0x3ffffu) >> 4 | static_cast<std::uint64_t>(leading >> 4) << 16 |
         static_cast<std::uint64_t>(stride >> 4) << 32 | kind << 62;
}

}  // namespace graft::kernels::cuda::arch
