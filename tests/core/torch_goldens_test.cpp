// Forward and backward of the ops against numbers from PyTorch 1.13 (scripts/goldens/ops.py), on every CPU backend.
#include "core/torch_goldens.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <optional>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/math.h>
#include <graft/core/ops/nn.h>
#include <graft/kernels/registry/registry.h>

namespace graft {
namespace {

using goldens::Golden;
using Tensors = std::vector<Tensor>;

/// The formula of ops.py.
Tensor wave(double seed, const Shape& shape, double scale = 1, double shift = 0) {
  std::vector<float> values(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(shift + scale * std::sin(seed + 0.73 * static_cast<double>(i)));
  return Tensor::from(values, shape);
}

Tensor leaf(double seed, const Shape& shape, double scale = 1) { return wave(seed, shape, scale).requires_grad_(); }

Tensor output_gradient(const Shape& shape) {
  std::vector<float> values(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(std::cos(0.5 + 0.3 * static_cast<double>(i)));
  return Tensor::from(values, shape);
}

/// Sums of up to 60 products of size about 1 to 4 in float, added in another order than PyTorch's: 60 rounding errors
/// of 4 * 6e-8 stay below 1.5e-5 even if all went one way.
constexpr double kTolerance = 1.5e-5;

void expect_near(const Tensor& actual, const std::vector<double>& expected, const std::string& what) {
  ASSERT_TRUE(actual.defined()) << what;
  const std::vector<double> values = actual.to_vector<double>();
  ASSERT_EQ(values.size(), expected.size()) << what;
  for (std::size_t i = 0; i < values.size(); ++i)
    EXPECT_NEAR(values[i], expected[i], kTolerance * std::max(1.0, std::abs(expected[i]))) << what << ", element " << i;
}

/// The parameter is the backend that must serve everything; cpu means the default order, as a user runs it.
class TorchGoldens : public testing::TestWithParam<kernels::BackendId> {
 protected:
  void SetUp() override {
    if (GetParam() != kernels::BackendId::cpu) scope_.emplace(GetParam());
  }

  /// Compares the output and the gradient of every input.
  void compare(const Golden& golden, Tensors inputs, const std::function<Tensor(const Tensors&)>& f) {
    const Tensor y = f(inputs);
    expect_near(y, golden.y, "output");
    y.backward(output_gradient(y.shape()));
    ASSERT_GE(golden.rest.size(), inputs.size());
    for (std::size_t i = 0; i < inputs.size(); ++i)
      expect_near(inputs[i].grad(), golden.rest[i], cat("gradient of input ", i));
  }

  void compare_conv(const Golden& golden, const Shape& x, const Shape& w, const Conv2dGeometry& geometry) {
    compare(golden, {leaf(0.1, x), leaf(0.2, w), leaf(0.3, {w[0]})},
            [&](const Tensors& in) { return conv2d(in[0], in[1], in[2], geometry); });
  }

  void compare_unary(const Golden& golden, double scale, Tensor (*op)(const Tensor&)) {
    compare(golden, {leaf(0.1, {12}, scale)}, [&](const Tensors& in) { return op(in[0]); });
  }

  void compare_batch_norm(const Golden& golden, const Shape& shape, const BatchNormOptions& options) {
    const std::int64_t c = shape[1];
    Tensor mean = wave(0.7, {c}), var = wave(0.9, {c}, 0.5, 1.0);
    batch_norm(wave(0.4, shape, 2), {}, {}, mean, var, options);
    compare(golden, {leaf(0.1, shape), leaf(0.2, {c}), leaf(0.3, {c})},
            [&](const Tensors& in) { return batch_norm(in[0], in[1], in[2], mean, var, options); });
    expect_near(mean, golden.rest[3], "running mean");
    expect_near(var, golden.rest[4], "running variance");
  }

 private:
  std::optional<kernels::BackendScope> scope_;
};

TEST_P(TorchGoldens, Conv2dPlain) { compare_conv(goldens::conv2d_plain, {2, 2, 4, 4}, {3, 2, 3, 3}, {}); }

TEST_P(TorchGoldens, Conv2dStrideAndPadding) {
  compare_conv(goldens::conv2d_stride_pad, {1, 2, 5, 5}, {2, 2, 3, 3},
               {.stride_h = 2, .stride_w = 2, .padding_h = 1, .padding_w = 1});
}

TEST_P(TorchGoldens, Conv2dDilation) {
  compare_conv(goldens::conv2d_dilation, {1, 1, 6, 6}, {2, 1, 3, 3},
               {.padding_h = 1, .padding_w = 1, .dilation_h = 2, .dilation_w = 2});
}

TEST_P(TorchGoldens, Conv2dGroupsAndUnequalStridesAndPaddings) {
  compare_conv(goldens::conv2d_groups, {1, 4, 4, 4}, {4, 2, 2, 2}, {.stride_h = 2, .padding_h = 1, .groups = 2});
}

TEST_P(TorchGoldens, Conv2dDepthwise) {
  compare_conv(goldens::conv2d_depthwise, {1, 3, 4, 4}, {3, 1, 3, 3}, {.padding_h = 1, .padding_w = 1, .groups = 3});
}

TEST_P(TorchGoldens, LinearOnRows) {
  compare(goldens::linear_2d, {leaf(0.1, {3, 4}), leaf(0.2, {5, 4}), leaf(0.3, {5})},
          [](const Tensors& in) { return linear(in[0], in[1], in[2]); });
}

TEST_P(TorchGoldens, LinearOnThreeDimensionsWithoutBias) {
  compare(goldens::linear_3d, {leaf(0.1, {2, 3, 4}), leaf(0.2, {2, 4})},
          [](const Tensors& in) { return linear(in[0], in[1]); });
}

TEST_P(TorchGoldens, MatmulBroadcastsBatches) {
  compare(goldens::matmul_broadcast, {leaf(0.1, {2, 1, 2, 3}), leaf(0.2, {2, 3, 2})},
          [](const Tensors& in) { return matmul(in[0], in[1]); });
}

TEST_P(TorchGoldens, GeluExact) {
  compare_unary(goldens::gelu_exact, 4, [](const Tensor& x) { return gelu(x); });
}
TEST_P(TorchGoldens, GeluTanh) {
  compare_unary(goldens::gelu_tanh, 4, [](const Tensor& x) { return gelu(x, GeluKind::tanh); });
}
TEST_P(TorchGoldens, Silu) { compare_unary(goldens::silu, 4, silu); }
TEST_P(TorchGoldens, Hardswish) { compare_unary(goldens::hardswish, 4, hardswish); }
TEST_P(TorchGoldens, Relu6) { compare_unary(goldens::relu6, 8, relu6); }
TEST_P(TorchGoldens, Sigmoid) { compare_unary(goldens::sigmoid, 4, sigmoid); }
TEST_P(TorchGoldens, Tanh) {
  compare_unary(goldens::tanh, 4, [](const Tensor& x) { return graft::tanh(x); });
}

TEST_P(TorchGoldens, SoftmaxOverAMiddleDimension) {
  compare(goldens::softmax_dim1, {leaf(0.1, {2, 3, 2}, 3)}, [](const Tensors& in) { return softmax(in[0], 1); });
}

TEST_P(TorchGoldens, LogSoftmax) {
  compare(goldens::log_softmax_dim1, {leaf(0.1, {3, 4}, 3)}, [](const Tensors& in) { return log_softmax(in[0], 1); });
}

TEST_P(TorchGoldens, CrossEntropyIgnoresTheDefaultIndex) {
  const Tensor targets = Tensor::from<std::int64_t>({2, 0, -100, 3, 1}, {5});
  compare(goldens::cross_entropy_plain, {leaf(0.1, {5, 4}, 3)},
          [&](const Tensors& in) { return cross_entropy(in[0], targets); });
}

TEST_P(TorchGoldens, CrossEntropyWithSmoothingWeightsAndIgnoredRows) {
  const Tensor targets = Tensor::from<std::int64_t>({2, 0, -100, 3, 1}, {5});
  const Tensor weights = Tensor::from<float>({0.5F, 2, 1, 0.25F}, {4});
  const std::vector<std::pair<Reduction, const Golden*>> cases = {{Reduction::mean, &goldens::cross_entropy_mean},
                                                                  {Reduction::sum, &goldens::cross_entropy_sum},
                                                                  {Reduction::none, &goldens::cross_entropy_none}};
  for (const auto& [reduction, golden] : cases) {
    SCOPED_TRACE(cat("reduction ", static_cast<int>(reduction)));
    CrossEntropyOptions options;
    options.reduction = reduction;
    options.label_smoothing = 0.1;
    options.class_weights = weights;
    compare(*golden, {leaf(0.1, {5, 4}, 3)}, [&](const Tensors& in) { return cross_entropy(in[0], targets, options); });
  }
}

TEST_P(TorchGoldens, CrossEntropyIgnoresAGivenClass) {
  const Tensor targets = Tensor::from<std::int64_t>({2, 0, 3, 3, 1}, {5});
  CrossEntropyOptions options;
  options.ignore_index = 3;
  compare(goldens::cross_entropy_ignore_3, {leaf(0.1, {5, 4}, 3)},
          [&](const Tensors& in) { return cross_entropy(in[0], targets, options); });
}

TEST_P(TorchGoldens, MaxPoolOverlappingWithPadding) {
  const PoolGeometry geometry{.kernel_h = 3, .kernel_w = 3, .padding_h = 1, .padding_w = 1};
  compare(goldens::max_pool_3_2_1, {leaf(0.1, {1, 2, 5, 5})},
          [&](const Tensors& in) { return max_pool2d(in[0], geometry); });
}

TEST_P(TorchGoldens, MaxPoolDilation) {
  const PoolGeometry geometry{.stride_h = 1, .stride_w = 1, .dilation_h = 2, .dilation_w = 2};
  compare(goldens::max_pool_dilation, {leaf(0.1, {1, 1, 6, 6})},
          [&](const Tensors& in) { return max_pool2d(in[0], geometry); });
}

TEST_P(TorchGoldens, MaxPoolWithFusedRelu) {
  compare(goldens::max_pool_relu, {leaf(0.1, {1, 2, 5, 5})},
          [](const Tensors& in) { return max_pool2d(in[0], {}, true); });
}

TEST_P(TorchGoldens, AvgPoolCountsPaddingOrNot) {
  PoolGeometry geometry{.kernel_h = 3, .kernel_w = 3, .padding_h = 1, .padding_w = 1};
  compare(goldens::avg_pool_pad, {leaf(0.1, {1, 1, 5, 5})},
          [&](const Tensors& in) { return avg_pool2d(in[0], geometry); });
  geometry.count_include_pad = false;
  compare(goldens::avg_pool_no_pad, {leaf(0.1, {1, 1, 5, 5})},
          [&](const Tensors& in) { return avg_pool2d(in[0], geometry); });
}

TEST_P(TorchGoldens, AdaptiveAvgPoolWithUnequalWindows) {
  compare(goldens::adaptive_avg_pool, {leaf(0.1, {1, 2, 5, 4})},
          [](const Tensors& in) { return adaptive_avg_pool2d(in[0], 3, 3); });
}

TEST_P(TorchGoldens, AdaptiveAvgPoolToOnePixel) {
  compare(goldens::adaptive_avg_pool_1, {leaf(0.1, {1, 2, 3, 3})},
          [](const Tensors& in) { return adaptive_avg_pool2d(in[0], 1, 1); });
}

TEST_P(TorchGoldens, BatchNormOnRows) { compare_batch_norm(goldens::batch_norm_2d, {4, 3}, {}); }

TEST_P(TorchGoldens, BatchNormOnSequencesWithOptions) {
  compare_batch_norm(goldens::batch_norm_3d, {2, 3, 3}, {.momentum = 0.3, .eps = 1e-3});
}

TEST_P(TorchGoldens, BatchNormOnImages) { compare_batch_norm(goldens::batch_norm_4d, {2, 3, 2, 2}, {}); }

TEST_P(TorchGoldens, BatchNormInInference) {
  compare_batch_norm(goldens::batch_norm_eval, {2, 3, 2, 2}, {.training = false});
}

TEST_P(TorchGoldens, LayerNormOverOneDimension) {
  compare(goldens::layer_norm_1, {leaf(0.1, {3, 5}), leaf(0.2, {5}), leaf(0.3, {5})},
          [](const Tensors& in) { return layer_norm(in[0], in[1], in[2]); });
}

TEST_P(TorchGoldens, LayerNormOverTwoDimensions) {
  compare(goldens::layer_norm_2, {leaf(0.1, {2, 3, 4}), leaf(0.2, {3, 4}), leaf(0.3, {3, 4})},
          [](const Tensors& in) { return layer_norm(in[0], in[1], in[2], 1e-3); });
}

INSTANTIATE_TEST_SUITE_P(Backends, TorchGoldens,
                         testing::Values(kernels::BackendId::cpu, kernels::BackendId::reference),
                         [](const auto& backend) { return std::string(kernels::name(backend.param)); });

}  // namespace
}  // namespace graft
