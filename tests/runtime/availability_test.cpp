// Whether there is a device, and what is said when there is none.
#include <gtest/gtest.h>

#include <cstdlib>

#include <graft/core/cuda.h>
#include <graft/core/tensor.h>
#include <graft/kernels/runtime/cuda.h>

#include "support/errors.h"

namespace graft {
namespace {

TEST(Availability, ReasonAndAnswerAgree) {
  EXPECT_EQ(cuda::is_available(), cuda::why_not().empty());
  EXPECT_EQ(cuda::is_available(), cuda::device_count() > 0);
  EXPECT_EQ(Device::best(), cuda::is_available() ? Device::cuda(0) : Device::cpu());
}

TEST(Availability, IndexBeyondTheDevices) {
  EXPECT_FALSE(cuda::is_available(17));
  EXPECT_FALSE(cuda::is_available(-1));
  const std::string text = test::error_of([] { Tensor::zeros({2}, DType::f32, Device::cuda(17)); });
  EXPECT_NE(text, "");
  if (cuda::is_available()) {
    test::expect_contains(text, "there is no cuda:17");
    test::expect_contains(text, "expected cuda:0");
  } else {
    test::expect_contains(text, "Device::cpu()");
  }
  EXPECT_ERROR(cuda::device_name(17), "");
}

TEST(Availability, TheDeviceHasANameAndProperties) {
  if (const char* expected = std::getenv("GRAFT_TEST_GPU")) {  // scripts/gpu_check: the tests must run on this one
    ASSERT_TRUE(cuda::is_available()) << cuda::why_not();
    EXPECT_EQ(cuda::device_name(), expected);
  }
  if (!cuda::is_available()) GTEST_SKIP() << cuda::why_not();
  EXPECT_FALSE(cuda::device_name().empty());
  const runtime::CudaProperties& p = runtime::cuda_properties(0);
  EXPECT_GE(10 * p.major + p.minor, 80);
  EXPECT_GT(p.memory, 0u);
  EXPECT_GT(p.multiprocessors, 0);
  EXPECT_GE(p.shared_per_block, 48u * 1024);
}

TEST(Availability, CodeRunsWhereItWasBuiltFor) {
  const auto runs = [](const char* built, int major, int minor) {
    return runtime::no_code_for(built, major, minor).empty();
  };
  EXPECT_TRUE(runs("80 90a", 8, 0));
  EXPECT_TRUE(runs("80 90a", 8, 9)) << "the same major number";
  EXPECT_TRUE(runs("80 90a", 9, 0));
  EXPECT_TRUE(runs("80 90a", 10, 0) && runs("80 90a", 12, 0)) << "from PTX of the first";
  EXPECT_TRUE(runs("90a", 9, 0));
  EXPECT_FALSE(runs("90a", 8, 0) || runs("90a", 10, 0)) << "neither code nor PTX of 90a runs elsewhere";
  EXPECT_FALSE(runs("90a 80", 10, 0)) << "PTX is of the first only";
  EXPECT_TRUE(runs("90a 80", 8, 6));
  EXPECT_TRUE(runs("86", 8, 9) && runs("86", 9, 0));
  EXPECT_FALSE(runs("86", 8, 0)) << "older than the code";
  EXPECT_TRUE(runs("100f", 10, 3));
  EXPECT_FALSE(runs("100f", 12, 0)) << "another family";
  EXPECT_FALSE(runs("70 90a", 7, 5)) << "too old for the kernels";
  test::expect_contains(runtime::no_code_for("90a", 10, 0),
                        "compute capability 10.0, this build has code for sm_90a, which does not run there; build with "
                        "-DGRAFT_CUDA_ARCHITECTURES=100");
  test::expect_contains(runtime::no_code_for("80 90a", 7, 5), "7.5, this build has code for sm_80, sm_90a: 8.0 (Ampere)");
}

TEST(Availability, MemoryQuestionsNeedACudaDevice) {
  EXPECT_ERROR(cuda::memory_stats(Device::cpu()), "expected a CUDA device");
  EXPECT_ERROR(cuda::release_cache(Device::cpu()), "expected a CUDA device");
  cuda::synchronize(Device::cpu());
}

}  // namespace
}  // namespace graft
