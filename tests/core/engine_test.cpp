// What backward does not do (masks), very long graphs, and threads.
#include <gtest/gtest.h>

#include <pthread.h>

#include <thread>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/math.h>
#include <graft/core/ops/nn.h>
#include <graft/core/ops/view.h>
#include <graft/kernels/registry/registry.h>

#include "core/helpers.h"

namespace graft {
namespace {

using kernels::kernel_calls;

class Work : public testing::Test {
 protected:
  void SetUp() override { kernels::reset_kernel_counts(); }
  static Tensor trainable(const Shape& shape) { return normal(shape, 3).requires_grad_(); }
  static Tensor frozen(const Shape& shape) { return normal(shape, 3); }
};

TEST_F(Work, AFrozenConvolutionComputesNoWeightGradient) {
  const Tensor x = trainable({2, 3, 5, 5});
  sum(conv2d(x, frozen({4, 3, 3, 3}), frozen({4}))).backward();
  EXPECT_EQ(kernel_calls("conv2d_backward_data"), 1u);
  EXPECT_EQ(kernel_calls("conv2d_backward_weight"), 0u);
}

TEST_F(Work, TheFirstConvolutionComputesNoInputGradient) {
  const Tensor w = trainable({4, 3, 3, 3}), b = trainable({4});
  sum(conv2d(frozen({2, 3, 5, 5}), w, b)).backward();
  EXPECT_EQ(kernel_calls("conv2d_backward_data"), 0u);
  EXPECT_EQ(kernel_calls("conv2d_backward_weight"), 1u);
  EXPECT_TRUE(b.grad().defined());
}

TEST_F(Work, ABiasAloneIsASum) {
  const Tensor b = trainable({4});
  sum(conv2d(frozen({2, 3, 5, 5}), frozen({4, 3, 3, 3}), b)).backward();
  EXPECT_EQ(kernel_calls("conv2d_backward_data"), 0u);
  EXPECT_EQ(kernel_calls("conv2d_backward_weight"), 0u);
  EXPECT_EQ(walked(b.grad()), std::vector<double>(4, 18));
}

TEST_F(Work, AConvolutionFrozenAfterTheForwardComputesNoWeightGradient) {
  Tensor w = trainable({4, 3, 3, 3});
  const Tensor y = sum(conv2d(trainable({2, 3, 5, 5}), w));
  w.requires_grad_(false);
  y.backward();
  EXPECT_EQ(kernel_calls("conv2d_backward_weight"), 0u);
}

TEST_F(Work, BackwardStopsAtTheLowestTrainableLayer) {
  const Tensor w3 = trainable({2, 4});
  Tensor h = conv2d(frozen({2, 1, 6, 6}), frozen({4, 1, 3, 3}));
  h = max_pool2d(relu(batch_norm(h, frozen({4}), frozen({4}), {}, {})), {});
  h = conv2d(h, frozen({4, 4, 2, 2})).flatten(1);
  sum(linear(h, w3)).backward();
  for (const char* op :
       {"conv2d_backward_data", "conv2d_backward_weight", "max_pool_backward", "unary_backward", "batch_norm_backward"})
    EXPECT_EQ(kernel_calls(op), 0u) << op;
  EXPECT_EQ(kernel_calls("matmul"), 2u) << "the product itself and the weight's gradient";
}

TEST_F(Work, ALinearLayerComputesOnlyWhatIsWanted) {
  const auto products = [](bool x_grad, bool w_grad, bool b_grad) {
    Tensor x = frozen({2, 3}), w = frozen({4, 3}), b = frozen({4});
    x.requires_grad_(x_grad);
    w.requires_grad_(w_grad);
    b.requires_grad_(b_grad);
    const Tensor y = linear(x, w, b);
    kernels::reset_kernel_counts();
    y.backward(Tensor::ones(y.shape()));
    EXPECT_EQ(x.grad().defined(), x_grad);
    EXPECT_EQ(w.grad().defined(), w_grad);
    EXPECT_EQ(b.grad().defined(), b_grad);
    return kernel_calls("matmul");
  };
  EXPECT_EQ(products(true, true, true), 2u);
  EXPECT_EQ(products(true, false, true), 1u);
  EXPECT_EQ(products(false, true, false), 1u);
  EXPECT_EQ(products(false, false, true), 0u);
}

TEST_F(Work, AProductComputesOnlyWhatIsWanted) {
  const Tensor a = trainable({3}), b = frozen({3});
  sum(mul(a, b)).backward();
  EXPECT_EQ(kernel_calls("binary"), 2u) << "the product and one gradient";
}

TEST_F(Work, UnderNoGradNothingIsKept) {
  const NoGrad no_grad;
  const Tensor y = max_pool2d(trainable({1, 1, 4, 4}), {});
  EXPECT_TRUE(y.is_leaf());
  EXPECT_FALSE(y.requires_grad());
}

TEST_F(Work, NormsComputeTheInputsGradientOnlyWhereWanted) {
  const Tensor gamma = trainable({3});
  Tensor x = frozen({4, 3});
  sum(layer_norm(x, gamma, {})).backward();
  EXPECT_TRUE(gamma.grad().defined());
  EXPECT_FALSE(x.grad().defined());
  const Tensor beta = trainable({3});
  sum(batch_norm(x, {}, beta, {}, {})).backward();
  EXPECT_EQ(walked(beta.grad()), std::vector<double>(3, 4));
}

// --- long graphs
// ------------------------------------------------------------------------------------------------------

constexpr int kLong = 1000000;

/// x + 1 a million times over, or the same forked and joined at every second step.
double gradient_of_a_long_chain(bool forks) {
  const Tensor x = Tensor::zeros({1}).requires_grad_();
  Tensor y = x;
  for (int i = 0; i < kLong; i += forks ? 2 : 1) y = forks ? sub(mul(y, 2), y) : add(y, 1);
  y.backward();
  y = {};
  return x.grad().item();
}

/// Runs f on a thread with a stack of `bytes`.
template <class F>
void on_small_stack(std::size_t bytes, F f) {
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, bytes), 0);
  pthread_t thread;
  const auto body = [](void* context) -> void* {
    (*static_cast<F*>(context))();
    return nullptr;
  };
  ASSERT_EQ(pthread_create(&thread, &attributes, body, &f), 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

TEST(LongGraphs, AMillionOpsRunBackwardAndAreDestroyed) { EXPECT_EQ(gradient_of_a_long_chain(false), 1); }

TEST(LongGraphs, AMillionOpsFitASmallStack) {
  // 256 KiB: a quarter of a byte for each op.
  double chain = 0, forked = 0;
  on_small_stack(256 * 1024, [&] {
    chain = gradient_of_a_long_chain(false);
    forked = gradient_of_a_long_chain(true);
  });
  EXPECT_EQ(chain, 1);
  EXPECT_EQ(forked, 1);
}

TEST(LongGraphs, AreDestroyedWithoutEverRunningBackward) {
  on_small_stack(256 * 1024, [] {
    const Tensor x = Tensor::zeros({1}).requires_grad_();
    Tensor y = x;
    for (int i = 0; i < kLong / 4; ++i) y = exp(mul(y, 0.5));
  });
}

TEST(LongGraphs, AWideJoinIsOneNode) {
  const Tensor x = Tensor::ones({1}).requires_grad_();
  std::vector<Tensor> parts;
  for (int i = 0; i < 1000; ++i) parts.push_back(mul(x, i));
  sum(concat(parts, 0)).backward();
  EXPECT_EQ(x.grad().item(), 999 * 500);
}

// --- threads
// ----------------------------------------------------------------------------------------------------------

TEST(EngineThreads, TrainIndependentGraphsAtOnce) {
  const auto train = [](std::uint64_t seed) {
    Tensor w = normal({3, 4}, seed).requires_grad_();
    const Tensor x = normal({8, 4}, seed + 1), target = normal({8, 3}, seed + 2);
    for (int step = 0; step < 50; ++step) {
      w.set_grad({});
      mean(square(sub(linear(tanh(x), w), target))).backward();
      const NoGrad no_grad;
      w.add_(w.grad(), -0.1);
    }
    return w;
  };
  const Tensor alone1 = train(1), alone2 = train(100);
  Tensor together1, together2;
  std::thread other([&] { together2 = train(100); });
  together1 = train(1);
  other.join();
  EXPECT_TRUE(same_bits(alone1, together1));
  EXPECT_TRUE(same_bits(alone2, together2));
}

TEST(EngineThreads, AGraphMayBeBuiltOnOneThreadAndRunOnAnother) {
  const Tensor x = Tensor::full({2}, 3).requires_grad_();
  Tensor y = sum(square(x));
  std::thread([&] {
    y.backward();
    y = {};
  }).join();
  EXPECT_EQ(walked(x.grad()), std::vector<double>({6, 6}));
}

}  // namespace
}  // namespace graft
