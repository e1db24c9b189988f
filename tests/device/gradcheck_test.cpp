// The gradient of every differentiable op on the CUDA device against central differences in double: the CPU's table.
#include <graft/core/autograd/gradcheck.h>

#include "core/gradient_cases.h"
#include "device/device.h"

namespace graft {
namespace {

class DeviceGradients : public test::DeviceTest, public testing::WithParamInterface<GradCase> {};

TEST_P(DeviceGradients, MatchCentralDifferences) {
  const GradCase& c = GetParam();
  std::vector<Tensor> inputs;
  for (const Tensor& t : c.inputs) inputs.push_back(t.detach().to(test::gpu).requires_grad_());
  const GradcheckResult result = gradcheck(c.f, inputs, c.options);
  EXPECT_TRUE(result.ok) << result.message;
  for (const Tensor& t : inputs) EXPECT_EQ(t.grad().device(), test::gpu);
}

INSTANTIATE_TEST_SUITE_P(Op, DeviceGradients, testing::ValuesIn(gradient_cases()),
                         [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace graft
