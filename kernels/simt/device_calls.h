// What the device functions of device.h, sm80.h and sm90.h call in the emulator. Everything that touches the emulator's
// own memory stands behind these calls, in files that are compiled without the kernels' instrumentation.
#pragma once

#include <graft/kernels/simt/core.h>

namespace graft::simt {

// Device functions take their caller's place as two last arguments that nobody passes.
#define SIMT_SITE const char *simt_file = __builtin_FILE(), int simt_line = __builtin_LINE()
#define SIMT_LOC \
  ::graft::simt::Loc { simt_file, simt_line }

// --- barriers -------------------------------------------------------------------------------------------------------

enum class Vote { none, count, all, any };

/// The barrier of the whole block; with a vote, the vote's result over all threads.
int block_barrier(Vote vote, int predicate, Loc where, const char* what);
/// Barrier `id` (1 to 15) of `threads` threads of the block: `wait` says whether this thread waits or only arrives.
void named_barrier(int id, int threads, bool wait, Loc where);

/// The two halves of the cluster's barrier, and the block's place in its cluster.
void cluster_arrive(Loc where);
void cluster_wait(Loc where);
unsigned cluster_rank();
unsigned cluster_size();
dim3 cluster_dims();

/// Lets others run: what a loop that waits for memory to change must call.
void yield_spin(Loc where, const char* what);

// --- warps ----------------------------------------------------------------------------------------------------------

void warp_barrier(unsigned mask, Loc where);

enum class Shuffle { index, up, down, exclusive_or };
std::uint64_t warp_shuffle(Shuffle kind, unsigned mask, std::uint64_t value, int argument, int width, Loc where);

/// The lanes of the mask whose predicate is not zero.
unsigned warp_ballot(unsigned mask, int predicate, Loc where, const char* what);

enum class Reduction { add, minimum, maximum, minimum_signed, maximum_signed, bit_and, bit_or, bit_xor };
unsigned warp_reduction(Reduction kind, unsigned mask, unsigned value, Loc where);

/// The lanes whose value equals the caller's.
unsigned warp_match(unsigned mask, std::uint64_t value, Loc where, const char* what);

/// `count` 8x8 matrices of 16-bit elements, as PTX's ldmatrix describes.
void load_matrices(std::uint32_t* registers, int count, bool transposed, const void* row, Loc where);

enum class MmaType { f16, bf16, tf32 };
/// d (16x8) += a (16 x k) b (k x 8): k is 16 for the 16-bit types, 8 for tf32, in which b has two registers as well.
void warp_mma(MmaType type, float* d, const std::uint32_t* a, const std::uint32_t* b, Loc where);

// --- memory ---------------------------------------------------------------------------------------------------------

/// Of device scope.
void device_fence(Loc where);

/// The two halves of an atomic operation on 2, 4 or 8 bytes; nothing runs between them. `between_blocks`: its scope is
/// the device or the system, so that with fences it orders blocks.
std::uint64_t atomic_load(void* p, int bytes, bool between_blocks, Loc where);
void atomic_store(void* p, int bytes, std::uint64_t value);

/// The address of shared memory as PTX sees it: an offset in the window of the cluster; a block's own starts at its
/// rank's.
std::uint32_t shared_address(const void* p);
/// The same place in the shared memory of the cluster's block `rank`.
void* map_shared(const void* p, unsigned rank, Loc where);
/// Refuses a pointer to shared memory: what `what` writes to is global.
void require_global(const void* p, const char* what, Loc where);

void cp_async(void* to, const void* from, int bytes, int source_bytes, Loc where);
void cp_async_commit();
void cp_async_wait(int keep, Loc where);

// --- mbarriers (mbarrier.cpp) ---------------------------------------------------------------------------------------

void mbarrier_init(std::uint64_t* barrier, unsigned count, Loc where);
void mbarrier_invalidate(std::uint64_t* barrier, Loc where);
/// `count` arrivals at a barrier of the thread's own block, after `bytes` more to wait for have been announced.
void mbarrier_arrive(std::uint64_t* barrier, unsigned count, unsigned bytes, Loc where);
/// One arrival at the barrier of the cluster's block `rank` that lies where `barrier` lies in this one.
void mbarrier_arrive_remote(std::uint64_t* barrier, unsigned rank, Loc where);
void mbarrier_expect(std::uint64_t* barrier, unsigned bytes, Loc where);
/// Whether the phase of this parity is complete.
bool mbarrier_test(std::uint64_t* barrier, unsigned parity, Loc where);
void mbarrier_wait(std::uint64_t* barrier, unsigned parity, Loc where);

void fence_mbarrier_init(Loc where);
void fence_proxy_async(Loc where);

// --- bulk copies (tma.cpp) ------------------------------------------------------------------------------------------

/// Coordinates of a box, innermost first; of an im2col load with the filter's offsets.
struct TensorPlace {
  int rank;
  int at[5];
  bool im2col;
  unsigned short offset[3];
};
/// To the same place in every block of the cluster that `blocks` names (as bits), each with its own barrier; 0: to the
/// thread's own.
void tensor_load(void* to, const void* map, std::uint64_t* barrier, const TensorPlace& place, unsigned blocks,
                 Loc where);
void tensor_store(const void* map, const void* from, const TensorPlace& place, Loc where);
void tensor_prefetch(const void* map, Loc where);
void bulk_load(void* to, const void* from, unsigned bytes, std::uint64_t* barrier, Loc where);
void bulk_store(void* to, const void* from, unsigned bytes, Loc where);
void bulk_commit(Loc where);
/// Waits until at most `keep` of the thread's groups are under way, or (only_reads) still read shared memory.
void bulk_wait(int keep, bool only_reads, Loc where);

// --- wgmma (wgmma.cpp) ----------------------------------------------------------------------------------------------

/// One wgmma.mma_async: d (64 x n) = a (64 x k) b (k x n) + (accumulate ? d : 0).
struct Wgmma {
  MmaType type;
  int n;
  float* d;
  const std::uint32_t* a;  // registers; nullptr: a_descriptor counts
  std::uint64_t a_descriptor, b_descriptor;
  bool a_columns, b_rows;  // a lies by columns, b by rows (M, or N, innermost)
  bool accumulate;
  Loc where;
};
void wgmma(const Wgmma& operation);
void wgmma_fence(Loc where);
void wgmma_commit(Loc where);
void wgmma_wait(int keep, Loc where);

/// One lane of the warp, the same each time.
bool elect_one(Loc where);
void set_register_count(int count, Loc where);

}  // namespace graft::simt
