// Races inside a block and between blocks, each named with both its lines; and the synchronisation that makes them
// right.
#include "simt/emulated.h"

#include <graft/kernels/cuda/arch/sm80.h>
#include <graft/kernels/simt/checker.h>

namespace graft::simt {
namespace {

using testing::AllOf;
using testing::HasSubstr;

int first_line = 0, second_line = 0;
#define FIRST (first_line = __LINE__, 0)
#define SECOND (second_line = __LINE__, 0)

class CheckerRace : public Emulated, public testing::WithParamInterface<Order> {
 protected:
  void SetUp() override {
    checker::set_active(true);
    if (!checker::enabled()) GTEST_SKIP() << "built without GRAFT_SIMT_CHECK";
    options().order = GetParam();
  }
  // A report names both lines, in whichever order the threads came.
  template <class Matcher>
  void expect_race(cudaError_t launched, Matcher matcher) {
    EXPECT_EQ(launched, cudaErrorLaunchFailure);
    const std::string file = "checker_race_test.cpp:";
    EXPECT_THAT(text_of(cudaErrorLaunchFailure),
                AllOf(HasSubstr(file + std::to_string(first_line)), HasSubstr(file + std::to_string(second_line)),
                      HasSubstr("race"), matcher));
    reset();
  }
};
INSTANTIATE_TEST_SUITE_P(Orders, CheckerRace, testing::Values(Order::Forward, Order::Reverse, Order::Random),
                         [](const auto& order) {
                           return order.param == Order::Forward   ? "forward"
                                  : order.param == Order::Reverse ? "reverse"
                                                                  : "random";
                         });

// --- inside a block -------------------------------------------------------------------------------------------------

enum Fault { none, no_barrier_before_read, no_barrier_before_write };

// Every thread writes, reads its neighbour's value, and writes again.
template <class T>
GRAFT_KERNEL(128)
pass_on(T* y, int fault, int rounds) {
  GRAFT_SHARED(tile, T[128]);
  const unsigned i = threadIdx.x, n = blockDim.x;
  T value = static_cast<T>(i);
  for (int round = 0; round < rounds; ++round) {
    tile[i + static_cast<unsigned>(FIRST)] = value;
    if (fault != no_barrier_before_read) __syncthreads();
    value = tile[(i + 33) % n + static_cast<unsigned>(SECOND)];
    if (fault != no_barrier_before_write) __syncthreads();
  }
  y[blockIdx.x * n + i] = value;
}

TEST_P(CheckerRace, FindsAMissingBarrier) {
  const OnDevice<float> y(256);
  float* const p = y;
  EXPECT_EQ(launch(pass_on<float>, dims(2, 128), p, none, 3), cudaSuccess) << text_of(cudaErrorLaunchFailure);
  EXPECT_EQ(y.values()[0], 99);
  expect_race(launch(pass_on<float>, dims(1, 128), p, no_barrier_before_write, 2), HasSubstr("of shared memory"));
  const cudaError_t unwritten_or_race = launch(pass_on<float>, dims(1, 128), p, no_barrier_before_read, 1);
  EXPECT_EQ(unwritten_or_race, cudaErrorLaunchFailure);
  reset();
}

TEST_P(CheckerRace, TellsBytesOfAWordApart) {
  const OnDevice<unsigned char> y(256);
  unsigned char* const p = y;
  EXPECT_EQ(launch(pass_on<unsigned char>, dims(2, 128), p, none, 3), cudaSuccess) << text_of(cudaErrorLaunchFailure);
  expect_race(launch(pass_on<unsigned char>, dims(1, 128), p, no_barrier_before_write, 2), HasSubstr("1 byte"));
  const OnDevice<short> z(256);
  short* const q = z;
  EXPECT_EQ(launch(pass_on<short>, dims(2, 128), q, none, 3), cudaSuccess) << text_of(cudaErrorLaunchFailure);
  expect_race(launch(pass_on<short>, dims(1, 128), q, no_barrier_before_write, 2), HasSubstr("2 bytes"));
}

GRAFT_KERNEL(64) within_warp(float* y, bool synchronised) {
  GRAFT_SHARED(tile, float[64]);
  const unsigned i = threadIdx.x;
  tile[i] = 0;
  __syncwarp();
  for (int round = 0; round < 4; ++round) {
    const float value = tile[(i ^ 1) + static_cast<unsigned>(FIRST)];
    __syncwarp();
    tile[i + static_cast<unsigned>(SECOND)] = value + 1;
    if (synchronised) __syncwarp();
  }
  y[i] = tile[i];
}

TEST_P(CheckerRace, FindsAMissingSyncwarp) {
  const OnDevice<float> y(64);
  float* const p = y;
  EXPECT_EQ(launch(within_warp, dims(1, 64), p, true), cudaSuccess) << text_of(cudaErrorLaunchFailure);
  EXPECT_EQ(y.values()[5], 4);
  expect_race(launch(within_warp, dims(1, 64), p, false), HasSubstr("thread ("));
}

// A __syncwarp orders nothing between warps.
GRAFT_KERNEL(64) across_warps(float* y) {
  GRAFT_SHARED(tile, float[64]);
  tile[threadIdx.x] = 0;
  __syncthreads();
  tile[threadIdx.x + static_cast<unsigned>(FIRST)] = 1;
  __syncwarp();
  y[threadIdx.x] = tile[(threadIdx.x + 32) % 64 + static_cast<unsigned>(SECOND)];
}

TEST_P(CheckerRace, SyncwarpOrdersItsWarpOnly) {
  const OnDevice<float> y(64);
  expect_race(launch(across_warps, dims(1, 64), static_cast<float*>(y)), HasSubstr("nothing orders the two"));
}

// Many read, in two steps of their warps; then one writes.
GRAFT_KERNEL(128) many_readers(float* y, bool barrier) {
  GRAFT_SHARED(value, float[1]);
  if (threadIdx.x == 0) value[0] = 1;
  __syncthreads();
  float sum = value[0];
  __syncwarp();
  sum += value[static_cast<unsigned>(FIRST)];
  if (barrier) __syncthreads();
  if (threadIdx.x == 64) value[static_cast<unsigned>(SECOND)] = 2;
  __syncthreads();
  y[threadIdx.x] = sum + value[0];
}

TEST_P(CheckerRace, RemembersAllReaders) {
  const OnDevice<float> y(128);
  float* const p = y;
  EXPECT_EQ(launch(many_readers, dims(1, 128), p, true), cudaSuccess) << text_of(cudaErrorLaunchFailure);
  EXPECT_EQ(y.values()[127], 4);
  expect_race(launch(many_readers, dims(1, 128), p, false), HasSubstr("shared memory"));
}

GRAFT_KERNEL(64) in_place(float* y, bool barrier) {
  const float left = threadIdx.x > 0 ? y[threadIdx.x - 1 + static_cast<unsigned>(FIRST)] : 0;
  if (barrier) __syncthreads();
  y[threadIdx.x + static_cast<unsigned>(SECOND)] = left;
}

TEST_P(CheckerRace, WatchesDeviceMemoryInsideABlockToo) {
  const OnDevice<float> y(std::vector<float>(64, 1));
  EXPECT_EQ(launch(in_place, dims(1, 64), static_cast<float*>(y), true), cudaSuccess)
      << text_of(cudaErrorLaunchFailure);
  expect_race(launch(in_place, dims(1, 64), static_cast<float*>(y), false), HasSubstr("of device memory"));
}

GRAFT_KERNEL(128) count_in_block(int* y, bool atomic) {
  GRAFT_SHARED(count, int[1]);
  if (threadIdx.x == 0) count[0] = 0;
  __syncthreads();
  if (atomic)
    atomicAdd(&count[0], 1);
  else
    count[static_cast<unsigned>(FIRST)] += 1 + SECOND;
  __syncthreads();
  if (threadIdx.x == 0) y[0] = count[0];
}

TEST_P(CheckerRace, AtomicsDoNotRace) {
  const OnDevice<int> y(1);
  EXPECT_EQ(launch(count_in_block, dims(1, 128), static_cast<int*>(y), true), cudaSuccess)
      << text_of(cudaErrorLaunchFailure);
  EXPECT_EQ(y.values()[0], 128);
  expect_race(launch(count_in_block, dims(1, 128), static_cast<int*>(y), false), HasSubstr("race: "));
}

GRAFT_KERNEL(64) atomic_then_plain(int* y) {
  GRAFT_SHARED(count, int[1]);
  if (threadIdx.x == 0) count[0] = 0;
  __syncthreads();
  atomicAdd(&count[static_cast<unsigned>(FIRST)], 1);
  if (threadIdx.x % 32 == 0) y[threadIdx.x / 32] = count[static_cast<unsigned>(SECOND)];
}

TEST_P(CheckerRace, AnAtomicRacesWithAPlainRead) {
  const OnDevice<int> y(2);
  expect_race(launch(atomic_then_plain, dims(1, 64), static_cast<int*>(y)), HasSubstr("atomic change"));
}

// The halves of a block meet at barriers of their own.
GRAFT_KERNEL(128) meet_in_halves(float* y, unsigned neighbour) {
  GRAFT_SHARED(tile, float[128]);
  const unsigned i = threadIdx.x;
  tile[i] = 0;
  __syncthreads();
  tile[i + static_cast<unsigned>(FIRST)] = static_cast<float>(i);
  kernels::cuda::arch::named_barrier_sync(1 + static_cast<int>(i / 64), 64);
  y[i] = tile[(i ^ neighbour) + static_cast<unsigned>(SECOND)];
}

TEST_P(CheckerRace, NamedBarriersOrderThoseWhoMeet) {
  const OnDevice<float> y(128);
  EXPECT_EQ(launch(meet_in_halves, dims(1, 128), static_cast<float*>(y), 33u), cudaSuccess)
      << text_of(cudaErrorLaunchFailure);
  EXPECT_EQ(y.values()[0], 33);
  expect_race(launch(meet_in_halves, dims(1, 128), static_cast<float*>(y), 64u), HasSubstr("nothing orders the two"));
}

// Two warps produce, two consume; the producers go on when the consumers have arrived at a second barrier.
GRAFT_KERNEL(128) produce_and_consume(float* y, bool wait_for_readers) {
  GRAFT_SHARED(tile, float[64]);
  namespace arch = kernels::cuda::arch;
  const unsigned i = threadIdx.x % 64;
  float sum = 0;
  for (int round = 0; round < 3; ++round) {
    if (threadIdx.x < 64) {
      if (wait_for_readers && round > 0) arch::named_barrier_sync(2, 128);
      tile[i + static_cast<unsigned>(FIRST)] = static_cast<float>(round);
      arch::named_barrier_arrive(1, 128);
    } else {
      arch::named_barrier_sync(1, 128);
      sum += tile[63 - i + static_cast<unsigned>(SECOND)];
      if (wait_for_readers && round < 2) arch::named_barrier_arrive(2, 128);
    }
  }
  if (threadIdx.x >= 64) y[i] = sum;
}

TEST_P(CheckerRace, FollowsOneSidedBarriers) {
  const OnDevice<float> y(64);
  EXPECT_EQ(launch(produce_and_consume, dims(1, 128), static_cast<float*>(y), true), cudaSuccess)
      << text_of(cudaErrorLaunchFailure);
  EXPECT_EQ(y.values()[7], 3);
  EXPECT_EQ(launch(produce_and_consume, dims(1, 128), static_cast<float*>(y), false), cudaErrorLaunchFailure)
      << "the producers may overtake the consumers";
  reset();
}

// --- between blocks -------------------------------------------------------------------------------------------------

GRAFT_KERNEL(32) write_overlapping(float* y, unsigned step) {
  y[blockIdx.x * step + threadIdx.x + static_cast<unsigned>(FIRST | SECOND)] = 1;
}
template <class T>
GRAFT_KERNEL(32)
write_odd_rows(T* y, unsigned row) {
  if (threadIdx.x < row) y[blockIdx.x * row + threadIdx.x + static_cast<unsigned>(FIRST | SECOND)] = 1;
}
GRAFT_KERNEL(32) read_next_block(float* y) {
  y[blockIdx.x * 32 + threadIdx.x + static_cast<unsigned>(FIRST)] = 2;
  if (blockIdx.x + 1 < gridDim.x) {
    const float next = y[(blockIdx.x + 1) * 32 + threadIdx.x + static_cast<unsigned>(SECOND)];
    if (next == 77) __trap();
  }
}
GRAFT_KERNEL(32) count_between_blocks(int* y, bool atomic, bool look) {
  if (atomic)
    atomicAdd(y + FIRST, 1);
  else if (threadIdx.x == 0)
    y[FIRST] += 1 + SECOND;
  if (look && threadIdx.x == 0 && blockIdx.x == 1 && y[SECOND] == -1) __trap();
}
GRAFT_KERNEL(32) read_the_same(const float* x, float* y) { y[blockIdx.x * 32 + threadIdx.x] = x[threadIdx.x % 7]; }

TEST_P(CheckerRace, FindsBlocksThatWriteTheSame) {
  const OnDevice<float> y(1024);
  EXPECT_EQ(launch(write_overlapping, dims(20, 32), static_cast<float*>(y), 32u), cudaSuccess);
  expect_race(launch(write_overlapping, dims(20, 32), static_cast<float*>(y), 31u),
              HasSubstr("race between blocks: write of 4 bytes of device memory"));
}

TEST_P(CheckerRace, BlocksMayShareAWordByItsBytes) {
  const OnDevice<unsigned char> bytes(256);
  const OnDevice<short> halves(256);
  EXPECT_EQ(launch(write_odd_rows<unsigned char>, dims(9, 32), static_cast<unsigned char*>(bytes), 3u), cudaSuccess)
      << text_of(cudaErrorLaunchFailure);
  EXPECT_EQ(launch(write_odd_rows<short>, dims(9, 32), static_cast<short*>(halves), 5u), cudaSuccess)
      << text_of(cudaErrorLaunchFailure);
}

TEST_P(CheckerRace, FindsABlockThatReadsWhatAnotherWrites) {
  const OnDevice<float> y(std::vector<float>(128, 1));
  expect_race(launch(read_next_block, dims(4, 32), static_cast<float*>(y)),
              AllOf(HasSubstr("race between blocks: "), HasSubstr("blocks of one launch are not ordered")));
  EXPECT_EQ(launch(read_next_block, dims(1, 32), static_cast<float*>(y)), cudaSuccess);
}

TEST_P(CheckerRace, AtomicsBetweenBlocksAreRight) {
  const OnDevice<int> y(std::vector<int>(1, 0));
  EXPECT_EQ(launch(count_between_blocks, dims(5, 32), static_cast<int*>(y), true, false), cudaSuccess)
      << text_of(cudaErrorLaunchFailure);
  EXPECT_EQ(y.values()[0], 160);
  expect_race(launch(count_between_blocks, dims(5, 32), static_cast<int*>(y), false, false),
              HasSubstr("between blocks"));
  expect_race(launch(count_between_blocks, dims(5, 32), static_cast<int*>(y), true, true), HasSubstr("atomic change"));
}

TEST_P(CheckerRace, AllMayReadTheSame) {
  const OnDevice<float> x(std::vector<float>(7, 1)), y(320);
  EXPECT_EQ(launch(read_the_same, dims(10, 32), static_cast<float*>(x), static_cast<float*>(y)), cudaSuccess);
}

TEST_P(CheckerRace, LaunchesAreOrdered) {
  const OnDevice<float> y(64);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(launch(write_overlapping, dims(2, 32), static_cast<float*>(y), 32u), cudaSuccess);
    EXPECT_EQ(launch(read_next_block, dims(1, 32), static_cast<float*>(y)), cudaSuccess);
  }
}

}  // namespace
}  // namespace graft::simt
