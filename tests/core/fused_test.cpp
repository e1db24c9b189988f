// Fused chains against the same steps one by one, the kernels that they run, and what they refuse.
#include <gtest/gtest.h>

#include <functional>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/fused.h>
#include <graft/core/ops/nn.h>
#include <graft/core/ops/view.h>
#include <graft/kernels/registry/registry.h>

#include "core/helpers.h"

namespace graft {
namespace {

using kernels::kernel_calls;
using Tensors = std::vector<Tensor>;

struct Pair {
  const char* name;
  Tensors inputs;
  std::function<Tensor(const Tensors&)> fused, separate;
};

/// On [0.5, 2): divisors, and arguments of log and sqrt.
Tensor positive(const Shape& shape, std::uint64_t seed, MemoryFormat format = MemoryFormat::contiguous) {
  Generator generator(seed);
  Tensor t = Tensor::empty(shape);
  uniform_(t, 0.5, 2, generator);
  return t.contiguous(format);
}

std::vector<Pair> pairs() {
  constexpr auto last = MemoryFormat::channels_last;
  const Shape images = {3, 5, 7, 6}, rows = {9, 1061};
  std::vector<Pair> all;
  all.push_back({"scale_shift_relu",
                 {normal(images, 1).contiguous(last), normal({5, 1, 1}, 2), normal({5, 1, 1}, 3)},
                 [](const Tensors& t) { return fused(t[0]).mul(t[1]).add(t[2]).relu().run(); },
                 [](const Tensors& t) { return relu(t[0] * t[1] + t[2]); }});
  all.push_back({"residual_relu",
                 {normal(images, 1).contiguous(last), normal(images, 2).contiguous(last)},
                 [](const Tensors& t) { return fused(t[0]).add(t[1]).relu().run(); },
                 [](const Tensors& t) { return relu(t[0] + t[1]); }});
  all.push_back({"bias_gelu_residual",
                 {normal(rows, 1), normal({1061}, 2), normal(rows, 3)},
                 [](const Tensors& t) { return fused(t[0]).add(t[1]).gelu().add(t[2]).run(); },
                 [](const Tensors& t) { return gelu(t[0] + t[1]) + t[2]; }});
  all.push_back({"two_biases_and_a_difference",
                 {normal(rows, 1), normal({1061}, 2), normal({9, 1}, 3), normal({}, 4)},
                 [](const Tensors& t) { return fused(t[0]).add(t[1]).rsub(t[2]).add(t[3]).tanh().run(); },
                 [](const Tensors& t) { return graft::tanh((t[2] - (t[0] + t[1])) + t[3]); }});
  all.push_back({"quotients",
                 {positive(rows, 1), positive(rows, 2), positive({1061}, 3)},
                 [](const Tensors& t) { return fused(t[0]).div(t[1]).rdiv(t[2]).rdiv(1.5).div(0.7).run(); },
                 [](const Tensors& t) { return (1.5 / (t[2] / (t[0] / t[1]))) / 0.7; }});
  all.push_back(
      {"eight_steps",
       {positive(images, 1, last), positive(images, 2), positive({5, 1, 1}, 3)},
       [](const Tensors& t) {
         return fused(t[0]).sqrt().mul(t[1]).log().silu().sub(t[2]).rsub(2).square().sigmoid().run();
       },
       [](const Tensors& t) { return sigmoid(square(2 - (silu(graft::log(graft::sqrt(t[0]) * t[1])) - t[2]))); }});
  all.push_back({"maps",
                 {normal(rows, 1)},
                 [](const Tensors& t) { return fused(t[0]).exp().neg().gelu(GeluKind::tanh).abs().relu6().run(); },
                 [](const Tensors& t) { return relu6(graft::abs(gelu(-graft::exp(t[0]), GeluKind::tanh))); }});
  all.push_back({"of_a_turned_view",
                 {normal({33, 17}, 1)},
                 [](const Tensors& t) { return fused(transpose(t[0], 0, 1)).reciprocal().run(); },
                 [](const Tensors& t) { return reciprocal(transpose(t[0], 0, 1)); }});
  all.push_back({"of_a_part",
                 {normal({8, 40}, 1), normal({33}, 2)},
                 [](const Tensors& t) { return fused(slice(t[0], 1, 3, 36)).mul(t[1]).sub(1).run(); },
                 [](const Tensors& t) { return slice(t[0], 1, 3, 36) * t[1] - 1; }});
  return all;
}

/// The result and the gradients of all inputs that require one, for a gradient that is no constant.
Tensors with_gradients(const std::function<Tensor(const Tensors&)>& f, const Tensors& inputs, DType dtype) {
  Tensors leaves;
  for (const Tensor& t : inputs) leaves.push_back(t.to(dtype).detach().clone().requires_grad_(t.requires_grad()));
  const Tensor y = f(leaves);
  if (!y.requires_grad()) return {y};
  y.backward(normal(y.shape(), 99).to(dtype));
  Tensors all = {y};
  for (const Tensor& t : leaves) all.push_back(t.grad());
  return all;
}

// The vector maps and, in double, the loops are those of the separate ops: not one bit differs. The reference has none for float:
// it rounds once (the next test), the separate ops at every step.
TEST(FusedChain, HasTheBitsOfTheSeparateOps) {
  std::vector<DType> dtypes = {DType::f64};
  if (kernels::find_backend(kernels::BackendId::cpu)) dtypes.push_back(DType::f32);
  for (const DType dtype : dtypes)
    for (Pair& pair : pairs())
      // Every set of inputs that require a gradient.
      for (unsigned set = 0; set < 1u << pair.inputs.size(); ++set) {
        SCOPED_TRACE(cat(pair.name, " ", name(dtype), ", inputs ", set));
        for (std::size_t i = 0; i < pair.inputs.size(); ++i) pair.inputs[i].requires_grad_((set >> i & 1u) != 0);
        const Tensors got = with_gradients(pair.fused, pair.inputs, dtype);
        const Tensors want = with_gradients(pair.separate, pair.inputs, dtype);
        ASSERT_EQ(got.size(), want.size());
        for (std::size_t i = 0; i < got.size(); ++i) {
          ASSERT_EQ(got[i].defined(), want[i].defined()) << "of input " << i;
          if (!got[i].defined()) continue;
          EXPECT_TRUE(same_bits(got[i], want[i])) << (i == 0 ? "y" : "gradient") << " " << i;
        }
      }
}

TEST(FusedChain, OnTheReferenceBackendIsTheSeparateOpsInDoubleRoundedOnce) {
  const kernels::BackendScope only(kernels::BackendId::reference);
  for (const Pair& pair : pairs()) {
    SCOPED_TRACE(pair.name);
    Tensors doubles;
    for (const Tensor& t : pair.inputs) doubles.push_back(t.to(DType::f64));
    EXPECT_TRUE(same_bits(pair.fused(pair.inputs), pair.separate(doubles).to(DType::f32)));
  }
}

// The 16-bit dtypes are rounded once: the result in float, to their nearest, half of 2^-7 or 2^-10 away.
TEST(FusedChain, RoundsTheStorageTypesOnce) {
  for (const auto& [dtype, rounding] : {std::pair{DType::bf16, 0x1p-8}, {DType::f16, 0x1p-11}}) {
    const Tensor x = positive({67}, 1).to(dtype), t = positive({67}, 2).to(dtype);
    const auto f = [](const Tensor& a, const Tensor& b) { return fused(a).add(100).mul(b).div(b).sub(100).run(); };
    const Tensor y = f(x, t);
    EXPECT_EQ(y.dtype(), dtype);
    const std::vector<double> got = walked(y), want = walked(f(x.to(DType::f64), t.to(DType::f64)));
    // Float itself errs by 2^-24 of 100 to 200 in each of four steps.
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], rounding * want[i] + 4e-5) << i;
  }
}

