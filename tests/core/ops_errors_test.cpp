// What the ops refuse, and how they behave at the edges: no rows, one element, odd layouts.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include <graft/core/ops/math.h>
#include <graft/core/ops/nn.h>
#include <graft/core/ops/view.h>

#include "core/helpers.h"

namespace graft {
namespace {

using Values = std::vector<double>;

Tensor f32(const Shape& shape) { return normal(shape, 1); }

TEST(OpErrors, Arithmetic) {
  expect_contains(error_of([] { add(f32({2, 3}), f32({2, 4})); }), {"add", "(2, 3)", "(2, 4)", "dimension 1"});
  expect_contains(error_of([] { mul(f32({2}), normal({2}, 1, DType::f64)); }), {"mul", "f32", "f64", "to(dtype)"});
  expect_contains(error_of([] { add(Tensor(), f32({2})); }), {"add", "a is undefined"});
  expect_contains(error_of([] { sub(f32({2}), Tensor()); }), {"sub", "b is undefined"});
  expect_contains(error_of([] { exp(Tensor()); }), {"exp", "undefined"});
  expect_contains(error_of([] { exp(counting({2}, DType::i64)); }), {"floating", "i64"});
  expect_contains(error_of([] { add(counting({2}, DType::i64), 0.5); }), {"0.5", "whole number"});
  expect_contains(error_of([] { add(counting({2}, DType::boolean), counting({2}, DType::boolean)); }), {"bool"});
  expect_contains(error_of([] { div(counting({2}, DType::i32), counting({2}, DType::i32)); }), {"zero"});
}

TEST(OpErrors, Reductions) {
  expect_contains(error_of([] { sum(f32({2, 3}), {2}); }), {"sum", "dimension 2", "rank 2"});
  expect_contains(error_of([] { mean(f32({2, 3}), {0, -2}); }), {"mean", "dimension -2", "twice"});
  expect_contains(error_of([] { mean(counting({2}, DType::i64)); }), {"floating", "mean"});
  expect_contains(error_of([] { max(f32({2, 0}), 1); }), {"dimension 1", "empty"});
  expect_contains(error_of([] { argmax(f32({2}), 1); }), {"argmax", "dimension 1"});
  expect_contains(error_of([] { sum(Tensor()); }), {"sum", "undefined"});
}

TEST(OpErrors, Products) {
  expect_contains(error_of([] { matmul(f32({2, 3}), f32({4, 2})); }), {"matmul", "(2, 3)", "(4, 2)"});
  expect_contains(error_of([] { matmul(f32({3}), f32({3, 2})); }), {"(..., M, K)", "(3,)"});
  expect_contains(error_of([] { matmul(f32({2, 2, 3}), f32({3, 3, 2})); }), {"(2,)", "(3,)", "broadcast"});
  expect_contains(error_of([] { matmul(counting({2, 2}, DType::i64), counting({2, 2}, DType::i64)); }), {"floating"});
  expect_contains(error_of([] { linear(f32({2, 3}), f32({4, 5})); }), {"linear", "(..., 5)", "(2, 3)"});
  expect_contains(error_of([] { linear(f32({2, 3}), f32({4, 3}), f32({3})); }), {"bias", "(4,)", "(3,)"});
  expect_contains(error_of([] { linear(f32({2, 3}), f32({4, 3}).to(DType::f16)); }), {"f16", "equal"});
}

TEST(OpErrors, Convolutions) {
  const Tensor x = f32({1, 4, 5, 5}), w = f32({6, 4, 3, 3});
  expect_contains(error_of([&] { conv2d(f32({4, 5, 5}), w); }), {"(N, C, H, W)", "(4, 5, 5)"});
  expect_contains(error_of([&] { conv2d(x, f32({6, 3, 3, 3})); }), {"4 channels", "expected 3"});
  expect_contains(error_of([&] {
                    conv2d(x, f32({3, 2, 3, 3}), {}, {.groups = 2});
                  }),
                  {"3 output channels", "2 groups"});
  expect_contains(error_of([&] { conv2d(x, w, f32({5})); }), {"bias", "(6,)", "(5,)"});
  expect_contains(error_of([&] { conv2d(x, w, {}, {.dilation_h = 3}); }), {"does not fit", "5 x 5", "padding"});
  expect_contains(error_of([&] { conv2d(x, w, {}, {.stride_h = 0}); }), {"stride (0, 1)"});
  expect_contains(error_of([&] { conv2d(x, w, {}, {.padding_w = -1}); }), {"padding (0, -1)"});
  expect_contains(error_of([&] { conv2d(x.to(DType::f64), w); }), {"dtypes must be equal"});
}

TEST(OpErrors, Pools) {
  const Tensor x = f32({1, 2, 4, 4});
  expect_contains(error_of([&] { max_pool2d(x, {5, 5}); }), {"max_pool2d", "5 x 5", "4 x 4"});
  expect_contains(error_of([&] { max_pool2d(x, {2, 2, 2, 2, 2, 2}); }), {"padding (2, 2)", "half the kernel"});
  expect_contains(error_of([&] { avg_pool2d(x, {.dilation_h = 2}); }), {"avg_pool2d", "dilation"});
  expect_contains(error_of([&] { avg_pool2d(f32({2, 4, 4}), {}); }), {"(N, C, H, W)"});
  expect_contains(error_of([&] { adaptive_avg_pool2d(x, 0, 1); }), {"0 x 1"});
  expect_contains(error_of([&] { max_pool2d(x, {.stride_w = 0}); }), {"stride"});
}

TEST(OpErrors, Norms) {
  const Tensor x = f32({4, 3});
  expect_contains(error_of([&] { batch_norm(x, f32({4}), {}, {}, {}); }), {"gamma", "(3,)", "(4,)"});
  expect_contains(error_of([&] { batch_norm(x, {}, {}, f32({3}), {}); }), {"go together"});
  expect_contains(error_of([&] { batch_norm(f32({1, 3}), {}, {}, {}, {}); }), {"more than one value", "(1, 3)"});
  expect_contains(error_of([&] { batch_norm(f32({3}), {}, {}, {}, {}); }), {"(N, C)", "(3,)"});
  expect_contains(error_of([&] { layer_norm(x, f32({4}), {}); }), {"gamma", "last 1 dimensions"});
  expect_contains(error_of([&] { layer_norm(x, {}, {}, 1e-5, 3); }), {"last 3 dimensions", "(4, 3)"});
  expect_contains(error_of([&] { layer_norm(x, {}, f32({2, 3})); }), {"beta"});
}

TEST(OpErrors, LossesAndDropout) {
  const Tensor x = f32({2, 3}), t = Tensor::from<std::int64_t>({0, 2}, {2});
  expect_contains(error_of([&] { softmax(x, 2); }), {"softmax", "dimension 2"});
  expect_contains(error_of([&] { log_softmax(f32({}), 0); }), {"log_softmax", "at least one dimension"});
  expect_contains(error_of([&] { cross_entropy(x, Tensor::from<std::int64_t>({0, 3}, {2})); }), {"1", "3"});
  expect_contains(error_of([&] { cross_entropy(x, Tensor::from<std::int64_t>({0, -1}, {2})); }), {"-1"});
  expect_contains(error_of([&] { cross_entropy(x, t.to(DType::i32)); }), {"targets i64", "i32"});
  expect_contains(error_of([&] { cross_entropy(x, Tensor::arange(3)); }), {"(2,)", "(3,)"});
  expect_contains(error_of([&] { cross_entropy(f32({3}), t); }), {"(N, C)", "(3,)"});
  expect_contains(error_of([&] { cross_entropy(x, t, {.label_smoothing = 1.5}); }), {"label_smoothing", "1.5"});
  expect_contains(error_of([&] { cross_entropy(x, t, {.class_weights = f32({2})}); }), {"class_weights", "(3,)"});
  expect_contains(error_of([&] { dropout(x, 1.5, true); }), {"dropout", "1.5"});
  expect_contains(error_of([&] { dropout(x, -0.1, true); }), {"dropout", "-0.1"});
  expect_contains(error_of([&] { dropout(x, std::nan(""), true); }), {"dropout", "nan"});
  expect_contains(error_of([&] { cross_entropy(x, t, {.class_weights = Tensor::ones({3}).requires_grad_()}); }),
                  {"class_weights", "detach()"});
  expect_contains(error_of([&] {
                    affine_warp(Tensor::ones({1, 1, 4, 4}).requires_grad_(), Tensor::ones({1, 2, 3}));
                  }),
                  {"affine_warp", "detach()"});
  expect_contains(error_of([&] { affine_warp(f32({1, 1, 4, 4}), f32({2, 3})); }), {"theta", "(1, 2, 3)"});
}

// --- no rows
// ----------------------------------------------------------------------------------------------------------

/// f of an empty batch runs backward; the weights' gradients are all zero.
void expect_zero_gradients(const std::vector<Tensor>& weights, const Tensor& y) {
  sum(y).backward();
  for (const Tensor& w : weights) {
    ASSERT_TRUE(w.grad().defined());
    for (const double g : walked(w.grad())) EXPECT_EQ(g, 0);
  }
}

TEST(EmptyBatches, PassThroughTheLayersWithZeroGradients) {
  const Tensor w = f32({4, 3}).requires_grad_(), b = f32({4}).requires_grad_();
  expect_zero_gradients({w, b}, linear(Tensor::zeros({0, 3}).requires_grad_(), w, b));
  const Tensor k = f32({4, 3, 3, 3}).requires_grad_(), c = f32({4}).requires_grad_();
  const Tensor images = Tensor::zeros({0, 3, 8, 8}).requires_grad_();
  const Tensor y = conv2d(images, k, c);
  EXPECT_EQ(y.shape(), Shape({0, 4, 6, 6}));
  expect_zero_gradients({k, c, images}, adaptive_avg_pool2d(avg_pool2d(max_pool2d(relu(y), {}), {}), 1, 1));
  const Tensor a = f32({2, 3}).requires_grad_();
  expect_zero_gradients({a}, matmul(Tensor::zeros({0, 2}), a));
  expect_zero_gradients({a}, index_select(a, 0, Tensor::arange(0)));
  expect_zero_gradients({a}, gather(a, 0, Tensor::zeros({0, 3}, DType::i64)));
  expect_zero_gradients({a}, slice(a, 1, 2, 1));
  expect_zero_gradients({a}, concat({slice(a, 0, 0, 0), slice(a, 0, 2, 2)}, 0));
}

TEST(EmptyBatches, NormsSoftmaxAndDropoutStayInTheGraph) {
  const Tensor x = Tensor::zeros({0, 3}).requires_grad_(), gamma = f32({3}).requires_grad_();
  EXPECT_TRUE(batch_norm(x, {}, {}, f32({3}), Tensor::ones({3}), {.training = false}).requires_grad());
  sum(batch_norm(x, gamma, {}, f32({3}), Tensor::ones({3}), {.training = false})).backward();
  sum(layer_norm(x, {}, {})).backward();
  sum(softmax(x, 1)).backward();
  sum(dropout(x, 0.5, true)).backward();
  EXPECT_EQ(x.grad().shape(), Shape({0, 3}));
  EXPECT_EQ(linear(Tensor::zeros({2, 0}), Tensor::zeros({4, 0}), Tensor::ones({4})).shape(), Shape({2, 4}));
}

TEST(EmptyBatches, LossesOfNothingAreZeroOrNotANumber) {
  const Tensor x = Tensor::zeros({0, 3}).requires_grad_(), none = Tensor::arange(0);
  EXPECT_EQ(cross_entropy(x, none, {.reduction = Reduction::sum}).item(), 0);
  EXPECT_TRUE(std::isnan(cross_entropy(x, none).item()));
  EXPECT_EQ(cross_entropy(x, none, {.reduction = Reduction::none}).numel(), 0);
  EXPECT_EQ(sum(Tensor::zeros({0})).item(), 0);
  EXPECT_TRUE(std::isnan(mean(Tensor::zeros({0})).item()));
  EXPECT_EQ(walked(sum(Tensor::zeros({2, 0}), {1})), Values({0, 0}));
}

// --- odd operands
// -----------------------------------------------------------------------------------------------------

TEST(OddLayouts, ProductsTakeRepeatedAndOverlappingOperands) {
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    SCOPED_TRACE(name(dtype));
    const Tensor b = counting({3, 2}, dtype);
    const Tensor repeated = expand(counting({1, 3}, dtype), {4, 3});
    EXPECT_EQ(walked(matmul(repeated, b)), Values({10, 13, 10, 13, 10, 13, 10, 13}));
    const Tensor windows = counting({5}, dtype).as_strided({3, 3}, {1, 1}, 0);
    EXPECT_EQ(walked(matmul(windows, b)), Values({10, 13, 16, 22, 22, 31}));
    const Tensor one = expand(Tensor::ones({1, 1}, dtype), {4, 1});  // strides 0, 0
    EXPECT_EQ(walked(matmul(one, slice(b, 0, 0, 1))), Values({0, 1, 0, 1, 0, 1, 0, 1}));
    EXPECT_EQ(walked(matmul(transpose(one, 0, 1), one)), Values({4}));
    EXPECT_EQ(walked(linear(repeated, expand(Tensor::ones({1, 1}, dtype), {2, 3}))), Values(8, 3));
  }
}

TEST(OddLayouts, GradientsOfSumsReachEveryOp) {
  // The gradient of a sum is one element repeated: each backward must take it.
  const auto gradient = [](const Shape& shape, const std::function<Tensor(const Tensor&)>& f) {
    const Tensor x = f32(shape).requires_grad_();
    sum(f(x)).backward();
    return x.grad();
  };
  EXPECT_EQ(walked(gradient({2, 3}, [](const Tensor& x) { return matmul(x, Tensor::ones({3, 1})); })), Values(6, 1));
  EXPECT_EQ(walked(gradient({3, 1}, [](const Tensor& x) { return matmul(Tensor::ones({1, 3}), x); })), Values(3, 1));
  EXPECT_EQ(walked(gradient({4, 1}, [](const Tensor& x) { return linear(x, Tensor::ones({1, 1})); })), Values(4, 1));
  EXPECT_EQ(walked(gradient({1, 1, 3, 3},
                            [](const Tensor& x) {
                              return conv2d(x, Tensor::ones({1, 1, 3, 3}));
                            })),
            Values(9, 1));
  EXPECT_EQ(walked(gradient({1, 2, 2, 2}, [](const Tensor& x) { return avg_pool2d(x, {}); })), Values(8, 0.25));
  EXPECT_EQ(walked(gradient({2, 2}, [](const Tensor& x) { return concat({x, x}, 1); })), Values(4, 2));
  EXPECT_EQ(walked(gradient({2, 2}, [](const Tensor& x) { return transpose(x, 0, 1).reshape({4}); })), Values(4, 1));
  EXPECT_EQ(walked(gradient({3}, [](const Tensor& x) { return index_select(x, 0, Tensor::arange(3)); })), Values(3, 1));
}

TEST(OddLayouts, ImagesGiveTheSameInEveryFormat) {
  const Tensor rows = f32({2, 3, 6, 5}), images = rows.contiguous(MemoryFormat::channels_last);
  const Tensor w = f32({4, 3, 3, 3});
  for (const auto& f : std::vector<std::function<Tensor(const Tensor&)>>{
           [&](const Tensor& x) { return conv2d(x, w); }, [](const Tensor& x) { return max_pool2d(x, {}); },
           [](const Tensor& x) { return batch_norm(x, {}, {}, {}, {}); }, [](const Tensor& x) { return softmax(x, 1); },
           [](const Tensor& x) {
             return sum(x, {0, 2});
           },
           [](const Tensor& x) { return layer_norm(x, {}, {}, 1e-5, 3); },
           [](const Tensor& x) { return argmax(x, 1); }})
    EXPECT_TRUE(same_bits(f(rows), f(images)));
}

TEST(OddLayouts, WeightsGiveTheSameInEveryFormat) {
  const Tensor x = f32({2, 3, 6, 5}), w = f32({4, 3, 3, 3}), part = slice(f32({8, 3, 3, 3}), 0, 0, 8, 2);
  EXPECT_TRUE(same_bits(conv2d(x, w), conv2d(x, w.contiguous(MemoryFormat::channels_last))));
  EXPECT_TRUE(same_bits(conv2d(x, part), conv2d(x, part.clone())));
  const Tensor rows = f32({2, 4}), turned = transpose(f32({4, 3}), 0, 1), bias = slice(f32({6}), 0, 0, 6, 2);
  EXPECT_TRUE(same_bits(linear(rows, turned, bias), linear(rows, turned, bias.clone())));
}

}  // namespace
}  // namespace graft
