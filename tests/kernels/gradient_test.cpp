// Every backward op of the reference against central differences of its forward op, in double.
#include <gtest/gtest.h>

#include <cmath>

#include <graft/kernels/reference/internal.h>
#include <graft/kernels/reference/table.h>

#include "op_case.h"

namespace graft::test {
namespace {

using namespace kernels;

template <class Args>
void run_reference(const Args& args) {
  const auto& row = reference::table().row<Args>();
  const Support support = row.supports(args);
  ASSERT_TRUE(support.ok) << Args::name << ": " << support.reason;
  Stream stream;
  row.run(args, stream);
}

class GradientTest : public testing::Test {
 protected:
  // d sum(gy y) / d x, element by element, must be gx. With a step of 1e-5 the formula is off by 1e-10 of the third
  // derivative, and rounding by 1e-16 / 1e-5 of the sum: 1e-7 of the gradient's size leaves room for sums of about
  // 1000.
  template <class Forward>
  void check(const char* what, const Forward& forward, const TensorRef& x, const TensorRef& y, const TensorRef& gy,
             const TensorRef& gx) {
    SCOPED_TRACE(std::string(Forward::name) + " by " + what);
    constexpr double step = 1e-5;
    const std::vector<double> g = make.read(gy), computed = make.read(gx);
    ASSERT_EQ(x.shape, gx.shape);
    std::vector<std::int64_t> offsets;
    reference::for_each_offset(x.shape, x.strides,
                               [&](std::int64_t, std::int64_t offset) { offsets.push_back(offset); });
    for (std::size_t i = 0; i < offsets.size(); ++i) {
      const double original = reference::load(x, offsets[i]);
      auto value = [&](double at) {
        reference::store(x, offsets[i], at);
        run_reference(forward);
        const std::vector<double> out = make.read(y);
        double sum = 0;
        for (std::size_t j = 0; j < out.size(); ++j) sum += out[j] * g[j];
        return sum;
      };
      const double above = value(original + step), below = value(original - step);
      reference::store(x, offsets[i], original);
      const double numeric = (above - below) / (2 * step);
      EXPECT_NEAR(computed[i], numeric, 1e-7 * std::max(1.0, std::abs(numeric))) << "element " << i;
    }
    run_reference(forward);
  }

