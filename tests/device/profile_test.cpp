// GRAFT_PROFILE: every kernel by name, how often and how long.
#include "device/training.h"

#include <graft/core/cuda.h>

namespace graft::test {
namespace {

class Profile : public testing::Test {
 protected:
  void SetUp() override {
    if (!cuda::is_available()) GTEST_SKIP() << cuda::why_not();
    cuda::reset_kernel_times();
  }
  void TearDown() override {
    cuda::set_profiling(false);
    cuda::reset_kernel_times();
  }
  static std::uint64_t launches_in(const std::vector<cuda::KernelTime>& times) {
    std::uint64_t all = 0;
    for (const cuda::KernelTime& time : times) all += time.launches;
    return all;
  }
};

// What is registered to run at the end before CUDA has started runs when CUDA has ended.
TEST(ProfileTable, IsPrintedAlsoWhereProfilingIsAskedAboutBeforeCudaStarts) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  setenv("GRAFT_PROFILE", "1", 1);
  const auto program = [] {
    cuda::profiling();
    if (!cuda::is_available()) {
      std::fputs("no device", stderr);
    } else {
      matmul(Tensor::ones({4, 4}, DType::f32, Device::cuda()), Tensor::ones({4, 4}, DType::f32, Device::cuda()));
    }
    std::exit(0);
  };
  EXPECT_EXIT(program(), testing::ExitedWithCode(0), "matmul_tiles +1 .*sum +3 |no device");
  unsetenv("GRAFT_PROFILE");
}

TEST_F(Profile, IsOffUntilAskedFor) {
  const Tensor x = Tensor::ones({1000}, DType::f32, Device::cuda());
  relu(x);
  EXPECT_FALSE(cuda::profiling());
  EXPECT_TRUE(cuda::kernel_times().empty());
}

TEST_F(Profile, CountsEachKernelAndAddsItsTime) {
  const Tensor x = Tensor::ones({64, 64}, DType::f32, Device::cuda());
  cuda::set_profiling(true);
  const std::uint64_t before = cuda::device_activity().launches;
  for (int i = 0; i < 3; ++i) matmul(x, x);
  softmax(x, 1);
  const std::uint64_t launches = cuda::device_activity().launches - before;
  const std::vector<cuda::KernelTime> times = cuda::kernel_times();
  EXPECT_EQ(launches_in(times), launches);
  ASSERT_GE(times.size(), 2u);
  double longest = times.front().milliseconds;
  std::uint64_t products = 0;
  for (const cuda::KernelTime& time : times) {
    EXPECT_GT(time.milliseconds, 0) << time.kernel;
    EXPECT_LE(time.milliseconds, longest) << "the longest come first";
    longest = time.milliseconds;
    if (time.kernel.find("matmul") != std::string::npos) products += time.launches;
  }
  EXPECT_GE(products, 3u);
  const std::string table = cuda::kernel_time_table();
  EXPECT_NE(table.find("us a launch"), std::string::npos) << table;
  EXPECT_NE(table.find("\nsum "), std::string::npos) << table;
  cuda::reset_kernel_times();
  EXPECT_TRUE(cuda::kernel_times().empty());
}

// More launches than are kept pending: none is lost.
TEST_F(Profile, LosesNoLaunch) {
  const Tensor x = Tensor::ones({1}, DType::f32, Device::cuda());
  cuda::set_profiling(true);
  const std::uint64_t before = cuda::device_activity().launches;
  for (int i = 0; i < 5000; ++i) relu(x);
  EXPECT_EQ(launches_in(cuda::kernel_times()), cuda::device_activity().launches - before);
}

TEST_F(Profile, TrainingIsNotCapturedMeanwhileAndSaysSo) {
  manual_seed(1);
  auto net = small_mlp();
  net->to(Device::cuda());
  cuda::set_profiling(true);
  transfer::TrainOptions o;
  o.steps = 3;
  o.batch_size = 8;
  o.lr = 1e-3;
  std::string text;
  o.log = [&](const std::string& line) { text += line + "\n"; };
  const transfer::TrainResult result = transfer::train(*net, pictures(16, 1), {}, o);
  EXPECT_EQ(result.replayed, 0);
  EXPECT_NE(text.find("captured steps: off"), std::string::npos) << text;
  EXPECT_FALSE(cuda::kernel_times().empty());
}

}  // namespace
}  // namespace graft::test
