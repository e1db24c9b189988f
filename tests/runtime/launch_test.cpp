// What is said when a launch is refused, when a kernel fails, and when one finds a fault in its data.
#include <gtest/gtest.h>

#include <graft/core/cuda.h>
#include <graft/core/ops/math.h>
#include <graft/core/ops/nn.h>
#include <graft/core/ops/view.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/cuda_launch.h>

#include "support/errors.h"

namespace graft::runtime {
namespace {

using test::error_of;
using test::expect_contains;

// Numbers of cudaError_t, which do not change.
constexpr int kInvalidConfiguration = 9, kIllegalAddress = 700;

class LaunchTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = cuda_unavailable(); !why.empty()) GTEST_SKIP() << why;
    stream = default_stream(0);
  }
  void TearDown() override { set_synchronous_launches(false); }

  void finish(const char* kernel, int status) const {
    LaunchScope scope(kernel, stream);
    scope.finish(status, {7, 1, 1}, {128, 2, 1}, 4096);
  }

  Stream stream;
};

TEST_F(LaunchTest, ARefusedLaunchNamesKernelGridAndBlock) {
  const std::string text = error_of([&] { finish("some_kernel", kInvalidConfiguration); });
  for (const char* part :
       {"kernel some_kernel on cuda:0", "grid (7, 1, 1)", "block (128, 2, 1)", "4096 bytes of dynamic shared memory"})
    expect_contains(text, part);
  EXPECT_NO_THROW(finish("some_kernel", 0));
}

TEST_F(LaunchTest, AFailureFoundLaterListsWhatWasLaunched) {
  for (const char* kernel : {"first", "second", "third"}) finish(kernel, 0);
  const std::string text = error_of([&] { finish("fourth", kIllegalAddress); });
  for (const char* part : {"kernel fourth on cuda:0", "or a kernel before it",
                           "first, second, third, fourth (newest last)", "GRAFT_SYNC=1"})
    expect_contains(text, part);
  const std::string later = error_of([] { check_cuda(kIllegalAddress, "cudaMemcpyAsync"); });
  for (const char* part :
       {"cudaMemcpyAsync on cuda:0", "a kernel failed while it ran", "second, third, fourth", "GRAFT_SYNC=1"})
    expect_contains(later, part);
}

TEST_F(LaunchTest, WaitingForEachLaunchNamesTheKernelItself) {
  set_synchronous_launches(true);
  EXPECT_TRUE(synchronous_launches());
  const std::string text = error_of([&] { finish("culprit", kIllegalAddress); });
  expect_contains(text, "kernel culprit on cuda:0, grid (7, 1, 1)");
  EXPECT_EQ(text.find("before it"), std::string::npos) << text;
}

TEST_F(LaunchTest, FaultsOfDataComeWithTheNextWaitAndLeaveTheDeviceUsable) {
  const Device gpu = Device::cuda();
  const Tensor x = Tensor::arange(6, gpu).to(DType::f32).reshape({2, 3});
  Tensor y;
  EXPECT_NO_THROW(y = index_select(x, 0, Tensor::from<std::int64_t>({1, 5}, {2}, gpu))) << "the host cannot know yet";
  expect_contains(error_of([&] { y.to_vector<float>(); }), "index_select: index[1] is 5: expected 0 to 1");
  EXPECT_NO_THROW(cuda::synchronize()) << "it is told once";
  y = cross_entropy(x, Tensor::from<std::int64_t>({0, -7}, {2}, gpu));
  expect_contains(error_of([] { cuda::synchronize(); }), "cross_entropy: targets[1] is -7: expected 0 to 2");
  y = div(Tensor::ones({3}, DType::i64, gpu), Tensor::from<std::int64_t>({1, 2, 0}, {3}, gpu));
  expect_contains(error_of([&] { y.to_vector<std::int64_t>(); }), "division by zero");
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{0, 1, 2, 3, 4, 5}));
}

}  // namespace
}  // namespace graft::runtime
