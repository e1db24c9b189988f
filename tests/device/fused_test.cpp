// Fused chains on the CUDA device.
#include <graft/core/ops/fused.h>
#include <graft/kernels/registry/registry.h>

#include "core/helpers.h"
#include "device/device.h"

namespace graft {
namespace {

class DeviceFusedTest : public test::DeviceTest {};

TEST_F(DeviceFusedTest, AsTheSeparateOps) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const auto on_device = [&](const Shape& shape, std::uint64_t seed) {
      return normal(shape, seed).to(dtype).contiguous(MemoryFormat::channels_last).to(test::gpu).requires_grad_();
    };
    const Tensor x = on_device({2, 8, 5, 3}, 1), scale = on_device({1, 8, 1, 1}, 2), other = on_device({2, 8, 5, 3}, 3);
    const Tensor gy = on_device({2, 8, 5, 3}, 4).detach();
    const auto gradients = [&](const Tensor& y) {
      y.backward(gy);
      std::vector<Tensor> all = {y.detach()};
      for (Tensor t : {x, scale, other}) {
        all.push_back(t.grad());
        t.set_grad({});
      }
      return all;
    };
    kernels::reset_kernel_counts();
    const Tensor y = fused(x).mul(scale).silu().add(other).relu().run();
    EXPECT_EQ(kernels::kernel_calls(), 1u);
    const std::vector<Tensor> got = gradients(y), want = gradients(relu(silu(x * scale) + other));
    // The formulas are the same; a compiler may fuse a product and a sum of a formula in one kernel and not in the
    // other, so a few epsilons of numbers up to about 10 (the gradient of the scale: of sums of 30 of them).
    const double epsilon = dtype == DType::f32 ? 0x1p-23 : 0x1p-52;
    for (std::size_t i = 0; i < got.size(); ++i) {
      const std::vector<double> a = values(got[i]), b = values(want[i]);
      ASSERT_EQ(a.size(), b.size());
      for (std::size_t k = 0; k < a.size(); ++k) EXPECT_NEAR(a[k], b[k], 300 * epsilon) << "tensor " << i << ", " << k;
    }
  }
}

TEST_F(DeviceFusedTest, RefusesATensorOfAnotherDevice) {
  const Tensor x = normal({3}, 1).to(test::gpu);
  expect_contains(error_of([&] { fused(x).add(normal({3}, 2)); }), {"fused", "different devices", "to(device)"});
}

}  // namespace
}  // namespace graft