TEST(FusedChain, RunsOneKernelInEachDirection) {
  const Tensor x = normal({4, 6}, 1).requires_grad_(), bias = normal({6}, 2).requires_grad_(), frozen = normal({6}, 3);
  kernels::reset_kernel_counts();
  const Tensor y = fused(x).mul(frozen).add(bias).relu().run();
  EXPECT_EQ(kernel_calls(), 1u);
  EXPECT_EQ(kernel_calls("chain"), 1u);
  const Tensor gy = normal({4, 6}, 4);
  kernels::reset_kernel_counts();
  y.backward(gy);
  EXPECT_EQ(kernel_calls("chain_backward"), 1u);
  EXPECT_EQ(kernel_calls("reduce"), 1u) << "the bias's gradient; nobody wants that of the frozen factor";
  EXPECT_FALSE(frozen.grad().defined());
}

// The gradient behind the relu is that of both terms: it is written once.
TEST(FusedChain, SharesAGradientThatIsTheSame) {
  const Tensor a = normal({4, 6}, 1).requires_grad_(), b = normal({4, 6}, 2).requires_grad_();
  const Tensor left = a * 2, right = b * 4;
  Tensor to_left, to_right;
  left.register_hook([&](const Tensor& g) { return to_left = g; });
  right.register_hook([&](const Tensor& g) { return to_right = g; });
  fused(left).add(right).relu().run().backward(normal({4, 6}, 3));
  EXPECT_EQ(to_left.storage(), to_right.storage());
  EXPECT_TRUE(same_bits(a.grad() / 2, b.grad() / 4));
}

// Leaves whose gradient is the same get one each all the same.
TEST(FusedChain, GivesEveryLeafAGradientOfItsOwn) {
  const Tensor a = normal({4, 6}, 1).requires_grad_(), b = normal({4, 6}, 2).requires_grad_();
  fused(a).add(b).relu().run().backward(normal({4, 6}, 3));
  EXPECT_TRUE(same_bits(a.grad(), b.grad()));
  a.grad().zero_();
  EXPECT_NE(walked(b.grad()), walked(a.grad()));
}

