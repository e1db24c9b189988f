// A training loop in its steady state asks the system for no tensor memory and leaks none.
#include <gtest/gtest.h>

#include <functional>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/math.h>
#include <graft/core/ops/nn.h>
#include <graft/core/optim/optimizer.h>
#include <graft/kernels/runtime/host_memory.h>
#include <graft/models/models.h>

#include "core/helpers.h"

namespace graft {
namespace {

/// Runs `step` until the caches are warm, then checks that further ones allocate nothing and keep nothing.
void expect_steady(const std::function<void()>& step) {
  for (int i = 0; i < 3; ++i) step();
  const runtime::HostMemoryStats warm = runtime::host_memory_stats();
  for (int i = 0; i < 10; ++i) {
    step();
    const runtime::HostMemoryStats now = runtime::host_memory_stats();
    EXPECT_EQ(now.system_calls, warm.system_calls) << "step " << i;
    EXPECT_EQ(now.in_use, warm.in_use) << "step " << i;
    EXPECT_EQ(now.cached, warm.cached) << "step " << i;
  }
}

template <class Opt, class Options>
void train_small_net(const Options& options) {
  const auto net = models::strokes_net({.num_classes = 10, .image_size = 8});
  const Tensor images = normal({4, 1, 8, 8}, 1), targets = Tensor::from<std::int64_t>({1, 3, 5, 7}, {4});
  Opt optimizer(net->parameters(), options);
  expect_steady([&] {
    optimizer.zero_grad();
    cross_entropy((*net)(images), targets).backward();
    optimizer.step(optim::clip_factor(net->parameters(), 1));
  });
}

TEST(SteadyState, TrainingWithSgdAllocatesNothing) {
  train_small_net<optim::Sgd>(optim::SgdOptions{.lr = 0.01, .momentum = 0.9});
}

TEST(SteadyState, TrainingWithAdamWAllocatesNothing) { train_small_net<optim::AdamW>(optim::AdamOptions{.lr = 0.001}); }

TEST(SteadyState, AccumulatingGradientsAllocatesNothing) {
  const auto net = models::lenet5({});
  const Tensor images = normal({2, 1, 28, 28}, 1), targets = Tensor::from<std::int64_t>({1, 3}, {2});
  expect_steady([&] { cross_entropy((*net)(images), targets).backward(); });
}

TEST(SteadyState, EvaluationAllocatesNothing) {
  const auto net = models::strokes_net({.num_classes = 10, .image_size = 8});
  net->eval();
  const Tensor images = normal({4, 1, 8, 8}, 1);
  expect_steady([&] {
    const NoGrad no_grad;
    (*net)(images);
  });
}

TEST(SteadyState, AGraphThatNeverRunsBackwardIsFreed) {
  const Tensor x = normal({32, 32}, 1).requires_grad_();
  expect_steady([&] { sum(exp(matmul(x, x))); });
}

TEST(SteadyState, AFailedBackwardKeepsNothing) {
  const Tensor x = normal({32}, 1).requires_grad_();
  expect_steady([&] {
    Tensor factor = normal({32}, 2);
    const Tensor y = sum(exp(mul(x, factor)));
    factor.fill_(0);
    EXPECT_NE(error_of([&] { y.backward(); }), "");
  });
}

TEST(SteadyState, BackwardFreesSavedTensorsWhileTheResultIsStillHeld) {
  const Tensor x = normal({1 << 16}, 1).requires_grad_();
  sum(exp(x)).backward();
  const std::size_t before = runtime::host_memory_stats().in_use;
  const Tensor loss = sum(exp(x));
  const std::size_t held = runtime::host_memory_stats().in_use;
  EXPECT_GE(held, before + (1 << 18)) << "the output of exp is saved";
  loss.backward();
  EXPECT_LT(runtime::host_memory_stats().in_use, before + 4096);
}

}  // namespace
}  // namespace graft
