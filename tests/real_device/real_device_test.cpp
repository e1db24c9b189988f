// The library that programs link, with the kernels that nvcc built: whole on any machine, at work where there is a GPU.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include <graft/graft.h>
#include <graft/kernels/registry/registry.h>

#include "support/errors.h"

namespace graft {
namespace {

template <class... Args>
std::vector<std::string> empty_rows(const kernels::BackendTable& table, kernels::OpList<Args...>) {
  std::vector<std::string> names;
  ((table.row<Args>().run != nullptr && table.row<Args>().supports != nullptr ? void() : names.push_back(Args::name)),
   ...);
  return names;
}

TEST(RealDevice, HasAKernelForEveryOp) {
  const kernels::BackendTable* table = kernels::find_backend(kernels::BackendId::cuda);
  ASSERT_NE(table, nullptr);
  EXPECT_EQ(empty_rows(*table, kernels::AllOps{}), std::vector<std::string>{});
}

TEST(RealDevice, SaysWhyItCannotBeUsedOrComputes) {
  const std::string why = cuda::why_not();
  if (why.empty()) {
    const Tensor a = Tensor::from({1.0f, 2.0f, 3.0f, 4.0f}, {2, 2}, Device::cuda());
    EXPECT_EQ(matmul(a, a).to_vector<float>(), (std::vector<float>{7, 10, 15, 22}));
    EXPECT_EQ(Device::best(), Device::cuda());
    EXPECT_FALSE(cuda::device_name().empty());
    return;
  }
  // No driver, a driver without a GPU, or one that is too old: each names itself and the way out.
  EXPECT_TRUE(why.find("driver") != std::string::npos || why.find("compute capability") != std::string::npos) << why;
  test::expect_contains(why, "Device::cpu()");
  EXPECT_EQ(cuda::device_count() > 0, why.find("compute capability") != std::string::npos);
  EXPECT_FALSE(cuda::is_available());
  EXPECT_EQ(Device::best(), Device::cpu());
  for (int again = 0; again < 2; ++again) {
    EXPECT_ERROR(Tensor::zeros({2}, DType::f32, Device::cuda()), why);
    EXPECT_ERROR(Tensor::ones({2}).to(Device::cuda()), why);
    EXPECT_ERROR(cuda::synchronize(), why);
    EXPECT_ERROR(cuda::Stream(0), why);
    EXPECT_ERROR(cuda::memory_stats(), why);
    auto net = models::mlp({.in_features = 4, .hidden = {3}, .num_classes = 2});
    EXPECT_ERROR(net->to(Device::cuda()), why);
    EXPECT_EQ(net->device(), Device::cpu()) << "nothing was moved";
  }
  EXPECT_EQ(Tensor::ones({2}).to_vector<float>(), (std::vector<float>{1, 1})) << "the CPU works as ever";
}

}  // namespace
}  // namespace graft
