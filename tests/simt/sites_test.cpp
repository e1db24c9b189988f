// The barriers that a launch lists, and launches that go without one of them: what the negative tests of the kernels
// rest on. And what sparing a barrier rests on: reductions that take two scratches in turns.
#include "simt/emulated.h"

#include <algorithm>

#include <graft/kernels/cuda/arch/sm80.h>
#include <graft/kernels/simt/checker.h>
#include <graft/kernels/cuda/common.cuh>

namespace graft::simt {
namespace {

using testing::HasSubstr;

class Sites : public Emulated {
 protected:
  void SetUp() override {
    checker::set_active(true);
    if (!checker::enabled()) GTEST_SKIP() << "built without GRAFT_SIMT_CHECK";
    clear_sites();
  }
};

int needed_line = 0, redundant_line = 0;

// The second barrier orders nothing: after it nobody reads or writes shared memory.
GRAFT_KERNEL(64) reversed(int* y) {
  GRAFT_SHARED(tile, int[64]);
  const unsigned i = threadIdx.x;
  tile[i] = static_cast<int>(i);
  needed_line = __LINE__ + 1;
  __syncthreads();
  const int value = tile[63 - i];
  redundant_line = __LINE__ + 1;
  __syncthreads();
  y[i] = value;
}

TEST_F(Sites, TellsANeededBarrierFromARedundantOne) {
  const OnDevice<int> y(64);
  int* const p = y;
  const auto run = [&](const char* name) { return launch(reversed, dims(1, 64, 0, name), p); };
  ASSERT_EQ(run("first"), cudaSuccess);
  std::vector<Site> found = sites();
  ASSERT_EQ(found.size(), 2u);
  std::sort(found.begin(), found.end(), [](const Site& a, const Site& b) { return a.line < b.line; });
  EXPECT_THAT(found[0].file, HasSubstr("sites_test.cpp"));
  EXPECT_EQ(found[0].line, needed_line);
  EXPECT_EQ(found[1].line, redundant_line);
  for (const Site& site : found) {
    EXPECT_EQ(site.what, "__syncthreads");
    EXPECT_EQ(site.kernel, "first");
  }

  ASSERT_EQ(run("second"), cudaSuccess);
  EXPECT_EQ(sites().size(), 4u) << "a barrier counts once a kernel";

  options().omit = found[1];
  EXPECT_EQ(run("first"), cudaSuccess) << text_of(cudaErrorLaunchFailure);
  EXPECT_EQ(y.values()[0], 63);
  options().omit = found[0];
  EXPECT_EQ(run("second"), cudaSuccess) << "the barrier is gone from the kernel `first` only";
  EXPECT_EQ(run("first"), cudaErrorLaunchFailure);
  reset();
  options().omit.kernel.clear();
  EXPECT_EQ(run("second"), cudaErrorLaunchFailure);
  reset();
}

int wait_line = 0;

GRAFT_KERNEL(32) copied(const float* x, float* y) {
  namespace arch = kernels::cuda::arch;
  GRAFT_SHARED(tile, float[32]);
  arch::cp_async4(&tile[threadIdx.x], &x[threadIdx.x]);
  arch::cp_async_commit();
  wait_line = __LINE__ + 1;
  arch::cp_async_wait<0>();
  y[threadIdx.x] = tile[threadIdx.x];
}

TEST_F(Sites, KnowsWaitsForCopies) {
  const OnDevice<float> x(std::vector<float>(32, 5.0f)), y(32);
  const float* const from = x;
  float* const to = y;
  ASSERT_EQ(launch(copied, dims(1, 32), from, to), cudaSuccess) << text_of(cudaErrorLaunchFailure);
  ASSERT_EQ(sites().size(), 1u);
  EXPECT_EQ(sites()[0].line, wait_line);
  options().lazy_async = true;
  options().omit = sites()[0];
  EXPECT_EQ(launch(copied, dims(1, 32), from, to), cudaErrorLaunchFailure);
  EXPECT_THAT(text_of(cudaErrorLaunchFailure), HasSubstr("has yet to write"));
  reset();
}

// One reduction after the other, in `scratches` scratches that take turns.
GRAFT_KERNEL(128) reductions(double* y, int count, int scratches) {
  using namespace kernels::cuda;
  GRAFT_SHARED(scratch, double[2][128 / kWarp]);
  double value = threadIdx.x;
  for (int i = 0; i < count; ++i) value = block_reduce<128>(value, scratch[i % scratches], Add{}) / 128 + threadIdx.x;
  y[threadIdx.x] = value;
}

TEST_F(Sites, ReductionsTakeTwoScratchesInTurns) {
  const OnDevice<double> y(128);
  double* const p = y;
  for (const Order order : {Order::Forward, Order::Reverse, Order::Random}) {
    options().order = order;
    for (const int count : {1, 2, 3, 4, 7}) {
      ASSERT_EQ(launch(reductions, dims(1, 128), p, count, 2), cudaSuccess) << text_of(cudaErrorLaunchFailure);
      EXPECT_EQ(y.values()[5], count * 63.5 + 5);  // each adds the mean of 0 to 127; all sums are exact
    }
    EXPECT_EQ(launch(reductions, dims(1, 128), p, 1, 1), cudaSuccess);
    EXPECT_EQ(launch(reductions, dims(1, 128), p, 2, 1), cudaErrorLaunchFailure) << "one scratch, twice in a row";
    EXPECT_THAT(text_of(cudaErrorLaunchFailure), HasSubstr("race"));
    reset();
  }
}

}  // namespace
}  // namespace graft::simt
