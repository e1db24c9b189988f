// One bug of each kind in what a kernel touches, each found and named with its line; and the right kernels beside them.
#include "simt/emulated.h"

#include <graft/kernels/cuda/arch/global.h>
#include <graft/kernels/cuda/arch/sm80.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/streams.h>
#include <graft/kernels/simt/checker.h>

namespace graft::simt {
namespace {

using testing::AllOf;
using testing::HasSubstr;

struct alignas(16) Four {
  float at[4];
};

// HERE marks the line that a report must name.
int marked_line = 0;
#define HERE (marked_line = __LINE__, 0)

class CheckerMemory : public Emulated {
 protected:
  void SetUp() override {
    checker::set_active(true);
    if (!checker::enabled()) GTEST_SKIP() << "built without GRAFT_SIMT_CHECK";
    marked_line = 0;
  }
  static std::string here() { return "checker_memory_test.cpp:" + std::to_string(marked_line); }
  template <class Matcher>
  void expect_report(cudaError_t launched, Matcher matcher) {
    EXPECT_EQ(launched, cudaErrorLaunchFailure);
    EXPECT_THAT(text_of(cudaErrorLaunchFailure), AllOf(HasSubstr(here()), matcher));
    reset();
  }
};

// --- out of bounds --------------------------------------------------------------------------------------------------

GRAFT_KERNEL(64) read_at(const float* x, float* y, int offset) {
  const int i = static_cast<int>(threadIdx.x);
  if (i < 32) y[i] = x[i + offset + HERE];
}
GRAFT_KERNEL(64) write_at(float* y, int offset) { y[static_cast<int>(threadIdx.x) + offset + HERE] = 1; }
GRAFT_KERNEL(32) write_bytes(unsigned char* y, int offset) { y[static_cast<int>(threadIdx.x) + offset + HERE] = 1; }

TEST_F(CheckerMemory, FindsReadsOutOfBounds) {
  const OnDevice<float> x(std::vector<float>(32)), y(32);
  EXPECT_EQ(launch(read_at, dims(1, 32), static_cast<float*>(x), static_cast<float*>(y), 0), cudaSuccess);
  expect_report(
      launch(read_at, dims(1, 32, 0, "reader"), static_cast<float*>(x), static_cast<float*>(y), 1),
      AllOf(HasSubstr("reader: "),
            HasSubstr("out of bounds: read of 4 bytes of device memory, 0 bytes after an allocation of 128 bytes"),
            HasSubstr("block (0,0,0), thread (31,0,0)")));
  expect_report(launch(read_at, dims(1, 32), static_cast<float*>(x), static_cast<float*>(y), -2),
                HasSubstr("8 bytes before an allocation of 128 bytes"));
}

TEST_F(CheckerMemory, FindsWritesOutOfBounds) {
  const OnDevice<float> y(64);
  EXPECT_EQ(launch(write_at, dims(1, 64), static_cast<float*>(y), 0), cudaSuccess);
  expect_report(launch(write_at, dims(1, 64), static_cast<float*>(y), 6),
                AllOf(HasSubstr("out of bounds: write of 4 bytes"), HasSubstr("after an allocation of 256 bytes"),
                      HasSubstr("thread (58,0,0)")));
  const OnDevice<unsigned char> bytes(33);
  EXPECT_EQ(launch(write_bytes, dims(1, 32), static_cast<unsigned char*>(bytes), 1), cudaSuccess);
  expect_report(launch(write_bytes, dims(1, 32), static_cast<unsigned char*>(bytes), 2),
                HasSubstr("out of bounds: write of 1 byte of device memory, 0 bytes after"));
}

TEST_F(CheckerMemory, FindsUsesAfterAFree) {
  float *x = nullptr, *y = nullptr;
  cudaMalloc(reinterpret_cast<void**>(&x), 128);
  cudaMalloc(reinterpret_cast<void**>(&y), 128);
  cudaMemset(x, 0, 128);
  cudaFree(x);
  expect_report(launch(read_at, dims(1, 32), x, y, 2), AllOf(HasSubstr("use after free: read of 4 bytes"),
                                                             HasSubstr("offset 8 of a freed allocation of 128 bytes")));
  cudaFree(y);
  expect_report(launch(write_at, dims(1, 32), y, 0), HasSubstr("use after free: write of 4 bytes"));
}

// Blocks of the engine's caching allocator are allocations of their own.
TEST_F(CheckerMemory, WatchesTheCachingAllocator) {
  const Stream stream = runtime::default_stream(0);
  auto* const x = static_cast<float*>(runtime::device_allocate(100, stream));
  auto* const y = static_cast<float*>(runtime::device_allocate(128, stream));
  const auto native = static_cast<cudaStream_t>(stream.native);
  cudaMemsetAsync(x, 0, 100, native);
  expect_report(launch_on(native, read_at, dims(1, 32), x, y, 0),
                AllOf(HasSubstr("0 bytes after an allocation of 100 bytes"), HasSubstr("thread (25,0,0)")));
  runtime::device_free(x, stream);
  expect_report(launch_on(native, write_at, dims(1, 32), x, 0), HasSubstr("use after free"));
  auto* const z = static_cast<float*>(runtime::device_allocate(100, stream));
  if (z == x) expect_report(launch_on(native, read_at, dims(1, 32), z, y, 0), HasSubstr("uninitialised"));
  runtime::device_free(z, stream);
  runtime::device_free(y, stream);
}

// --- alignment ------------------------------------------------------------------------------------------------------

GRAFT_KERNEL(32) copy_four(const float* x, float* y, int offset) {
  if (threadIdx.x < 4)
    *reinterpret_cast<Four*>(y + 4 * threadIdx.x) = *reinterpret_cast<const Four*>(x + 4 * threadIdx.x + offset + HERE);
}
GRAFT_KERNEL(32) change_four(float* y, int offset) {
  Four& four = *reinterpret_cast<Four*>(y + offset + HERE);
  four.at[threadIdx.x % 4] = 1;
}

TEST_F(CheckerMemory, FindsMisalignedVectors) {
  const OnDevice<float> x(std::vector<float>(20)), y(16);
  EXPECT_EQ(launch(copy_four, dims(1, 32), static_cast<float*>(x), static_cast<float*>(y), 0), cudaSuccess);
  EXPECT_EQ(launch(copy_four, dims(1, 32), static_cast<float*>(x), static_cast<float*>(y), 4), cudaSuccess);
#ifndef __clang__  // which copies a whole struct by memcpy, and asks for no alignment
  expect_report(launch(copy_four, dims(1, 32), static_cast<float*>(x), static_cast<float*>(y), 1),
                AllOf(HasSubstr("misaligned: "), HasSubstr("4 bytes past a multiple of 16")));
#endif
  expect_report(launch(change_four, dims(1, 32), static_cast<float*>(y), 2), HasSubstr("misaligned: "));
}

struct alignas(8) Two {
  float at[2];
};
GRAFT_KERNEL(32) store_four(float* y, int offset) {
  kernels::cuda::arch::store16(y + 4 * threadIdx.x + offset + HERE, Four{{1, 2, 3, 4}});
}
GRAFT_KERNEL(32) store_two(float* y, int offset) {
  kernels::cuda::arch::store8(y + 2 * threadIdx.x + offset + HERE, Two{{1, 2}});
}

TEST_F(CheckerMemory, WatchesStoresOfSixteenAndEightBytes) {
  const OnDevice<float> y(128);
  EXPECT_EQ(launch(store_four, dims(1, 32), static_cast<float*>(y), 0), cudaSuccess);
  const std::vector<float> all = y.values();
  for (int i = 0; i < 128; ++i) EXPECT_EQ(all[static_cast<std::size_t>(i)], static_cast<float>(i % 4 + 1)) << i;
  expect_report(launch(store_four, dims(1, 32), static_cast<float*>(y), 2),
                AllOf(HasSubstr("misaligned: "), HasSubstr("8 bytes past a multiple of 16")));
  expect_report(launch(store_four, dims(1, 32), static_cast<float*>(y), 4),
                AllOf(HasSubstr("out of bounds: write of 16 bytes"), HasSubstr("thread (31,0,0)")));
  expect_report(launch(store_four, dims(2, 32), static_cast<float*>(y), 0), HasSubstr("race"));
  EXPECT_EQ(launch(store_two, dims(1, 32), static_cast<float*>(y), 2), cudaSuccess);
  expect_report(launch(store_two, dims(1, 32), static_cast<float*>(y), 1),
                AllOf(HasSubstr("misaligned: "), HasSubstr("4 bytes past a multiple of 8")));
}

// --- reads of what nobody wrote -------------------------------------------------------------------------------------

TEST_F(CheckerMemory, FindsUninitialisedReads) {
  const OnDevice<float> x(32), y(32);
  expect_report(launch(read_at, dims(1, 32), static_cast<float*>(x), static_cast<float*>(y), 0),
                AllOf(HasSubstr("uninitialised: read of 4 bytes of device memory that nothing has written"),
                      HasSubstr("offset 0 of an allocation of 128 bytes")));
  cudaMemset(x, 0, 124);
  expect_report(launch(read_at, dims(1, 32), static_cast<float*>(x), static_cast<float*>(y), 0),
                HasSubstr("offset 124"));
  const OnDevice<float> z(32);
  cudaMemcpy(z, x, 128, cudaMemcpyDeviceToDevice);
  expect_report(launch(read_at, dims(1, 32), static_cast<float*>(z), static_cast<float*>(y), 0),
                HasSubstr("offset 124"));
  std::vector<float> zeros(32);
  cudaMemcpy(z, zeros.data(), 128, cudaMemcpyHostToDevice);
  EXPECT_EQ(launch(read_at, dims(1, 32), static_cast<float*>(z), static_cast<float*>(y), 0), cudaSuccess);
  EXPECT_EQ(launch(read_at, dims(1, 32), static_cast<float*>(y), static_cast<float*>(z), 0), cudaSuccess)
      << "y was written by the launch before";
}

TEST_F(CheckerMemory, LeavesPageLockedMemoryAlone) {
  float *host = nullptr, *y = nullptr;
  cudaHostAlloc(reinterpret_cast<void**>(&host), 128, cudaHostAllocMapped);
  cudaMalloc(reinterpret_cast<void**>(&y), 128);
  EXPECT_EQ(launch(read_at, dims(1, 32), host, y, 0), cudaSuccess);
  cudaFreeHost(host);
  cudaFree(y);
}

// --- shared memory --------------------------------------------------------------------------------------------------

GRAFT_KERNEL(32) shared_static(float* y, int offset) {
  GRAFT_SHARED(tile, float[32]);
  float* const p = tile;
  p[threadIdx.x] = 1;
  __syncthreads();
  y[threadIdx.x] = p[static_cast<int>(threadIdx.x) + offset + HERE];
}
GRAFT_KERNEL(32) shared_dynamic(float* y, int offset) {
  GRAFT_DYNAMIC_SHARED(float, tile);
  tile[static_cast<int>(threadIdx.x) + offset + HERE] = 1;
  __syncthreads();
  y[threadIdx.x] = 0;
}
GRAFT_KERNEL(32) shared_unwritten(float* y) {
  GRAFT_SHARED(tile, float[64]);
  if (threadIdx.x < 31) tile[threadIdx.x] = 1;
  __syncthreads();
  y[threadIdx.x] = tile[threadIdx.x + static_cast<unsigned>(HERE)];
}

TEST_F(CheckerMemory, FindsAccessesOutsideSharedVariables) {
  const OnDevice<float> y(32);
  EXPECT_EQ(launch(shared_static, dims(2, 32), static_cast<float*>(y), 0), cudaErrorLaunchFailure)
      << "two blocks write y: a race";
  reset();
  EXPECT_EQ(launch(shared_static, dims(1, 32), static_cast<float*>(y), 0), cudaSuccess);
  expect_report(
      launch(shared_static, dims(1, 32), static_cast<float*>(y), 1),
      AllOf(HasSubstr("out of bounds: read of 4 bytes of shared memory, 0 bytes after a variable of 128 bytes"),
            HasSubstr("thread (31,0,0)")));
  EXPECT_EQ(launch(shared_dynamic, dims(1, 32, 128), static_cast<float*>(y), 0), cudaSuccess);
  expect_report(launch(shared_dynamic, dims(1, 32, 124), static_cast<float*>(y), 0),
                HasSubstr("out of bounds: write of 4 bytes of shared memory, 0 bytes after a variable of 124"));
  expect_report(launch(shared_dynamic, dims(1, 32, 128), static_cast<float*>(y), -1),
                HasSubstr("4 bytes before a variable of 128 bytes"));
}

TEST_F(CheckerMemory, FindsReadsOfUnwrittenSharedMemoryInEveryBlock) {
  const OnDevice<float> y(32);
  expect_report(launch(shared_unwritten, dims(1, 32), static_cast<float*>(y)),
                AllOf(HasSubstr("uninitialised: read of 4 bytes of shared memory that nothing has written"),
                      HasSubstr("thread (31,0,0)")));
}

GRAFT_KERNEL(32) leaves_data_behind(int* y) {
  GRAFT_SHARED(flag, int[1]);
  if (blockIdx.x == 0 && threadIdx.x == 0) flag[0] = 1;
  __syncthreads();
  if (threadIdx.x == 0) y[blockIdx.x] = flag[0 + HERE];
}

TEST_F(CheckerMemory, NothingIsLeftOfTheBlockBefore) {
  options().order = Order::Forward;
  const OnDevice<int> y(2);
  expect_report(launch(leaves_data_behind, dims(2, 32), static_cast<int*>(y)),
                AllOf(HasSubstr("uninitialised"), HasSubstr("block (1,0,0)")));
}

TEST_F(CheckerMemory, CanBeSwitchedOff) {
  options().check = false;
  const OnDevice<float> x(32), y(32);
  EXPECT_EQ(launch(read_at, dims(1, 32), static_cast<float*>(x), static_cast<float*>(y), 1), cudaSuccess);
  options().check = true;
  EXPECT_EQ(launch(read_at, dims(1, 32), static_cast<float*>(y), static_cast<float*>(x), 0), cudaSuccess)
      << "what an unwatched kernel wrote counts as written";
}

// In lazy streams a block is freed when the work before it has run, not when the host says so.
TEST_F(CheckerMemory, FollowsTheOrderOfLazyStreams) {
  options().lazy_streams = true;
  const Stream stream = runtime::default_stream(0);
  const auto native = static_cast<cudaStream_t>(stream.native);
  const OnDevice<float> y(32);
  for (int i = 0; i < 3; ++i) {
    auto* const x = static_cast<float*>(runtime::device_allocate(128, stream));
    EXPECT_EQ(cudaMemsetAsync(x, 0, 128, native), cudaSuccess);
    EXPECT_EQ(launch_on(native, read_at, dims(1, 32), x, static_cast<float*>(y), 0), cudaSuccess);
    runtime::device_free(x, stream);
  }
  EXPECT_EQ(cudaStreamSynchronize(native), cudaSuccess) << text_of(cudaErrorLaunchFailure);
}

GRAFT_KERNEL(32) copy_in(const float* x, float* y, bool wait) {
  GRAFT_SHARED(tile, Four[32]);
  namespace arch = kernels::cuda::arch;
  arch::cp_async16(&tile[threadIdx.x], x + 4 * threadIdx.x);
  arch::cp_async_commit();
  if (wait) arch::cp_async_wait<0>();
  y[threadIdx.x] = tile[threadIdx.x].at[HERE];
}

TEST_F(CheckerMemory, FindsReadsBeforeAnAsynchronousCopyHasLanded) {
  options().lazy_async = true;
  const OnDevice<float> x(std::vector<float>(128, 5)), y(32);
  EXPECT_EQ(launch(copy_in, dims(1, 32), static_cast<float*>(x), static_cast<float*>(y), true), cudaSuccess)
      << text_of(cudaErrorLaunchFailure);
  EXPECT_EQ(y.values()[31], 5);
  expect_report(launch(copy_in, dims(1, 32), static_cast<float*>(x), static_cast<float*>(y), false),
                AllOf(HasSubstr("asynchronous copy begun at"), HasSubstr("has yet to write")));
}

GRAFT_KERNEL(32) add_one(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x] + 1; }

// What was allocated and freed during a capture lives and dies again in each launch of the graph.
TEST_F(CheckerMemory, FollowsBlocksThroughGraphs) {
  const OnDevice<float> x(std::vector<float>(32, 1)), y(32);
  runtime::Graph graph;
  const runtime::OwnedStream stream;
  {
    runtime::GraphCapture capture(graph, stream);
    const auto native = static_cast<cudaStream_t>(stream.get().native);
    auto* const between = static_cast<float*>(runtime::device_allocate(128, stream));
    EXPECT_EQ(launch_on(native, add_one, dims(1, 32), static_cast<float*>(x), between), cudaSuccess);
    EXPECT_EQ(launch_on(native, add_one, dims(1, 32), between, static_cast<float*>(y)), cudaSuccess);
    runtime::device_free(between, stream);
    capture.finish();
  }
  for (int i = 0; i < 3; ++i) {
    graph.launch(stream);
    stream.synchronize();
    EXPECT_EQ(y.values()[31], 3);
  }
  EXPECT_EQ(graph.node_count(), 2);
}

// The same for what a graph reads too late: its block is dead by then.
TEST_F(CheckerMemory, FindsUsesAfterAFreeInGraphs) {
  const OnDevice<float> x(std::vector<float>(32, 1)), y(32);
  runtime::Graph graph;
  const runtime::OwnedStream stream;
  {
    runtime::GraphCapture capture(graph, stream);
    const auto native = static_cast<cudaStream_t>(stream.get().native);
    auto* const between = static_cast<float*>(runtime::device_allocate(128, stream));
    EXPECT_EQ(launch_on(native, add_one, dims(1, 32), static_cast<float*>(x), between), cudaSuccess);
    runtime::device_free(between, stream);
    EXPECT_EQ(launch_on(native, add_one, dims(1, 32), between, static_cast<float*>(y)), cudaSuccess);
    capture.finish();
  }
  EXPECT_ANY_THROW({
    graph.launch(stream);
    stream.synchronize();
  });
  EXPECT_THAT(text_of(cudaErrorLaunchFailure), HasSubstr("use after free: read of 4 bytes"));
  reset();
}

}  // namespace
}  // namespace graft::simt
