// Cross-entropy as a whole, forward and backward: the same numbers wherever the logits stand.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/math.h>
#include <graft/core/ops/nn.h>
#include <graft/core/tensor.h>

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

}  // namespace
}  // namespace graft