  Maker make{DType::f64, true, {}, 7};
};

TEST_F(GradientTest, Unary) {
  // No element lies within a step of a kink (0 of abs and relu, 6 of relu6, +-3 of hardswish).
  const std::vector<double> anywhere = {-4.1, -2.7, -1.3, -0.6, -0.2, 0.15, 0.7, 1.9, 2.8, 3.3, 5.2, 6.4};
  const std::vector<double> positive = {0.1, 0.4, 0.9, 1.0, 1.7, 3.2, 5.5};
  for (int i = 0; i <= static_cast<int>(UnaryOp::silu); ++i) {
    const auto op = static_cast<UnaryOp>(i);
    SCOPED_TRACE(name(op));
    const bool limited = op == UnaryOp::log || op == UnaryOp::sqrt || op == UnaryOp::reciprocal;
    const std::vector<double>& values = limited ? positive : anywhere;
    const auto n = static_cast<std::int64_t>(values.size());
    const UnaryArgs forward{op, make.values({n}, values), make.output("y", {n})};
    run_reference(forward);
    const UnaryBackwardArgs backward{op, backward_uses_output(op) ? forward.y : forward.x, make.input({n}),
                                     make.output("gx", {n})};
    run_reference(backward);
    check("x", forward, forward.x, forward.y, backward.gy, backward.gx);
  }
}

TEST_F(GradientTest, MatmulIsTwoProducts) {
  MatmulArgs forward;
  forward.a = make.input({3, 5});
  forward.b = make.input({5, 4});
  forward.bias = make.input({4});
  forward.y = make.output("y", {3, 4});
  const TensorRef gy = make.input({3, 4});
  auto transposed = [](TensorRef t) {
    std::swap(t.shape[0], t.shape[1]);
    std::swap(t.strides[0], t.strides[1]);
    return t;
  };
  MatmulArgs a_grad, b_grad;
  a_grad.a = gy;
  a_grad.b = transposed(forward.b);
  a_grad.y = make.output("ga", {3, 5});
  b_grad.a = transposed(forward.a);
  b_grad.b = gy;
  b_grad.y = make.output("gb", {5, 4});
  run_reference(a_grad);
  run_reference(b_grad);
  check("a", forward, forward.a, forward.y, gy, a_grad.y);
  check("b", forward, forward.b, forward.y, gy, b_grad.y);
}

TEST_F(GradientTest, Conv2d) {
  for (const Conv2dGeometry& geometry :
       {Conv2dGeometry{}, {2, 1, 1, 0, 1, 1, 1}, {1, 2, 2, 1, 2, 1, 1}, {1, 1, 1, 1, 1, 1, 2}, {2, 2, 1, 1, 1, 2, 4}}) {
    Conv2dForwardArgs forward;
    forward.x = make.input({2, 4, 5, 6}, Layout::channels_last());
    forward.w = make.input({4, 4 / geometry.groups, 3, 2}, Layout::channels_last());
    forward.bias = make.input({4});
    forward.geometry = geometry;
    const Shape y = {2, 4, conv_output_size(5, 3, geometry.stride_h, geometry.padding_h, geometry.dilation_h),
                     conv_output_size(6, 2, geometry.stride_w, geometry.padding_w, geometry.dilation_w)};
    forward.y = make.output("y", y, Layout::channels_last());
    const TensorRef gy = make.input(y, Layout::channels_last());
    Conv2dBackwardDataArgs data{gy, forward.w, make.output("gx", forward.x.shape, Layout::channels_last()), geometry};
    Conv2dBackwardWeightArgs weight{forward.x, gy, make.output("gw", forward.w.shape, Layout::channels_last()),
                                    make.output("gbias", {4}), geometry};
    run_reference(data);
    run_reference(weight);
    check("x", forward, forward.x, forward.y, gy, data.gx);
    check("w", forward, forward.w, forward.y, gy, weight.gw);
    check("bias", forward, forward.bias, forward.y, gy, weight.gbias);
  }
}

TEST_F(GradientTest, Softmax) {
  for (bool log : {false, true}) {
    const SoftmaxArgs forward{make.input({3, 5}, {}, -2, 2), make.output("y", {3, 5}), log};
    run_reference(forward);
    const SoftmaxBackwardArgs backward{forward.y, make.input({3, 5}), make.output("gx", {3, 5}), log};
    run_reference(backward);
    check("x", forward, forward.x, forward.y, backward.gy, backward.gx);
  }
}

TEST_F(GradientTest, CrossEntropy) {
  for (Reduction reduction : {Reduction::none, Reduction::mean, Reduction::sum})
    for (double smoothing : {0.0, 0.2})
      for (bool weighted : {false, true}) {
        CrossEntropyArgs forward;
        forward.logits = make.input({4, 5}, {}, -2, 2);
        forward.targets = make.values_of(DType::i64, {4}, {2, -100, 0, 4});
        if (weighted) forward.class_weights = make.input({5}, {}, 0.5, 2);
        forward.loss = make.output("loss", reduction == Reduction::none ? Shape{4} : Shape{});
        forward.row_max = make.output("row_max", {4});
        forward.log_sum = make.output("log_sum", {4});
        forward.scale = make.output("scale", {});
        forward.reduction = reduction;
        forward.label_smoothing = smoothing;
        run_reference(forward);
        CrossEntropyBackwardArgs backward;
        backward.logits = forward.logits;
        backward.targets = forward.targets;
        backward.class_weights = forward.class_weights;
        backward.row_max = forward.row_max;
        backward.log_sum = forward.log_sum;
        backward.scale = forward.scale;
        backward.gy = make.input(forward.loss.shape);
        backward.gx = make.output("gx", {4, 5});
        backward.reduction = reduction;
        backward.label_smoothing = smoothing;
        run_reference(backward);
        check("logits", forward, forward.logits, forward.loss, backward.gy, backward.gx);
      }
}

TEST_F(GradientTest, MaxPool) {
  for (bool relu : {false, true}) {
    const PoolGeometry geometry{3, 2, 1, 2, 1, 1, 1, 2, true};
    const Shape x = {2, 3, 5, 6}, y = {2, 3, 5, 3};
    MaxPoolArgs forward;
    forward.x = make.input(x, Layout::channels_last(), -2, 1);  // random: no ties within a step
    forward.y = make.output("y", y, Layout::channels_last());
    forward.index = make.output_of(max_pool_index_dtype(geometry), "index", y, Layout::channels_last());
    forward.geometry = geometry;
    forward.relu = relu;
    run_reference(forward);
    MaxPoolBackwardArgs backward{make.input(y, Layout::channels_last()),        forward.index, forward.y,
                                 make.output("gx", x, Layout::channels_last()), geometry,      relu};
    run_reference(backward);
    check("x", forward, forward.x, forward.y, backward.gy, backward.gx);
  }
}

TEST_F(GradientTest, AveragePools) {
  const Shape x = {1, 2, 6, 7}, y = {1, 2, 3, 4};
  for (bool include_pad : {false, true}) {
    const PoolGeometry geometry{3, 3, 2, 2, 1, 1, 1, 1, include_pad};
    const AvgPoolArgs forward{make.input(x, Layout::channels_last()), make.output("y", y, Layout::channels_last()),
                              geometry};
    const AvgPoolBackwardArgs backward{make.input(y, Layout::channels_last()),
                                       make.output("gx", x, Layout::channels_last()), geometry};
    run_reference(backward);
    check("x", forward, forward.x, forward.y, backward.gy, backward.gx);
  }
  const AdaptiveAvgPoolArgs forward{make.input(x, Layout::channels_last()),
                                    make.output("y", y, Layout::channels_last())};
  const AdaptiveAvgPoolBackwardArgs backward{make.input(y, Layout::channels_last()),
                                             make.output("gx", x, Layout::channels_last())};
  run_reference(backward);
  check("x", forward, forward.x, forward.y, backward.gy, backward.gx);
}

TEST_F(GradientTest, BatchNorm) {
  for (bool training : {true, false}) {
    BatchNormArgs forward;
    forward.x = make.input({7, 3});
    forward.gamma = make.input({3}, {}, 0.5, 2);
    forward.beta = make.input({3});
    if (!training) {
      forward.running_mean = make.input({3});
      forward.running_var = make.input({3}, {}, 0.5, 2);
    }
    forward.y = make.output("y", {7, 3});
    forward.mean = make.output("mean", {3});
    forward.inv_std = make.output("inv_std", {3});
    forward.training = training;
    run_reference(forward);
    BatchNormBackwardArgs backward;
    backward.x = forward.x;
    backward.gy = make.input({7, 3});
    backward.gamma = forward.gamma;
    backward.mean = forward.mean;
    backward.inv_std = forward.inv_std;
    backward.gx = make.output("gx", {7, 3});
    backward.ggamma = make.output("ggamma", {3});
    backward.gbeta = make.output("gbeta", {3});
    backward.training = training;
    run_reference(backward);
    check("x", forward, forward.x, forward.y, backward.gy, backward.gx);
    check("gamma", forward, forward.gamma, forward.y, backward.gy, backward.ggamma);
    check("beta", forward, forward.beta, forward.y, backward.gy, backward.gbeta);
  }
}

TEST_F(GradientTest, LayerNorm) {
  LayerNormArgs forward;
  forward.x = make.input({4, 6});
  forward.gamma = make.input({6}, {}, 0.5, 2);
  forward.beta = make.input({6});
  forward.y = make.output("y", {4, 6});
  forward.mean = make.output("mean", {4});
  forward.inv_std = make.output("inv_std", {4});
  run_reference(forward);
  LayerNormBackwardArgs backward;
  backward.x = forward.x;
  backward.gy = make.input({4, 6});
  backward.gamma = forward.gamma;
  backward.mean = forward.mean;
  backward.inv_std = forward.inv_std;
  backward.gx = make.output("gx", {4, 6});
  backward.ggamma = make.output("ggamma", {6});
  backward.gbeta = make.output("gbeta", {6});
  run_reference(backward);
  check("x", forward, forward.x, forward.y, backward.gy, backward.gx);
  check("gamma", forward, forward.gamma, forward.y, backward.gy, backward.ggamma);
  check("beta", forward, forward.beta, forward.y, backward.gy, backward.gbeta);
}

TEST_F(GradientTest, Indexing) {
  const TensorRef index = make.values_of(DType::i64, {5}, {2, 0, 2, 2, 1});
  const IndexSelectArgs select{make.input({2, 4, 3}), index, make.output("y", {2, 5, 3}), 1};
  const IndexSelectBackwardArgs select_backward{make.input({2, 5, 3}), index, make.output("gx", {2, 4, 3}), 1};
  run_reference(select_backward);
  check("x", select, select.x, select.y, select_backward.gy, select_backward.gx);

  const TensorRef positions = make.whole(DType::i64, {3, 6}, 0, 3);
  const GatherArgs gather{make.input({3, 4}), positions, make.output("y", {3, 6}), 1};
  const GatherBackwardArgs gather_backward{make.input({3, 6}), positions, make.output("gx", {3, 4}), 1};
  run_reference(gather_backward);
  check("x", gather, gather.x, gather.y, gather_backward.gy, gather_backward.gx);
}

TEST_F(GradientTest, Dropout) {
  const DropoutArgs forward{make.input({5, 7}), make.output("y", {5, 7}), 0.3, {5, 6}};
  const DropoutArgs backward{make.input({5, 7}), make.output("gx", {5, 7}), 0.3, {5, 6}};
  run_reference(backward);
  check("x", forward, forward.x, forward.y, backward.x, backward.y);
}

}  // namespace
}  // namespace graft::test
