// Each layer: shape, values on small inputs, description, refusals.
#include <cmath>
#include <set>

#include <graft/core/ops/math.h>

#include "layers/helpers.h"

namespace graft {
namespace {

TEST(LinearLayer, ComputesXTimesWeightTransposedPlusBias) {
  Linear layer(2, 3);
  layer.load_state_dict({{"weight", counting({3, 2})}, {"bias", Tensor::from<float>({10, 20, 30}, {3})}});
  EXPECT_EQ(layer(Tensor::from<float>({1, 2}, {1, 2})).to_vector<float>(), (std::vector<float>{12, 28, 44}));
  EXPECT_EQ(layer(Tensor::zeros({4, 5, 2})).shape(), (Shape{4, 5, 3}));
  EXPECT_EQ(layer.in_features(), 2);
  EXPECT_EQ(layer.out_features(), 3);
}

TEST(LinearLayer, WithoutBiasHasOneParameter) {
  Linear layer(2, 3, {.bias = false});
  EXPECT_EQ(names_of(layer.state_dict()), (Names{"weight"}));
  EXPECT_EQ(layer.describe(), "Linear(2, 3, bias=false)");
  EXPECT_EQ(layer(Tensor::zeros({1, 2})).to_vector<float>(), (std::vector<float>{0, 0, 0}));
}

TEST(LinearLayer, ErrorsNameTheLayerAndTheShapes) {
  Sequential net;
  net.append("fc1", std::make_shared<Linear>(4, 3));
  const std::string error = error_of([&] { net(Tensor::zeros({2, 5})); });
  expect_contains(error, "fc1: Linear(4, 3)");
  expect_contains(error, "f32 (2, 5) on cpu");
  expect_contains(error, "expected 4");
  EXPECT_THROW(Linear(0, 3), Error);
  EXPECT_THROW(Linear(3, -1), Error);
}

TEST(Conv2dLayer, OutputShapesFollowTheFormula) {
  struct Case {
    std::int64_t kernel;
    Conv2dOptions options;
    std::int64_t out;
  };
  for (const Case& c : {Case{3, {}, 7}, Case{3, {.padding = 1}, 9}, Case{3, {.stride = 2, .padding = 1}, 5},
                        Case{3, {.dilation = 2}, 5}, Case{1, {}, 9}, Case{5, {.padding = 2, .groups = 2}, 9}}) {
    Conv2d layer(4, 6, c.kernel, c.options);
    EXPECT_EQ(layer(Tensor::zeros({2, 4, 9, 9})).shape(), (Shape{2, 6, c.out, c.out})) << layer.describe();
    EXPECT_EQ(layer.weight.shape(), (Shape{6, 4 / c.options.groups, c.kernel, c.kernel}));
    EXPECT_TRUE(layer.weight.is_channels_last());
  }
}

TEST(Conv2dLayer, DescribesOnlyWhatIsNotTheDefault) {
  EXPECT_EQ(Conv2d(1, 2, 3).describe(), "Conv2d(1, 2, kernel_size=3)");
  EXPECT_EQ(Conv2d(4, 8, 3, {.stride = 2, .padding = 1, .dilation = 2, .groups = 4, .bias = false}).describe(),
            "Conv2d(4, 8, kernel_size=3, stride=2, padding=1, dilation=2, groups=4, bias=false)");
}

TEST(Conv2dLayer, RefusesBadArgumentsAndInputs) {
  EXPECT_THROW(Conv2d(1, 1, 0), Error);
  EXPECT_THROW(Conv2d(1, 1, 3, {.stride = 0}), Error);
  EXPECT_THROW(Conv2d(1, 1, 3, {.padding = -1}), Error);
  expect_contains(error_of([] { Conv2d(3, 4, 3, {.groups = 2}); }), "expected a divisor of both");
  Sequential net;
  net.append("stem", std::make_shared<Conv2d>(3, 4, 3));
  const std::string error = error_of([&] { net(Tensor::zeros({1, 1, 8, 8})); });
  expect_contains(error, "stem: Conv2d(3, 4, kernel_size=3): x is f32 (1, 1, 8, 8)");
  expect_contains(error, "expected (N, 3, H, W)");
  expect_contains(error_of([&] { net(Tensor::zeros({1, 3, 2, 8})); }), "at least 3 pixels a side");
  EXPECT_THROW(net(Tensor::zeros({3, 8, 8})), Error);
}

TEST(PoolLayers, MaxAverageAndAdaptive) {
  const Tensor x = counting({1, 1, 4, 4});
  EXPECT_EQ(MaxPool2d(2)(x).to_vector<float>(), (std::vector<float>{5, 7, 13, 15}));
  EXPECT_EQ(AvgPool2d(2)(x).to_vector<float>(), (std::vector<float>{2.5, 4.5, 10.5, 12.5}));
  EXPECT_EQ(AdaptiveAvgPool2d(1, 2)(x).to_vector<float>(), (std::vector<float>{6.5, 8.5}));
  EXPECT_EQ(MaxPool2d(3, 2, 1)(x).shape(), (Shape{1, 1, 2, 2}));
  EXPECT_EQ(AvgPool2d(3, 1, 1, false)(x).to_vector<float>()[0], 2.5F);  // four pixels, not nine
}

TEST(PoolLayers, FusedReluIsReluBehindThePooling) {
  Generator generator(3);
  const Tensor x = randn({2, 3, 6, 6}, generator);
  Tensor a = x.clone().requires_grad_(), b = x.clone().requires_grad_();
  const Tensor fused = MaxPool2d(2, 0, 0, true)(a), plain = relu(MaxPool2d(2)(b));
  EXPECT_EQ(fused.to_vector<float>(), plain.to_vector<float>());
  const Tensor gy = randn(fused.shape(), generator);
  fused.backward(gy);
  plain.backward(gy);
  EXPECT_EQ(a.grad().to_vector<float>(), b.grad().to_vector<float>());
}

TEST(PoolLayers, DescribeAndRefuse) {
  EXPECT_EQ(MaxPool2d(2).describe(), "MaxPool2d(kernel_size=2)");
  EXPECT_EQ(MaxPool2d(3, 2, 1, true).describe(), "MaxPool2d(kernel_size=3, stride=2, padding=1, relu)");
  EXPECT_EQ(AvgPool2d(2, 0, 0, false).describe(), "AvgPool2d(kernel_size=2, count_include_pad=false)");
  EXPECT_EQ(AdaptiveAvgPool2d(1, 1).describe(), "AdaptiveAvgPool2d(1, 1)");
  expect_contains(error_of([] { MaxPool2d(2, 2, 2); }), "half the kernel");
  EXPECT_THROW(AdaptiveAvgPool2d(0, 1), Error);
  MaxPool2d pool(3);
  expect_contains(error_of([&] { pool(Tensor::zeros({1, 1, 2, 5})); }), "MaxPool2d(kernel_size=3): x is");
  AvgPool2d average(3);
  EXPECT_THROW(average(Tensor::zeros({1, 5, 5})), Error);
}

TEST(ActivationLayers, EachIsItsFunction) {
  const Tensor x = Tensor::from<float>({-4, -1, 0, 0.5F, 2, 7}, {6});
  using Kind = ActivationKind;
  const std::vector<std::tuple<Kind, Tensor, std::string>> cases = {
      {Kind::relu, relu(x), "ReLU()"},        {Kind::relu6, relu6(x), "ReLU6()"},
      {Kind::gelu, gelu(x), "GELU()"},        {Kind::sigmoid, sigmoid(x), "Sigmoid()"},
      {Kind::tanh, graft::tanh(x), "Tanh()"}, {Kind::hardswish, hardswish(x), "Hardswish()"},
      {Kind::silu, silu(x), "SiLU()"}};
  std::set<std::vector<float>> different;
  for (const auto& [kind, expected, text] : cases) {
    ActivationLayer layer(kind);
    EXPECT_EQ(layer(x).to_vector<float>(), expected.to_vector<float>()) << text;
    EXPECT_EQ(layer.describe(), text);
    EXPECT_TRUE(layer.is_deterministic());
    different.insert(expected.to_vector<float>());
  }
  EXPECT_EQ(different.size(), cases.size());
}

TEST(FlattenLayer, GivesLogicalChannelOrderForChannelsLastInput) {
  const Tensor x = counting({2, 3, 2, 2});
  const Tensor last = x.contiguous(MemoryFormat::channels_last);
  ASSERT_NE(last.strides(), x.strides());
  Flatten flatten;
  EXPECT_EQ(flatten(last).shape(), (Shape{2, 12}));
  EXPECT_EQ(flatten(last).to_vector<float>(), x.to_vector<float>());
  EXPECT_EQ(flatten(x).to_vector<float>(), x.to_vector<float>());
  EXPECT_EQ(Flatten(0).forward(last).shape(), (Shape{24}));
  EXPECT_EQ(flatten.describe(), "Flatten()");
  EXPECT_EQ(Flatten(0, 1).describe(), "Flatten(0, 1)");
}

TEST(FlattenLayer, ItsGradientComesBackInTheInputsPlaces) {
  Tensor x = counting({1, 3, 2, 2}).contiguous(MemoryFormat::channels_last).requires_grad_();
  const Tensor y = Flatten()(x);
  y.backward(counting({1, 12}));
  EXPECT_EQ(x.grad().to_vector<float>(), counting({12}).to_vector<float>());
}

TEST(DropoutLayer, ZeroesAShareAndScalesTheRest) {
  constexpr int n = 100'000;
  constexpr double p = 0.3;
  Dropout layer(p, 7);
  const std::vector<float> y = layer(Tensor::full({n}, 2)).to_vector<float>();
  int zeros = 0;
  for (const float value : y) {
    zeros += value == 0;
    if (value == 0) continue;
    ASSERT_NEAR(value, 2 / (1 - p), 1e-6);  // one multiplication in float
  }
  // Binomial: five standard deviations, so one seed in two million would fail.
  EXPECT_NEAR(zeros, n * p, 5 * std::sqrt(n * p * (1 - p)));
}

TEST(DropoutLayer, ItsGradientHasTheSameMask) {
  Dropout layer(0.5, 7);
  Tensor x = Tensor::ones({4, 3, 5, 5}).contiguous(MemoryFormat::channels_last).requires_grad_();
  const Tensor y = layer(x);
  y.backward(Tensor::ones(y.shape()));  // row-major, beside a channels-last forward
  EXPECT_EQ(x.grad().to_vector<float>(), y.to_vector<float>());
}

TEST(DropoutLayer, IsTheIdentityInEvalAndForPZero) {
  const Tensor x = counting({3, 4});
  Dropout layer(0.9);
  layer.eval();
  EXPECT_EQ(layer(x).to_vector<float>(), x.to_vector<float>());
  EXPECT_EQ(Dropout(0)(x).to_vector<float>(), x.to_vector<float>());
  EXPECT_EQ(Dropout(1)(x).to_vector<float>(), std::vector<float>(12, 0));
}

TEST(DropoutLayer, DrawsAnewEachTimeAndRepeatsWithTheSeed) {
  const Tensor x = Tensor::ones({64});
  Dropout a(0.5, 11), b(0.5, 11), c(0.5, 12);
  const auto first = a(x).to_vector<float>(), second = a(x).to_vector<float>();
  EXPECT_NE(first, second);
  EXPECT_EQ(b(x).to_vector<float>(), first);
  EXPECT_EQ(b(x).to_vector<float>(), second);
  EXPECT_NE(c(x).to_vector<float>(), first);
  Dropout shared(0.5);
  manual_seed(5);
  const auto seeded = shared(x).to_vector<float>();
  manual_seed(5);
  EXPECT_EQ(shared(x).to_vector<float>(), seeded);
  EXPECT_THROW(Dropout(1.5), Error);
  EXPECT_THROW(Dropout(-0.1), Error);
  EXPECT_EQ(Dropout(0.25).describe(), "Dropout(p=0.25)");
}

TEST(SequentialLayer, AppliesPartsInOrderAndNamesThem) {
  const auto a = std::make_shared<Linear>(2, 3);
  Sequential net({a, std::make_shared<ActivationLayer>(ActivationKind::tanh)});
  EXPECT_EQ(names_of(net.children()), (Names{"0", "1"}));
  const Tensor x = counting({4, 2});
  EXPECT_EQ(net(x).to_vector<float>(), graft::tanh((*a)(x)).to_vector<float>());
  net.append(std::make_shared<Linear>(3, 1));
  EXPECT_EQ(net.get("2").describe(), "Linear(3, 1)");
  EXPECT_THROW(net.append("2", std::make_shared<Flatten>()), Error);
}

TEST(SequentialLayer, EmptyIsTheIdentity) {
  const Tensor x = counting({3});
  EXPECT_TRUE(Sequential()(x).is_same(x));
}

}  // namespace
}  // namespace graft
