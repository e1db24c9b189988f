// Gradients of whole layers, input and parameters, against central differences in double.
#include <graft/core/autograd/gradcheck.h>

#include "layers/helpers.h"

namespace graft {
namespace {

/// Of the input and of every parameter of `module` in its present mode.
GradcheckResult check_gradients(Module& module, const Shape& shape, std::uint64_t seed = 1) {
  module.to(DType::f64);
  Generator generator(seed);
  std::vector<Tensor> inputs = {randn(shape, generator, DType::f64).requires_grad_()};
  for (const Tensor& p : module.parameters()) inputs.push_back(p);
  return gradcheck([&](const std::vector<Tensor>& in) { return module(in[0]); }, inputs);
}

#define EXPECT_GRADIENTS(...)                                    \
  do {                                                           \
    const GradcheckResult result = check_gradients(__VA_ARGS__); \
    EXPECT_TRUE(result.ok) << result.message;                    \
  } while (false)

class LayerGradients : public testing::Test {
 protected:
  void SetUp() override { manual_seed(1); }
};

TEST_F(LayerGradients, Linear) {
  Linear layer(3, 4);
  EXPECT_GRADIENTS(layer, {5, 3});
}

TEST_F(LayerGradients, Conv2dWithEveryOption) {
  Conv2d layer(4, 6, 3, {.stride = 2, .padding = 2, .dilation = 2, .groups = 2});
  EXPECT_GRADIENTS(layer, {2, 4, 6, 6});
}

TEST_F(LayerGradients, BatchNorm2dInBothModes) {
  BatchNorm2d layer(3);
  EXPECT_GRADIENTS(layer, {2, 3, 3, 3});
  layer.eval();
  EXPECT_GRADIENTS(layer, {2, 3, 3, 3});
}

TEST_F(LayerGradients, BatchNorm1d) {
  BatchNorm1d layer(3);
  EXPECT_GRADIENTS(layer, {6, 3});
  EXPECT_GRADIENTS(layer, {3, 3, 4});
}

TEST_F(LayerGradients, LayerNorm) {
  LayerNorm layer({3, 4});
  EXPECT_GRADIENTS(layer, {2, 3, 4});
}

TEST_F(LayerGradients, Pools) {
  MaxPool2d overlapping(3, 2, 1), fused(2, 0, 0, true);
  AvgPool2d average(3, 2, 1, false);
  AdaptiveAvgPool2d adaptive(2, 3);
  EXPECT_GRADIENTS(overlapping, {2, 2, 5, 5});
  EXPECT_GRADIENTS(fused, {2, 2, 5, 5});
  EXPECT_GRADIENTS(average, {2, 2, 5, 5});
  EXPECT_GRADIENTS(adaptive, {2, 2, 5, 5});
}

TEST_F(LayerGradients, Activations) {
  for (const auto kind : {ActivationKind::relu, ActivationKind::relu6, ActivationKind::gelu, ActivationKind::sigmoid,
                          ActivationKind::tanh, ActivationKind::hardswish, ActivationKind::silu}) {
    ActivationLayer layer(kind);
    SCOPED_TRACE(layer.describe());
    EXPECT_GRADIENTS(layer, {4, 5});
  }
}

TEST_F(LayerGradients, AStackOfLayers) {
  Sequential net;
  net.append("conv", std::make_shared<Conv2d>(1, 3, 3, Conv2dOptions{.padding = 1, .bias = false}));
  net.append("bn", std::make_shared<BatchNorm2d>(3));
  net.append("pool", std::make_shared<MaxPool2d>(2, 0, 0, true));
  net.append("flatten", std::make_shared<Flatten>());
  net.append("fc", std::make_shared<Linear>(12, 4));
  net.append("gelu", std::make_shared<ActivationLayer>(ActivationKind::gelu));
  net.append("norm", std::make_shared<LayerNorm>(Shape{4}));
  EXPECT_GRADIENTS(net, {3, 1, 4, 4});
}

}  // namespace
}  // namespace graft
