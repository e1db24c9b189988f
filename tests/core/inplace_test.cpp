// In-place changes: versions, what autograd refuses, and saved tensors that changed before backward.
#include <gtest/gtest.h>

#include <functional>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/math.h>
#include <graft/core/ops/nn.h>
#include <graft/core/ops/view.h>
#include <graft/core/optim/optimizer.h>

#include "core/helpers.h"

namespace graft {
namespace {

TEST(InPlace, EachOpComputesAndBumpsTheVersion) {
  Tensor t = counting({2, 2});
  std::uint64_t version = t.version();
  const auto bumped = [&] { return t.version() == ++version; };
  t.add_(Tensor::ones({2, 2}), 0.5);
  EXPECT_TRUE(bumped());
  EXPECT_EQ(walked(t), std::vector<double>({0.5, 1.5, 2.5, 3.5}));
  t.mul_(2);
  EXPECT_TRUE(bumped());
  EXPECT_EQ(walked(t), std::vector<double>({1, 3, 5, 7}));
  t.copy_(Tensor::from<double>({8, 9}, {2}));
  EXPECT_TRUE(bumped());
  EXPECT_EQ(walked(t), std::vector<double>({8, 9, 8, 9})) << "broadcast and converted";
  t.fill_(-1);
  EXPECT_TRUE(bumped());
  t.zero_();
  EXPECT_TRUE(bumped());
  EXPECT_EQ(walked(t), std::vector<double>(4, 0));
  uniform_(t, 0, 1);
  EXPECT_TRUE(bumped());
  t.bump_version();
  EXPECT_TRUE(bumped());
}

TEST(InPlace, ViewsShareTheVersionAndTheElements) {
  Tensor base = counting({2, 3});
  Tensor column = slice(base, 1, 1, 2);
  column.fill_(9);
  EXPECT_EQ(walked(base), std::vector<double>({0, 9, 2, 3, 9, 5}));
  EXPECT_EQ(base.version(), column.version());
  EXPECT_EQ(base.version(), 1u);
  EXPECT_EQ(base.clone().version(), 0u);
}

TEST(InPlace, ASourceThatSharesMemoryIsReadBeforeItIsWritten) {
  Tensor square = counting({3, 3});
  square.copy_(transpose(square, 0, 1));
  EXPECT_EQ(walked(square), std::vector<double>({0, 3, 6, 1, 4, 7, 2, 5, 8}));
  Tensor line = counting({5});
  slice(line, 0, 1, 5).copy_(slice(line, 0, 0, 4));
  EXPECT_EQ(walked(line), std::vector<double>({0, 0, 1, 2, 3}));
  Tensor sums = counting({3, 3});
  sums.add_(transpose(sums, 0, 1));
  EXPECT_EQ(walked(sums), std::vector<double>({0, 4, 8, 4, 8, 12, 8, 12, 16}));
  Tensor doubled = counting({3});
  doubled.add_(doubled);
  EXPECT_EQ(walked(doubled), std::vector<double>({0, 2, 4}));
}

TEST(InPlace, RefusesWhatDoesNotFit) {
  Tensor t = counting({2, 3});
  expect_contains(error_of([&] { t.copy_(counting({2})); }), {"copy_", "(2,)", "(2, 3)"});
  expect_contains(error_of([&] { t.add_(counting({4, 2, 3})); }), {"add_", "(4, 2, 3)"});
  expect_contains(error_of([&] { t.add_(counting({2, 3}, DType::f64)); }), {"add_", "f64"});
  expect_contains(error_of([&] { expand(counting({1, 3}), {2, 3}).fill_(1); }), {"overlap"});
  EXPECT_EQ(walked(t), walked(counting({2, 3}))) << "a refused change leaves the elements alone";
}

TEST(InPlace, ALeafThatRequiresGradChangesUnderNoGradOnly) {
  Tensor w = counting({2}).requires_grad_();
  w.set_name("fc.weight");
  for (const auto& change :
       std::vector<std::function<void()>>{[&] { w.fill_(1); }, [&] { w.mul_(2); }, [&] { w.add_(Tensor::ones({2})); },
                                          [&] { w.copy_(Tensor::ones({2})); }, [&] { w.zero_(); }})
    expect_contains(error_of(change), {"fc.weight", "requires grad", "NoGrad"});
  EXPECT_EQ(walked(w), std::vector<double>({0, 1}));
  const NoGrad no_grad;
  w.fill_(4);
  EXPECT_EQ(walked(w), std::vector<double>({4, 4}));
  EXPECT_TRUE(w.requires_grad());
}

TEST(InPlace, PartsOfTheGraphAndRecordedSourcesAreRefused) {
  const Tensor w = counting({2}).requires_grad_();
  Tensor y = mul(w, 2);
  expect_contains(error_of([&] { y.fill_(0); }), {"part of the graph"});
  expect_contains(error_of([&] { slice(w, 0, 0, 1).fill_(0); }), {"part of the graph"});
  expect_contains(error_of([&] { normal_(y, 0, 1); }), {"part of the graph"});
  Tensor plain = Tensor::zeros({2});
  expect_contains(error_of([&] { plain.add_(w); }), {"source requires grad", "detach()"});
  expect_contains(error_of([&] { plain.copy_(y); }), {"source requires grad"});
  plain.add_(w.detach());
  EXPECT_EQ(walked(plain), std::vector<double>({0, 1}));
}

// --- saved tensors
// ----------------------------------------------------------------------------------------------------

TEST(SavedTensors, AChangedFactorIsNamedWithItsOp) {
  Tensor factor = counting({2});
  factor.set_name("mask");
  const Tensor y = mul(Tensor::ones({2}).requires_grad_(), factor);
  factor.fill_(3);
  expect_contains(error_of([&] { sum(y).backward(); }), {"'mul'", "'mask'", "version 1", "saved at 0", "clone()"});
}

TEST(SavedTensors, AChangeThroughAViewIsSeen) {
  Tensor factor = counting({2, 2});
  const Tensor y = mul(Tensor::ones({2}).requires_grad_(), slice(factor, 0, 0, 1));
  slice(factor, 0, 1, 2).zero_();
  expect_contains(error_of([&] { sum(y).backward(); }), {"'mul'", "changed in place"});
}

TEST(SavedTensors, AChangedOutputIsSeen) {
  const Tensor x = counting({2}).requires_grad_();
  const Tensor y = exp(x);
  Tensor alias = y.detach();
  alias.mul_(2);
  expect_contains(error_of([&] { sum(y).backward(); }), {"'exp'", "changed in place"});
}

TEST(SavedTensors, WhatIsNotSavedMayChange) {
  Tensor a = counting({2}), x = Tensor::ones({2}).requires_grad_();
  const Tensor y = sum(add(mul(x, 3), a));
  a.fill_(7);
  y.backward();
  EXPECT_EQ(walked(x.grad()), std::vector<double>({3, 3}));
}

TEST(SavedTensors, AnOptimiserStepBetweenForwardAndBackwardIsSeen) {
  Tensor w = counting({2, 3}).requires_grad_(), x = Tensor::ones({1, 3}).requires_grad_();
  w.set_name("fc.weight");
  optim::Sgd optimizer(std::vector<Tensor>{w}, {.lr = 0.1});
  sum(linear(x, w)).backward();
  const Tensor y = sum(linear(x, w));
  optimizer.step();
  expect_contains(error_of([&] { y.backward(); }), {"'linear'", "'fc.weight'", "changed in place"});
}

TEST(SavedTensors, AStepIsFineWhereNobodyNeedsTheOldWeight) {
  // The input is data: its gradient, the only one that needs the weight, is not asked for.
  Tensor w = counting({2, 3}).requires_grad_();
  const Tensor x = Tensor::ones({1, 3});
  const Tensor y = sum(linear(x, w));
  {
    const NoGrad no_grad;
    w.fill_(0);
  }
  y.backward();
  EXPECT_EQ(walked(w.grad()), std::vector<double>(6, 1));
}

TEST(SavedTensors, RunningStatisticsMayMoveBetweenForwardAndBackward) {
  const Tensor x = normal({4, 3}, 1).requires_grad_();
  Tensor mean = Tensor::zeros({3}), var = Tensor::ones({3});
  const Tensor y = batch_norm(x, {}, {}, mean, var);
  batch_norm(normal({4, 3}, 2), {}, {}, mean, var);
  sum(square(y)).backward();
  EXPECT_TRUE(x.grad().defined());
}

TEST(Storage, ContentTagsAreNeverReused) {
  Tensor t = Tensor::zeros({2});
  const std::uint64_t first = t.storage()->content_tag();
  std::as_const(t).data<float>();
  EXPECT_EQ(t.storage()->content_tag(), first) << "reading changes nothing";
  t.data<float>();
  const std::uint64_t second = t.storage()->content_tag();
  EXPECT_NE(second, first) << "a pointer to write through may change everything";
  t.fill_(1);
  EXPECT_NE(t.storage()->content_tag(), second);
  EXPECT_NE(Tensor::zeros({2}).storage()->content_tag(), t.storage()->content_tag());
}

}  // namespace
}  // namespace graft
