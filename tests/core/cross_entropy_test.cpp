// Cross-entropy as a whole, forward and backward: the same numbers wherever the logits stand; and a backward that
// begins at it needs no tensor of ones.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/math.h>
#include <graft/core/ops/nn.h>
#include <graft/core/tensor.h>
#include <graft/kernels/registry/registry.h>

#include "core/helpers.h"

namespace graft {
namespace {

// Adding one number to all logits of a row changes nothing: what is exact at the offset gives the loss and the gradient
// that it gives at zero. log(sum(exp(logits))) as a float would be a multiple of 1 at 1e7, of 8 at 1e8.
TEST(CrossEntropy, KeepsItsDigitsAtAnyOffset) {
  const Tensor targets = Tensor::from<std::int64_t>({1, 0, -100}, {3});
  struct Case {
    double offset, step;
    DType dtype;
  };
  for (const Case& c : {Case{1e7, 1, DType::f32}, Case{-1e7, 1, DType::f32}, Case{1e8, 8, DType::f32},
                        Case{-1e8, 8, DType::f32}, Case{0x1p53, 2, DType::f64}, Case{-0x1p53, 2, DType::f64},
                        Case{0x1p8, 2, DType::bf16}, Case{0x1p11, 2, DType::f16}})
    for (const double smoothing : {0.0, 0.3}) {
      SCOPED_TRACE(testing::Message() << name(c.dtype) << " at " << c.offset << ", smoothing " << smoothing);
      std::vector<double> losses[2], gradients[2];
      for (const bool shifted : {false, true}) {
        std::vector<double> logits = {1, 2, 3, 3, 3, 2, 1, 1, 1};
        for (double& logit : logits) logit = logit * c.step + (shifted ? c.offset : 0);
        const Tensor x = Tensor::from<double>(logits, {3, 3}).to(c.dtype).requires_grad_();
        const Tensor loss = cross_entropy(x, targets, {.label_smoothing = smoothing});
        loss.backward();
        losses[shifted] = loss.to_vector<double>();
        gradients[shifted] = x.grad().to_vector<double>();
      }
      if (c.step == 1 && smoothing == 0) {
        EXPECT_NEAR(losses[1][0], (1.40760596444 + std::log(2 + std::exp(-1.0))) / 2, 1e-6);
      }
      EXPECT_EQ(losses[1], losses[0]) << "the differences are exact, so all that follows is the same";
      EXPECT_EQ(gradients[1], gradients[0]);
    }
}

// --- the gradient that a backward begins with ------------------------------------------------------------------------

struct Loss {
  Tensor x = normal({4, 5}, 7).requires_grad_();
  Tensor loss;
  explicit Loss(Reduction reduction = Reduction::mean) {
    const Tensor targets = Tensor::from<std::int64_t>({1, 0, -100, 4}, {4});
    loss = cross_entropy(x, targets, {.reduction = reduction, .label_smoothing = 0.1});
    kernels::reset_kernel_counts();
  }
  std::vector<double> gradient() const { return values(x.grad()); }
};

std::vector<double> gradient_of_ones(Reduction reduction = Reduction::mean) {
  const Loss l(reduction);
  l.loss.backward(Tensor::ones(l.loss.shape()));
  return l.gradient();
}

std::vector<double> times(std::vector<double> numbers, double factor) {
  for (double& number : numbers) number *= factor;
  return numbers;
}

TEST(CrossEntropySeed, IsNotMadeWhereABackwardBegins) {
  for (const Reduction reduction : {Reduction::mean, Reduction::sum}) {
    const Loss l(reduction);
    l.loss.backward();
    EXPECT_EQ(kernels::kernel_calls("fill"), 0u);
    EXPECT_EQ(kernels::kernel_calls(), 1u) << "the backward itself";
    EXPECT_EQ(l.gradient(), gradient_of_ones(reduction));
  }
}

TEST(CrossEntropySeed, IsNotMadeForTheLossOfOneRow) {
  const Tensor x = normal({1, 5}, 7).requires_grad_(), targets = Tensor::from<std::int64_t>({3}, {1});
  cross_entropy(x, targets, {.reduction = Reduction::none}).backward();
  const std::vector<double> implicit = values(x.grad());
  Tensor(x).set_grad({});
  cross_entropy(x, targets, {.reduction = Reduction::none}).backward(Tensor::ones({1}));
  EXPECT_EQ(implicit, values(x.grad()));
}

TEST(CrossEntropySeed, IsTakenWhereItIsGiven) {
  const Loss l;
  l.loss.backward(Tensor::full({}, 1024));  // as a loss scale
  EXPECT_EQ(l.gradient(), times(gradient_of_ones(), 1024));
}

TEST(CrossEntropySeed, MayChangeFromOneBackwardToTheNext) {
  const Loss l;
  l.loss.backward(Tensor::full({}, 2), true);
  l.loss.backward({}, true);
  l.loss.backward(Tensor::full({}, 4));
  const std::vector<double> once = gradient_of_ones();
  for (std::size_t i = 0; i < once.size(); ++i)
    EXPECT_NEAR(l.gradient()[i], 7 * once[i], 7e-7 * std::abs(once[i])) << i;
}

TEST(CrossEntropySeed, IsSeenByAHookOfTheLoss) {
  const Loss l;
  std::vector<double> seen;
  l.loss.register_hook([&](const Tensor& g) {
    seen = values(g);
    return mul(g, 2);
  });
  l.loss.backward();
  EXPECT_EQ(seen, std::vector<double>{1});
  EXPECT_EQ(l.gradient(), times(gradient_of_ones(), 2));
}

TEST(CrossEntropySeed, IsMadeForAnOpThatComesAfter) {
  const Loss l;
  mul(l.loss, 2).backward();
  EXPECT_EQ(l.gradient(), times(gradient_of_ones(), 2));
}

// No gradient because none came is not the same as ones.
TEST(CrossEntropySeed, IsNotAssumedBelowTheRoot) {
  struct Silent final : Node {
    const char* name() const override { return "silent"; }
    void backward(const Tensor&, GradSlots&) override {}
    void release() override {}
  };
  const Loss l;
  const Tensor quiet = record(Tensor::ones({}), std::make_shared<Silent>(), {l.loss});
  quiet.backward();
  EXPECT_EQ(kernels::kernel_calls("cross_entropy_backward"), 0u);
  EXPECT_FALSE(l.x.grad().defined());
}

}  // namespace
}  // namespace graft
