#include <cmath>

#include <graft/core/ops/math.h>

#include "layers/helpers.h"

namespace graft {
namespace {

TEST(BatchNormLayer, HasTorchsNamesShapesAndStartingValues) {
  BatchNorm2d layer(3);
  EXPECT_EQ(names_of(layer.state_dict()),
            (Names{"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}));
  EXPECT_EQ(layer.weight.to_vector<float>(), std::vector<float>(3, 1));
  EXPECT_EQ(layer.bias.to_vector<float>(), std::vector<float>(3, 0));
  EXPECT_EQ(layer.running_mean.to_vector<float>(), std::vector<float>(3, 0));
  EXPECT_EQ(layer.running_var.to_vector<float>(), std::vector<float>(3, 1));
  EXPECT_EQ(layer.num_batches_tracked.dtype(), DType::i64);
  EXPECT_EQ(layer.num_batches_tracked.shape(), Shape());
  EXPECT_EQ(layer.parameter_count(), 6);
}

TEST(BatchNormLayer, TrainingMovesTheRunningStatisticsAsPyTorchs) {
  BatchNorm1d layer(1);
  layer(Tensor::from<float>({1, 2, 3, 6}, {4, 1}));
  // Mean 3, biased variance 3.5, unbiased 14/3; momentum 0.1. Values of size 1 in float: 1e-6.
  EXPECT_NEAR(layer.running_mean.item(), 0.3, 1e-6);
  EXPECT_NEAR(layer.running_var.item(), 0.9 + 0.1 * 14 / 3, 1e-6);
  EXPECT_EQ(layer.num_batches_tracked.item(), 1);
  layer(Tensor::from<float>({1, 2, 3, 6}, {4, 1}));
  EXPECT_NEAR(layer.running_mean.item(), 0.57, 1e-6);
  EXPECT_EQ(layer.num_batches_tracked.item(), 2);
}

TEST(BatchNormLayer, OutputOfTrainingHasMeanZeroAndVarianceOne) {
  Generator generator(2);
  BatchNorm2d layer(2);
  const Tensor y = layer(randn({8, 2, 5, 5}, generator) * 3.0 + 7.0);
  // 200 values of float rounding around 7: the mean keeps about 1e-6; eps takes 1e-5 / 9 of the variance.
  for (const float m : mean(y, {0, 2, 3}).to_vector<float>()) EXPECT_NEAR(m, 0, 1e-5);
  for (const float v : mean(square(y), {0, 2, 3}).to_vector<float>()) EXPECT_NEAR(v, 1, 1e-4);
}

TEST(BatchNormLayer, EvalUsesTheRunningStatisticsAndChangesNothing) {
  BatchNorm1d layer(2, {.eps = 0.5});
  layer.load_state_dict({{"weight", Tensor::from<float>({2, 3}, {2})},
                         {"bias", Tensor::from<float>({10, 20}, {2})},
                         {"running_mean", Tensor::from<float>({1, -1}, {2})},
                         {"running_var", Tensor::from<float>({3.5F, 8.5F}, {2})},
                         {"num_batches_tracked", Tensor::full({}, 42, DType::i64)}});
  layer.eval();
  const std::vector<float> y = layer(Tensor::from<float>({5, 5}, {1, 2})).to_vector<float>();  // one row is enough
  EXPECT_NEAR(y[0], 10 + 2 * 4 / std::sqrt(4.0), 1e-5);  // values of size 20 in float
  EXPECT_NEAR(y[1], 20 + 3 * 6 / std::sqrt(9.0), 1e-5);
  EXPECT_EQ(layer.num_batches_tracked.item(), 42);
  EXPECT_EQ(layer.running_mean.to_vector<float>(), (std::vector<float>{1, -1}));
}

TEST(BatchNormLayer, WithoutAffineHasBuffersOnly) {
  BatchNorm1d layer(2, {.momentum = 0.2, .affine = false});
  EXPECT_TRUE(layer.parameters().empty());
  EXPECT_EQ(names_of(layer.state_dict()), (Names{"running_mean", "running_var", "num_batches_tracked"}));
  EXPECT_EQ(layer(counting({3, 2})).shape(), (Shape{3, 2}));
  EXPECT_EQ(layer.describe(), "BatchNorm1d(2, momentum=0.2, affine=false)");
  EXPECT_EQ(BatchNorm2d(4, {.eps = 0.001}).describe(), "BatchNorm2d(4, eps=0.001)");
}

TEST(BatchNormLayer, ShapesThatFitAndThatDoNot) {
  BatchNorm1d one(3);
  BatchNorm2d two(3);
  EXPECT_EQ(one(Tensor::zeros({2, 3})).shape(), (Shape{2, 3}));
  EXPECT_EQ(one(Tensor::zeros({2, 3, 4})).shape(), (Shape{2, 3, 4}));
  EXPECT_EQ(two(Tensor::zeros({1, 3, 4, 4})).shape(), (Shape{1, 3, 4, 4}));
  expect_contains(error_of([&] { one(Tensor::zeros({2, 3, 4, 4})); }), "expected (N, 3) or (N, 3, L)");
  expect_contains(error_of([&] { two(Tensor::zeros({2, 3})); }), "expected (N, 3, H, W)");
  expect_contains(error_of([&] { two(Tensor::zeros({2, 5, 4, 4})); }), "BatchNorm2d(3): x is f32 (2, 5, 4, 4)");
  const std::string error = error_of([&] { one(Tensor::zeros({1, 3})); });
  expect_contains(error, "more than one value a channel when training");
  EXPECT_EQ(one.num_batches_tracked.item(), 2);  // a refused batch is not counted
  EXPECT_THROW(BatchNorm1d(0), Error);
  EXPECT_THROW(BatchNorm1d(2, {.momentum = 1.5}), Error);
}

TEST(LayerNormLayer, NormalisesTheLastDimensions) {
  LayerNorm layer({2, 2});
  EXPECT_EQ(names_of(layer.state_dict()), (Names{"weight", "bias"}));
  const std::vector<float> y = layer(counting({1, 2, 2})).to_vector<float>();
  const double deviation = std::sqrt(1.25 + 1e-5);
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(y[static_cast<std::size_t>(i)], (i - 1.5) / deviation, 1e-6);
  EXPECT_EQ(layer.describe(), "LayerNorm((2, 2))");
  expect_contains(error_of([&] { layer(Tensor::zeros({2, 3})); }), "ends with (2, 2)");
  EXPECT_THROW(LayerNorm(Shape{}), Error);
  EXPECT_TRUE(layer.is_deterministic());
}

}  // namespace
}  // namespace graft