TEST(FusedChain, RecordsNothingWithoutNeed) {
  const Tensor x = normal({3}, 1), w = normal({3}, 2).requires_grad_();
  EXPECT_FALSE(fused(x).relu().run().requires_grad());
  EXPECT_TRUE(fused(x).mul(w).run().requires_grad());
  const NoGrad no_grad;
  EXPECT_FALSE(fused(x).mul(w).run().requires_grad());
}

TEST(FusedChain, MayBeBuiltInParts) {
  const Tensor x = normal({5}, 1), bias = normal({5}, 2);
  Fused chain = fused(x);
  chain.mul(2);
  const Tensor product = chain.run();
  chain.add(bias).relu();
  EXPECT_TRUE(same_bits(product, x * 2));
  EXPECT_TRUE(same_bits(chain.run(), relu(x * 2 + bias)));
  EXPECT_TRUE(same_bits(chain.run(), chain.run()));
}

TEST(FusedChain, KeepsTheOrderOfMemory) {
  const Tensor x = normal({2, 3, 4, 5}, 1).contiguous(MemoryFormat::channels_last).requires_grad_();
  const Tensor y = fused(x).mul(normal({2, 3, 4, 5}, 2)).relu().run();
  EXPECT_TRUE(y.is_channels_last());
  y.backward(normal({2, 3, 4, 5}, 3));
  EXPECT_TRUE(x.grad().is_channels_last());
}

TEST(FusedChain, OfNothing) {
  const Tensor x = normal({0, 4}, 1).requires_grad_(), bias = normal({4}, 2).requires_grad_();
  const Tensor y = fused(x).add(bias).tanh().run();
  EXPECT_EQ(y.shape(), Shape({0, 4}));
  sum(y).backward();
  EXPECT_EQ(x.grad().shape(), Shape({0, 4}));
  EXPECT_EQ(walked(bias.grad()), std::vector<double>(4, 0));
}

TEST(FusedChain, SeesWhatWasChangedInPlace) {
  const Tensor x = normal({3}, 1).requires_grad_();
  Tensor factor = normal({3}, 2);
  factor.set_name("mask");
  const Tensor y = sum(fused(x).mul(factor).relu().run());
  factor.fill_(2);
  expect_contains(error_of([&] { y.backward(); }), {"'fused'", "'mask'", "changed in place"});
}

// Sums read nothing, and the relu its result.
TEST(FusedChain, WhatIsNotReadMayChange) {
  Tensor a = normal({3}, 1), b = normal({3}, 2), x = normal({3}, 3).requires_grad_();
  const Tensor y = fused(a).add(x).add(b).relu().run();
  a.fill_(7);
  b.fill_(7);
  y.backward(Tensor::ones({3}));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(walked(x.grad())[static_cast<std::size_t>(i)], at(y, {i}) > 0 ? 1 : 0);
}

TEST(FusedChain, ReleasesWhatItKept) {
  const Tensor x = normal({3}, 1).requires_grad_();
  const Tensor y = fused(x).square().run();
  y.backward(Tensor::ones({3}));
  expect_contains(error_of([&] { y.backward(Tensor::ones({3})); }), {"'fused'", "already freed"});
}

TEST(FusedChain, SaysWhatItExpected) {
  const Tensor x = normal({2, 3}, 1);
  expect_contains(error_of([] { Fused none(Tensor{}); }), {"fused", "x is undefined"});
  expect_contains(error_of([] { Fused whole(counting({2}, DType::i64)); }), {"fused", "floating", "i64"});
  expect_contains(error_of([&] { fused(x).run(); }), {"fused", "no step", "before run()"});
  expect_contains(error_of([&] { fused(x).relu().mul(Tensor()); }), {"step 2, mul", "undefined"});
  expect_contains(error_of([&] { fused(x).add(normal({2}, 1)); }),
                  {"step 1, add", "(2,)", "broadcasts to x's", "(2, 3)"});
  expect_contains(error_of([&] { fused(x).add(normal({1, 2, 3}, 1)); }), {"(1, 2, 3)", "broadcasts to x's"});
  expect_contains(error_of([&] { fused(x).div(normal({3}, 1, DType::f64)); }),
                  {"step 1, div", "f64", "x's dtype", "f32", "to(dtype)"});
  expect_contains(error_of([&] { fused(x).relu().relu().relu().relu().relu().relu().relu().relu().tanh(); }),
                  {"tanh would be step 9", "at most 8", "run()"});
  expect_contains(error_of([&] { fused(x).add(x).add(x).add(x).add(x).relu().sub(x); }),
                  {"step 6, sub", "tensor number 5", "at most 4", "run()"});
  // A step that is refused leaves the others as they were.
  Fused chain = fused(x);
  chain.mul(3);
  error_of([&] { chain.add(normal({2}, 1)); });
  EXPECT_TRUE(same_bits(chain.run(), x * 3));
}

}  // namespace
}  // namespace graft
