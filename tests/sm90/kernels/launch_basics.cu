// The small parts that the other kernels stand on, each for itself: who is elected, what setmaxnreg keeps, mbarriers
// within a block and between the blocks of a cluster.
#include <graft/tests/sm90/kernels/launches.h>

#include <graft/kernels/cuda/arch/sm90.h>

namespace graft::test::sm90 {
namespace {

namespace arch = kernels::cuda::arch;
using kernels::cuda::launch;
using kernels::cuda::LaunchConfig;

// Three warpgroups: the first gives registers, without which the others' request waits for ever.
GRAFT_KERNEL_RESIDENT(384, 1) look_at_basics(std::uint32_t* y, unsigned rounds) {
  GRAFT_DYNAMIC_SHARED(unsigned char, memory);
  std::uint32_t kept[8];
  GRAFT_UNROLL
  for (unsigned i = 0; i < 8; ++i) kept[i] = y[i] + threadIdx.x * 1000 + i;  // y is 0 there
  if (threadIdx.x < 128)
    arch::registers_down<40>();
  else
    arch::registers_up<232>();
  std::uint32_t sum = 0, elected = 0;
  GRAFT_UNROLL
  for (unsigned i = 0; i < 8; ++i) sum += kept[i];
  for (unsigned i = 0; i < rounds; ++i)
    if (arch::elect_one()) ++elected;
  std::uint32_t* const mine = y + 8 + (blockIdx.x * 384 + threadIdx.x) * 4;
  mine[0] = elected;
  mine[1] = sum;
  mine[2] = arch::cluster_rank();
  mine[3] = static_cast<std::uint32_t>(arch::shared_address(memory) % 1024);
}

constexpr unsigned kPlaces = 4;

struct Ring {
  std::uint32_t value[kPlaces][32];
  std::uint64_t full[kPlaces], empty[kPlaces];
};

// Warp 0 puts 32 items a time into the ring, warps 1 to 3 take them in turn.
GRAFT_KERNEL(128) hand_on(const std::uint32_t* x, std::uint32_t* y, unsigned items) {
  GRAFT_SHARED(ring, Ring);
  const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (threadIdx.x == 0) {
    for (unsigned i = 0; i < kPlaces; ++i) {
      arch::mbarrier_init(&ring.full[i], 32);
      arch::mbarrier_init(&ring.empty[i], 32);
    }
    arch::fence_mbarrier_init();
  }
  __syncthreads();
  for (unsigned t = 0; t < items / 32; ++t) {
    const unsigned place = t % kPlaces, round = t / kPlaces;
    if (warp == 0) {
      if (round > 0) arch::mbarrier_wait(&ring.empty[place], (round - 1) & 1);
      ring.value[place][lane] = x[t * 32 + lane];
      arch::mbarrier_arrive(&ring.full[place]);
    } else if (t % 3 == warp - 1) {
      arch::mbarrier_wait(&ring.full[place], round & 1);
      const std::uint32_t value = ring.value[place][31 - lane];  // another thread's
      arch::mbarrier_arrive(&ring.empty[place]);
      y[blockIdx.x * items + t * 32 + 31 - lane] = 3 * value + blockIdx.x;
    }
  }
}

// Each round every block writes into the shared memory of the next of its cluster and arrives at its barrier.
GRAFT_KERNEL(32) pass_round(std::uint32_t* y, unsigned rounds) {
  GRAFT_SHARED(place, std::uint32_t[2]);
  GRAFT_SHARED(full, std::uint64_t[2]);
  GRAFT_SHARED(empty, std::uint64_t[2]);
  const unsigned rank = arch::cluster_rank(), blocks = arch::cluster_size();
  const unsigned next = (rank + 1) % blocks, before = (rank + blocks - 1) % blocks;
  if (threadIdx.x == 0) {
    for (unsigned i = 0; i < 2; ++i) {
      arch::mbarrier_init(&full[i], 1);
      arch::mbarrier_init(&empty[i], 1);
    }
    arch::fence_mbarrier_init();
  }
  arch::cluster_sync();
  if (threadIdx.x == 0) {
    for (unsigned t = 0; t < rounds; ++t) {
      const unsigned i = t % 2, round = t / 2;
      if (round > 0) arch::mbarrier_wait(&empty[i], (round - 1) & 1);  // the next block has read the place
      *arch::cluster_map(&place[i], next) = blockIdx.x * 1000 + t;
      arch::mbarrier_arrive_remote(&full[i], next);
      arch::mbarrier_wait(&full[i], round & 1);
      y[blockIdx.x * rounds + t] = place[i];
      arch::mbarrier_arrive_remote(&empty[i], before);
    }
  }
  arch::cluster_sync();
}

LaunchConfig config(unsigned blocks, unsigned threads, unsigned cluster, std::size_t shared_bytes) {
  LaunchConfig c;
  c.grid = dim3(blocks);
  c.block = dim3(threads);
  c.shared_bytes = shared_bytes;
  c.cluster = dim3(cluster);
  return c;
}

}  // namespace

void basics(std::uint32_t* y, unsigned rounds, unsigned blocks, unsigned cluster, const Stream& stream) {
  launch("look_at_basics", &look_at_basics, config(blocks, 384, cluster, 1024), stream, y, rounds);
}

void ring(const std::uint32_t* x, std::uint32_t* y, unsigned items, unsigned blocks, const Stream& stream) {
  launch("hand_on", &hand_on, config(blocks, 128, 1, 0), stream, x, y, items);
}

void pass_on(std::uint32_t* y, unsigned rounds, unsigned blocks, unsigned cluster, const Stream& stream) {
  launch("pass_round", &pass_round, config(blocks, 32, cluster, 0), stream, y, rounds);
}

}  // namespace graft::test::sm90
