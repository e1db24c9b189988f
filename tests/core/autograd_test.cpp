// The rules of the tape: accumulation, graphs, hooks, NoGrad, errors.
#include <gtest/gtest.h>

#include <thread>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/math.h>
#include <graft/core/ops/nn.h>
#include <graft/core/ops/view.h>

#include "core/helpers.h"

namespace graft {
namespace {

using Values = std::vector<double>;

Tensor leaf(std::initializer_list<double> elements) {
  return Tensor::from(elements, {static_cast<std::int64_t>(elements.size())}).requires_grad_();
}

TEST(Backward, GivesTheGradientOfAProduct) {
  const Tensor a = leaf({2, 3}), b = leaf({5, 7});
  sum(mul(a, b)).backward();
  EXPECT_EQ(walked(a.grad()), Values({5, 7}));
  EXPECT_EQ(walked(b.grad()), Values({2, 3}));
}

TEST(Backward, AddsToEarlierGradients) {
  const Tensor a = leaf({2, 3});
  for (int i = 1; i <= 3; ++i) {
    sum(mul(a, 2)).backward();
    EXPECT_EQ(walked(a.grad()), Values({2.0 * i, 2.0 * i}));
  }
}

TEST(Backward, SumsOverAllUsesOfATensor) {
  const Tensor a = leaf({2, 3});
  sum(mul(a, a)).backward();
  EXPECT_EQ(walked(a.grad()), Values({4, 6}));
  const Tensor b = leaf({2, 3});
  const Tensor c = mul(b, 3);
  sum(add(add(c, c), mul(c, c))).backward();  // 6 b + 9 b^2
  EXPECT_EQ(walked(b.grad()), Values({6 + 36, 6 + 54}));
}

TEST(Backward, WaitsForBothSidesOfADiamond) {
  const Tensor a = leaf({0.5});
  Tensor y = square(a);
  for (int i = 0; i < 10; ++i) y = add(y, y);  // 2^10 paths, ten nodes
  sum(y).backward();
  EXPECT_EQ(walked(a.grad()), Values({1024}));
}

TEST(Backward, TakesAGradientToStartFrom) {
  const Tensor a = leaf({2, 3});
  const Tensor y = mul(a, 10);
  expect_contains(error_of([&] { y.backward(); }), {"(2,)", "gradient"});
  expect_contains(error_of([&] { y.backward(Tensor::ones({3}, DType::f64)); }), {"(3,)", "(2,)"});
  expect_contains(error_of([&] { y.backward(Tensor::ones({2})); }), {"f32", "f64"});
  Tensor seed = Tensor::from<double>({1, -1}, {2});
  y.backward(seed);
  EXPECT_EQ(walked(a.grad()), Values({10, -10}));
  EXPECT_EQ(walked(seed), Values({1, -1}));
}

TEST(Backward, OnALeafAddsTheGradientItself) {
  const Tensor a = leaf({2, 3});
  Tensor seed = Tensor::from<double>({1, 2}, {2});
  a.backward(seed);
  a.backward(seed);
  EXPECT_EQ(walked(a.grad()), Values({2, 4}));
  EXPECT_EQ(walked(seed), Values({1, 2})) << "the caller's tensor is not the gradient";
}

TEST(Backward, NeedsSomethingThatRequiresGrad) {
  expect_contains(error_of([] { Tensor::ones({1}).backward(); }), {"does not require grad"});
  const Tensor a = leaf({2});
  const NoGrad no_grad;
  expect_contains(error_of([&] { mul(a, 2).backward(); }), {"NoGrad"});
}

TEST(Backward, FreesTheGraphUnlessRetained) {
  const Tensor a = leaf({3});
  const Tensor y = square(a);
  y.backward({}, true);
  y.backward({}, true);
  y.backward();
  EXPECT_EQ(walked(a.grad()), Values({18}));
  expect_contains(error_of([&] { y.backward(); }), {"'square'", "freed", "retain_graph"});
  EXPECT_EQ(walked(a.grad()), Values({18}));
}

TEST(Backward, ASharedPartIsFreedForBothRoots) {
  const Tensor a = leaf({3});
  const Tensor shared = square(a), first = mul(shared, 2), second = mul(shared, 5);
  first.backward();
  expect_contains(error_of([&] { second.backward(); }), {"'square'", "freed"});
}

TEST(Backward, SkipsInputsWithoutGradientAndUndefinedOnes) {
  const Tensor x = Tensor::ones({2, 3}), w = counting({4, 3}).requires_grad_();
  sum(linear(x, w, {})).backward();
  EXPECT_FALSE(x.grad().defined());
  EXPECT_EQ(walked(w.grad()), Values(12, 2));
}

TEST(Backward, SkipsWhatAnOpGivesNoGradientFor) {
  struct Silent final : Node {
    const char* name() const override { return "silent"; }
    void backward(const Tensor&, GradSlots&) override {}
    void release() override {}
  };
  const Tensor a = leaf({2}), b = leaf({3});
  const Tensor below = square(a);
  const Tensor quiet = record(Tensor::ones({1}, DType::f64), std::make_shared<Silent>(), {below});
  sum(add(quiet, b)).backward();
  EXPECT_FALSE(a.grad().defined());
  EXPECT_EQ(walked(b.grad()), Values({1}));
}

TEST(Backward, AWrongGradientFromAnOpIsNamed) {
  struct Wrong final : Node {
    const char* name() const override { return "wrong"; }
    void backward(const Tensor&, GradSlots& gx) override { gx.put(0, Tensor::ones({3}, DType::f64)); }
    void release() override {}
  };
  const Tensor a = leaf({2});
  const Tensor y = record(Tensor::ones({1}, DType::f64), std::make_shared<Wrong>(), {a});
  expect_contains(error_of([&] { y.backward(); }), {"'wrong'", "(3,)", "(1,)"});
}

TEST(Gradients, AreIndependentOfEachOther) {
  const Tensor a = leaf({1, 2}), b = leaf({3, 4});
  sum(add(a, b)).backward();  // both get the very same gy
  sum(mul(a, 5)).backward();
  EXPECT_EQ(walked(a.grad()), Values({6, 6}));
  EXPECT_EQ(walked(b.grad()), Values({1, 1}));
  a.grad().fill_(0);
  EXPECT_EQ(walked(b.grad()), Values({1, 1}));
}

TEST(Gradients, AreIndependentOfTheStartingGradientAndOfHooksTensors) {
  const Tensor a = leaf({1, 2});
  Tensor seed = Tensor::ones({2}, DType::f64);
  add(a, 1).backward(seed);
  sum(a).backward();
  EXPECT_EQ(walked(seed), Values({1, 1}));
  const Tensor b = leaf({1, 2}), kept = Tensor::full({2}, 4, DType::f64);
  b.register_hook([&](const Tensor&) { return kept; });
  sum(b).backward();
  sum(b).backward();
  EXPECT_EQ(walked(b.grad()), Values({8, 8}));
  EXPECT_EQ(walked(kept), Values({4, 4}));
}

TEST(Gradients, LieAsTheirLeavesDo) {
  const Tensor image = normal({2, 3, 4, 4}, 1).contiguous(MemoryFormat::channels_last).detach().requires_grad_();
  const Tensor rows = normal({2, 3, 4, 4}, 2).requires_grad_();
  const Tensor turned = transpose(normal({3, 4}, 3), 0, 1).requires_grad_();
  const Tensor part = slice(normal({4, 6}, 4), 1, 1, 3).requires_grad_();
  sum(mul(image, rows)).backward();
  sum(turned).backward();  // its gradient comes as one repeated element
  sum(part).backward();
  EXPECT_EQ(image.grad().strides(), image.strides());
  EXPECT_EQ(rows.grad().strides(), rows.strides());
  EXPECT_EQ(turned.grad().strides(), turned.strides());
  EXPECT_TRUE(part.grad().is_contiguous()) << "not dense: row-major";
  const Tensor w = normal({5, 3, 3, 3}, 5).requires_grad_();
  sum(conv2d(image, w)).backward();
  EXPECT_EQ(w.grad().strides(), w.strides());
  EXPECT_EQ(image.grad().strides(), image.strides());
}

TEST(Gradients, OfARepeatedElementCanBeAddedTo) {
  // A leaf whose elements share memory: its gradient must not.
  const Tensor repeated = expand(Tensor::ones({1}), {3}).requires_grad_();
  sum(repeated).backward();
  sum(repeated).backward();
  EXPECT_EQ(walked(repeated.grad()), Values({2, 2, 2}));
}

TEST(Gradients, AreCheckedWhenSet) {
  Tensor a = leaf({1, 2});
  expect_contains(error_of([&] { a.set_grad(Tensor::ones({3}, DType::f64)); }), {"(3,)", "(2,)"});
  expect_contains(error_of([&] { a.set_grad(Tensor::ones({2})); }), {"f32", "f64"});
  a.set_grad(Tensor::ones({2}, DType::f64));
  a.set_grad({});
  EXPECT_FALSE(a.grad().defined());
}

TEST(RequiresGrad, IsForFloatingLeavesOnly) {
  expect_contains(error_of([] { Tensor::zeros({1}, DType::i64).requires_grad_(); }), {"floating", "i64"});
  const Tensor a = leaf({1});
  Tensor y = exp(a);
  expect_contains(error_of([&] { y.requires_grad_(false); }), {"'exp'", "detach()"});
  EXPECT_TRUE(y.requires_grad());
  EXPECT_FALSE(y.is_leaf());
  EXPECT_STREQ(y.grad_fn()->name(), "exp");
  EXPECT_FALSE(y.detach().requires_grad());
  EXPECT_TRUE(y.detach().is_leaf());
  EXPECT_EQ(y.detach().storage(), y.storage());
}

TEST(RequiresGrad, ALeafFrozenAfterTheForwardGetsNoGradient) {
  Tensor a = leaf({1, 2});
  const Tensor b = leaf({3, 4});
  const Tensor y = sum(mul(a, b));
  a.requires_grad_(false);
  y.backward();
  EXPECT_FALSE(a.grad().defined());
  EXPECT_EQ(walked(b.grad()), Values({1, 2}));
}

TEST(NoGradScope, StopsRecordingAndNests) {
  const Tensor a = leaf({1});
  EXPECT_TRUE(grad_enabled());
  {
    const NoGrad outer;
    { const NoGrad inner; }
    EXPECT_FALSE(grad_enabled());
    EXPECT_FALSE(exp(a).requires_grad());
    EXPECT_TRUE(a.requires_grad());
  }
  EXPECT_TRUE(exp(a).requires_grad());
  bool elsewhere = false;
  const NoGrad here;
  std::thread([&] { elsewhere = grad_enabled(); }).join();
  EXPECT_TRUE(elsewhere) << "each thread has its own";
}

TEST(NoGradScope, DetachCutsTheGraph) {
  const Tensor a = leaf({3});
  sum(mul(a, square(a).detach())).backward();
  EXPECT_EQ(walked(a.grad()), Values({9}));
}

TEST(NoGradScope, IntegersAndComparisonsAreNotRecorded) {
  const Tensor a = leaf({1, 2});
  EXPECT_FALSE(gt(a, 1.5).requires_grad());
  EXPECT_FALSE(lt(a, a).requires_grad());
  EXPECT_FALSE(argmax(a, 0).requires_grad());
  EXPECT_FALSE(a.to(DType::i64).requires_grad());
  EXPECT_TRUE(a.to(DType::f32).requires_grad());
}

// --- hooks
// ------------------------------------------------------------------------------------------------------------

TEST(Hooks, SeeTheGradientAndMayReplaceIt) {
  const Tensor a = leaf({1, 2});
  Values seen;
  a.register_hook([&](const Tensor& g) {
    seen = walked(g);
    return mul(g, 10);
  });
  sum(mul(a, 3)).backward();
  EXPECT_EQ(seen, Values({3, 3}));
  EXPECT_EQ(walked(a.grad()), Values({30, 30}));
}

TEST(Hooks, OfALeafSeeTheWholeGradientOnce) {
  const Tensor a = leaf({1, 2});
  std::vector<Values> seen;
  a.register_hook([&](const Tensor& g) {
    seen.push_back(walked(g));
    return Tensor();
  });
  sum(add(mul(a, 3), mul(a, a))).backward();
  EXPECT_EQ(seen, std::vector<Values>({{5, 7}}));
  EXPECT_EQ(walked(a.grad()), Values({5, 7}));
}

TEST(Hooks, OfAnInnerTensorSeeTheSumOfItsUses) {
  const Tensor a = leaf({1, 2});
  const Tensor h = mul(a, 2);
  Values seen;
  h.register_hook([&](const Tensor& g) {
    seen = walked(g);
    return mul(g, -1);
  });
  sum(add(mul(h, 3), mul(h, 4))).backward();
  EXPECT_EQ(seen, Values({7, 7}));
  EXPECT_EQ(walked(a.grad()), Values({-14, -14}));
}

TEST(Hooks, RunInOrderAndCanBeRemoved) {
  const Tensor a = leaf({1});
  const int first = a.register_hook([](const Tensor& g) { return add(g, 1); });
  a.register_hook([](const Tensor& g) { return mul(g, 10); });
  sum(a).backward();
  EXPECT_EQ(walked(a.grad()), Values({20}));
  a.remove_hook(first);
  Tensor(a).set_grad({});
  sum(a).backward();
  EXPECT_EQ(walked(a.grad()), Values({10}));
  expect_contains(error_of([&] { a.remove_hook(first); }), {"remove_hook"});
}

TEST(Hooks, MayRemoveThemselvesAndIdsAreNotReused) {
  const Tensor a = leaf({1});
  int calls = 0, id = -1;
  id = a.register_hook([&](const Tensor&) {
    ++calls;
    a.remove_hook(id);
    return Tensor();
  });
  sum(a).backward();
  sum(a).backward();
  EXPECT_EQ(calls, 1);
  EXPECT_NE(a.register_hook([](const Tensor&) { return Tensor(); }), id);
}

TEST(Hooks, AreRefusedWhereTheyAreWrong) {
  expect_contains(error_of([] { Tensor::ones({1}).register_hook([](const Tensor& g) { return g; }); }),
                  {"does not require grad"});
  const Tensor a = leaf({1});
  a.register_hook([](const Tensor&) { return Tensor::ones({2}, DType::f64); });
  expect_contains(error_of([&] { sum(a).backward(); }), {"hook", "(1,)", "(2,)"});
}

TEST(Hooks, AreNotRecorded) {
  const Tensor a = leaf({1});
  bool recorded = true;
  a.register_hook([&](const Tensor& g) {
    recorded = grad_enabled();
    return g;
  });
  sum(a).backward();
  EXPECT_FALSE(recorded);
  EXPECT_TRUE(grad_enabled());
}

TEST(Hooks, AnErrorInOneLeavesRecordingOn) {
  const Tensor a = leaf({1});
  a.register_hook([](const Tensor&) -> Tensor { fail("stop here"); });
  expect_contains(error_of([&] { sum(a).backward(); }), {"stop here"});
  EXPECT_TRUE(grad_enabled());
}

TEST(Aliases, AResultOfNothingReducedIsItsOwnTensor) {
  Tensor w = Tensor::full({1}, 2, DType::f64).requires_grad_();
  const Tensor loss = sum(w), average = mean(w, {0}, true);
  const NoGrad no_grad;
  w.fill_(9);
  EXPECT_EQ(loss.item(), 2);
  EXPECT_EQ(average.item(), 2);
}

}  // namespace
}  // namespace graft
