#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/view.h>
#include <graft/core/optim/optimizer.h>
#include <graft/core/random.h>
#include <graft/kernels/registry/registry.h>

#include "core/optim_goldens.h"
#include "support/errors.h"

namespace graft::optim {
namespace {

using test::error_of;
using test::expect_contains;

const std::vector<double> kParams = {1.0, -0.5, 0.25, 2.0};
constexpr int kSteps = 5;

/// The formula of scripts/goldens/optim.py.
std::vector<double> gradient(int step) {
  std::vector<double> g(kParams.size());
  for (std::size_t i = 0; i < g.size(); ++i)
    g[i] = std::sin(1 + step + 0.7 * static_cast<double>(i)) * (1 + static_cast<double>(i));
  return g;
}

Tensor param(DType dtype = DType::f64) { return Tensor::from(kParams, {4}).to(dtype).requires_grad_(); }

void set_gradient(Tensor& p, const std::vector<double>& g) { p.set_grad(Tensor::from(g, p.shape()).to(p.dtype())); }

template <class Opt, class Options>
Tensor trajectory(DType dtype, const Options& options) {
  Tensor p = param(dtype);
  Opt optimizer(std::vector<Tensor>{p}, options);
  for (int step = 0; step < kSteps; ++step) {
    set_gradient(p, gradient(step));
    optimizer.step();
  }
  return p;
}

void expect_near(const Tensor& actual, const std::vector<double>& expected, double tolerance) {
  const std::vector<double> values = actual.to_vector<double>();
  ASSERT_EQ(values.size(), expected.size());
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], expected[i], tolerance) << "element " << i;
}

std::string bytes_of(const Tensor& t) {
  return {static_cast<const char*>(t.ref().data), static_cast<std::size_t>(t.numel()) * size_of(t.dtype())};
}

/// Double against PyTorch's double: a few dozen operations whose order may differ, values of size 1.
constexpr double kDouble = 1e-12;
/// Float parameters and state over five steps of size up to 1: some ten roundings of 6e-8 each.
constexpr double kFloat = 3e-6;

// --- against PyTorch
// --------------------------------------------------------------------------------------------------

TEST(Sgd, MatchesPyTorchInDoubleAndFloat) {
  const std::vector<std::pair<SgdOptions, const std::vector<double>*>> cases = {
      {{.lr = 0.1}, &goldens::sgd_plain},
      {{.lr = 0.1, .weight_decay = 0.05}, &goldens::sgd_decay},
      {{.lr = 0.1, .momentum = 0.9, .weight_decay = 0.05}, &goldens::sgd_momentum},
      {{.lr = 0.1, .momentum = 0.9, .dampening = 0.3}, &goldens::sgd_dampening},
      {{.lr = 0.1, .momentum = 0.9, .weight_decay = 0.05, .nesterov = true}, &goldens::sgd_nesterov}};
  for (std::size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE(cat("case ", i));
    expect_near(trajectory<Sgd>(DType::f64, cases[i].first), *cases[i].second, kDouble);
    expect_near(trajectory<Sgd>(DType::f32, cases[i].first), *cases[i].second, kFloat);
  }
}

TEST(Adam, MatchesPyTorchInDoubleAndFloat) {
  const AdamOptions plain{.lr = 0.05};
  const AdamOptions decay{.lr = 0.05, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-6, .weight_decay = 0.1};
  expect_near(trajectory<Adam>(DType::f64, plain), goldens::adam_plain, kDouble);
  expect_near(trajectory<Adam>(DType::f64, decay), goldens::adam_decay, kDouble);
  expect_near(trajectory<Adam>(DType::f32, plain), goldens::adam_plain, kFloat);
  expect_near(trajectory<Adam>(DType::f32, decay), goldens::adam_decay, kFloat);
}

TEST(AdamW, MatchesPyTorchInDoubleAndFloat) {
  const AdamOptions plain{.lr = 0.05, .weight_decay = 0.1};
  const AdamOptions betas{.lr = 0.05, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-6, .weight_decay = 0.1};
  expect_near(trajectory<AdamW>(DType::f64, plain), goldens::adamw_plain, kDouble);
  expect_near(trajectory<AdamW>(DType::f64, betas), goldens::adamw_betas, kDouble);
  expect_near(trajectory<AdamW>(DType::f32, plain), goldens::adamw_plain, kFloat);
  expect_near(trajectory<AdamW>(DType::f32, betas), goldens::adamw_betas, kFloat);
}

TEST(Clip, MatchesPyTorch) {
  Tensor p = param(), q = param();
  Sgd optimizer({p, q}, {.lr = 0.1});
  for (int step = 0; step < kSteps; ++step) {
    std::vector<double> g = gradient(step);
    set_gradient(p, g);
    for (double& value : g) value *= 2;
    set_gradient(q, g);
    optimizer.step(clip_factor({p, q}, 1.5));
  }
  expect_near(p, goldens::sgd_clipped, kDouble);
}

// --- against the papers' formulas, written out ----------------------------------------------------------------------

TEST(Sgd, FollowsItsFormulaOverFiftySteps) {
  const SgdOptions o{.lr = 0.03, .momentum = 0.7, .dampening = 0.2, .weight_decay = 0.01};
  Tensor p = param();
  Sgd optimizer({p}, o);
  std::vector<double> x = kParams, buffer(4);
  for (int step = 0; step < 50; ++step) {
    const std::vector<double> g0 = gradient(step);
    set_gradient(p, g0);
    optimizer.step(0.5);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double g = 0.5 * g0[i] + o.weight_decay * x[i];
      buffer[i] = step == 0 ? g : o.momentum * buffer[i] + (1 - o.dampening) * g;
      x[i] -= o.lr * buffer[i];
    }
  }
  expect_near(p, x, kDouble);
}

TEST(Adam, FollowsItsFormulaWithScaleAndMultiplier) {
  for (const bool decoupled : {false, true}) {
    SCOPED_TRACE(decoupled ? "AdamW" : "Adam");
    const AdamOptions o{.lr = 0.02, .weight_decay = 0.03};
    const double scale = 0.25, multiplier = 0.4;
    Tensor p = param();
    std::unique_ptr<Optimizer> optimizer;
    if (decoupled)
      optimizer = std::make_unique<AdamW>(std::vector<Tensor>{p}, o);
    else
      optimizer = std::make_unique<Adam>(std::vector<Tensor>{p}, o);
    optimizer->limit(p, {.multiplier = multiplier, .mask = {}});
    std::vector<double> x = kParams, m(4), v(4);
    for (int step = 0; step < 50; ++step) {
      const std::vector<double> g0 = gradient(step);
      set_gradient(p, g0);
      optimizer->step(scale);
      const double c1 = 1 - std::pow(o.beta1, step + 1), c2 = 1 - std::pow(o.beta2, step + 1);
      for (std::size_t i = 0; i < x.size(); ++i) {
        double g = scale * g0[i];
        double change = 0;
        if (decoupled)
          change = o.weight_decay * x[i];
        else
          g += o.weight_decay * x[i];
        m[i] = o.beta1 * m[i] + (1 - o.beta1) * g;
        v[i] = o.beta2 * v[i] + (1 - o.beta2) * g * g;
        change += (m[i] / c1) / (std::sqrt(v[i] / c2) + o.eps);
        x[i] -= multiplier * o.lr * change;
      }
    }
    expect_near(p, x, kDouble);
  }
}

// --- what is left alone
// -----------------------------------------------------------------------------------------------

TEST(Optimizer, SkipsAParameterWithoutGradientEntirely) {
  Tensor used = param(DType::f32), unused = param(DType::f32);
  const std::string before = bytes_of(unused);
  const std::uint64_t version = unused.version();
  Sgd sgd({used, unused}, {.lr = 0.1, .momentum = 0.9, .weight_decay = 0.1});
  AdamW adamw({used, unused}, {.lr = 0.1, .weight_decay = 0.1});
  for (int step = 0; step < 3; ++step) {
    set_gradient(used, gradient(step));
    sgd.step();
    adamw.step();
  }
  EXPECT_EQ(bytes_of(unused), before);
  EXPECT_EQ(unused.version(), version);
  EXPECT_FALSE(sgd.has_state(unused));
  EXPECT_FALSE(adamw.has_state(unused));
  EXPECT_TRUE(sgd.has_state(used));
  EXPECT_EQ(sgd.state_bytes(), 4 * sizeof(float));
  EXPECT_EQ(adamw.state_bytes(), 8 * sizeof(float));
}

TEST(Optimizer, SkipsAFrozenParameterThatStillHasAGradient) {
  Tensor p = param();
  AdamW optimizer({p}, {.lr = 0.1, .weight_decay = 0.1});
  set_gradient(p, gradient(0));
  p.requires_grad_(false);
  optimizer.step();
  expect_near(p, kParams, 0);
  EXPECT_FALSE(optimizer.has_state(p));
  EXPECT_EQ(grad_norm({p}), 0);
}

TEST(Optimizer, MultiplierZeroLeavesBytesAndMakesNoState) {
  Tensor p = param(DType::f32);
  Sgd optimizer({p}, {.lr = 0.1, .momentum = 0.9, .weight_decay = 0.1});
  optimizer.limit(p, {.multiplier = 0, .mask = {}});
  const std::string before = bytes_of(p);
  set_gradient(p, gradient(0));
  optimizer.step();
  EXPECT_EQ(bytes_of(p), before);
  EXPECT_FALSE(optimizer.has_state(p));
  EXPECT_EQ(optimizer.state_bytes(), 0U);
}

TEST(Optimizer, MultiplierScalesTheWholeStepEvenUnderAdam) {
  Tensor full = param(), half = param();
  AdamW optimizer({full, half}, {.lr = 0.1, .weight_decay = 0.2});
  optimizer.limit(half, {.multiplier = 0.5, .mask = {}});
  set_gradient(full, gradient(0));
  set_gradient(half, gradient(0));
  optimizer.step();
  const auto f = full.to_vector<double>(), h = half.to_vector<double>();
  for (std::size_t i = 0; i < f.size(); ++i) EXPECT_NEAR(h[i] - kParams[i], 0.5 * (f[i] - kParams[i]), kDouble);
}

TEST(Optimizer, MaskedElementsKeepTheirBytesOthersMoveAsWithoutAMask) {
  for (const bool adam : {false, true}) {
    SCOPED_TRACE(adam ? "AdamW" : "Sgd");
    Tensor masked = param(DType::f32), free = param(DType::f32);
    std::unique_ptr<Optimizer> optimizer;
    if (adam)
      optimizer =
          std::make_unique<AdamW>(std::vector<Tensor>{masked, free}, AdamOptions{.lr = 0.1, .weight_decay = 0.1});
    else
      optimizer = std::make_unique<Sgd>(std::vector<Tensor>{masked, free},
                                        SgdOptions{.lr = 0.1, .momentum = 0.9, .weight_decay = 0.1});
    Tensor mask = Tensor::from<bool>({true, false, true, false}, {4});
    optimizer->limit(masked, {.multiplier = 1, .mask = mask});
    mask.fill_(1);  // the optimiser has its own copy
    for (int step = 0; step < kSteps; ++step) {
      set_gradient(masked, gradient(step));
      set_gradient(free, gradient(step));
      optimizer->step();
    }
    const auto m = masked.to_vector<float>(), f = free.to_vector<float>();
    EXPECT_EQ(m[0], f[0]);
    EXPECT_EQ(m[1], static_cast<float>(kParams[1]));
    EXPECT_EQ(m[2], f[2]);
    EXPECT_EQ(m[3], static_cast<float>(kParams[3]));
    EXPECT_NE(f[1], m[1]);
  }
}

TEST(Optimizer, GradientsAndMasksInAnotherLayoutThanTheParameterFit) {
  const Shape shape{2, 3, 2, 2};
  Generator generator(5);
  const Tensor values = rand(shape, generator), grad = rand(shape, generator);
  Tensor rows = values.clone().requires_grad_();
  Tensor last = Tensor::empty(shape, DType::f32, Device::cpu(), MemoryFormat::channels_last);
  last.copy_(values);
  last.requires_grad_();
  ASSERT_NE(rows.strides(), last.strides());
  std::vector<std::uint8_t> keep(24);
  for (std::size_t i = 0; i < keep.size(); ++i) keep[i] = i % 3 != 0;
  const Tensor mask = Tensor::from(keep, shape);

  Adam optimizer({rows, last}, {.lr = 0.1});
  optimizer.limit(rows, {.multiplier = 1, .mask = mask});
  optimizer.limit(last, {.multiplier = 1, .mask = mask});
  for (int step = 0; step < 3; ++step) {
    rows.set_grad(grad);
    last.set_grad(grad);  // row-major beside a channels-last parameter
    optimizer.step();
  }
  EXPECT_EQ(rows.to_vector<float>(), last.to_vector<float>());
  EXPECT_NE(rows.to_vector<float>(), values.to_vector<float>());
  EXPECT_EQ(rows.to_vector<float>()[3], values.to_vector<float>()[3]);
}

// --- the rest of the contract
// -----------------------------------------------------------------------------------------

TEST(Optimizer, OneKernelCallAStepForAllParameters) {
  std::vector<Tensor> params;
  for (int i = 0; i < 6; ++i) params.push_back(param(DType::f32));
  Sgd sgd(params, {.lr = 0.1});
  for (Tensor& p : params) set_gradient(p, gradient(0));
  const std::uint64_t before = kernels::kernel_calls("sgd");
  sgd.step();
  EXPECT_EQ(kernels::kernel_calls("sgd"), before + 1);
}

TEST(Optimizer, WithoutAnyGradientNothingRuns) {
  Sgd sgd({param()}, {});
  const std::uint64_t before = kernels::kernel_calls();
  sgd.step();
  EXPECT_EQ(kernels::kernel_calls(), before);
}

TEST(Optimizer, AStepBumpsVersionsSoThatAStaleGraphIsFound) {
  Tensor p = param();
  const std::uint64_t before = p.version();
  Sgd sgd({p}, {.lr = 0.1});
  set_gradient(p, gradient(0));
  sgd.step();
  EXPECT_GT(p.version(), before);
}

TEST(Optimizer, StateOfStorageTypesIsFloat) {
  Tensor p = param(DType::bf16);
  Adam adam({p}, {.lr = 0.01});
  set_gradient(p, gradient(0));
  adam.step();
  EXPECT_EQ(adam.state_bytes(), 2 * 4 * sizeof(float));
  // One Adam step moves every element by the rate; bf16 keeps 8 bits, so a rate of 0.01 is seen to within 2^-8 of 2.
  const auto values = p.to_vector<double>();
  for (std::size_t i = 0; i < values.size(); ++i)
    EXPECT_NEAR(values[i], kParams[i] - std::copysign(0.01, gradient(0)[i]), 2.0 / 256);
}

TEST(Optimizer, PlainSgdHoldsNoState) {
  Tensor p = param();
  Sgd sgd({p}, {.lr = 0.1});
  set_gradient(p, gradient(0));
  sgd.step();
  EXPECT_FALSE(sgd.has_state(p));
  EXPECT_EQ(sgd.state_bytes(), 0U);
}

TEST(Optimizer, LateGradientStartsAtItsOwnFirstStep) {
  Tensor early = param(), late = param();
  Adam both({early, late}, {.lr = 0.05});
  set_gradient(early, gradient(7));
  both.step();
  set_gradient(late, gradient(0));
  both.step();
  Tensor alone = param();
  Adam one({alone}, {.lr = 0.05});
  set_gradient(alone, gradient(0));
  one.step();
  EXPECT_EQ(late.to_vector<double>(), alone.to_vector<double>());  // its bias correction counts from 1
}

TEST(Optimizer, GroupsHaveTheirOwnRateAndDecay) {
  Tensor a = param(), b = param();
  Sgd sgd({{.params = {a}, .lr = 0.1, .weight_decay = 0}, {.params = {b}, .lr = 0.2, .weight_decay = 0.5}}, {});
  set_gradient(a, gradient(0));
  set_gradient(b, gradient(0));
  sgd.step();
  std::vector<double> expect_a = kParams, expect_b = kParams;
  for (std::size_t i = 0; i < 4; ++i) {
    expect_a[i] -= 0.1 * gradient(0)[i];
    expect_b[i] -= 0.2 * (gradient(0)[i] + 0.5 * kParams[i]);
  }
  expect_near(a, expect_a, kDouble);
  expect_near(b, expect_b, kDouble);
  sgd.set_lr(0.01);
  EXPECT_EQ(sgd.groups()[0].lr, 0.01);
  EXPECT_EQ(sgd.groups()[1].lr, 0.01);
}

TEST(Optimizer, ZeroGradDropsGradients) {
  Tensor p = param();
  Sgd sgd({p}, {});
  set_gradient(p, gradient(0));
  sgd.zero_grad();
  EXPECT_FALSE(p.grad().defined());
}

TEST(Optimizer, RefusesBadParameters) {
  Tensor p = param();
  p.set_name("fc.weight");
  expect_contains(error_of([&] { Sgd({p, p}, {}); }), "'fc.weight'");
  expect_contains(error_of([&] { Sgd({p, p}, {}); }), "given before");
  expect_contains(error_of([&] { Sgd(std::vector<Tensor>{}, {}); }), "no parameters");
  expect_contains(error_of([&] { Sgd({Tensor()}, {}); }), "undefined");
  expect_contains(error_of([&] { Sgd({Tensor::arange(3)}, {}); }), "not floating");
  expect_contains(error_of([&] { Sgd({slice(Tensor::zeros({4}), 0, 0, 4, 2)}, {}); }), "dense");
}

TEST(Optimizer, RefusesBadSettings) {
  const Tensor p = param();
  EXPECT_THROW(Sgd({p}, {.lr = -1}), Error);
  EXPECT_THROW(Sgd({p}, {.lr = std::numeric_limits<double>::quiet_NaN()}), Error);
  EXPECT_THROW(Sgd({p}, {.momentum = 0, .nesterov = true}), Error);
  EXPECT_THROW(Adam({p}, {.beta1 = 1}), Error);
  EXPECT_THROW(AdamW({p}, {.weight_decay = -0.1}), Error);
  Sgd sgd({p}, {});
  EXPECT_THROW(sgd.set_lr(-1), Error);
  EXPECT_THROW(sgd.step(std::numeric_limits<double>::infinity()), Error);
}

TEST(Optimizer, RefusesBadLimits) {
  const Tensor p = param(), stranger = param();
  Sgd sgd({p}, {});
  expect_contains(error_of([&] { sgd.limit(stranger, {}); }), "not a parameter of this optimiser");
  EXPECT_THROW(sgd.limit(p, {.multiplier = -1, .mask = {}}), Error);
  expect_contains(error_of([&] { sgd.limit(p, {.multiplier = 1, .mask = Tensor::ones({4})}); }), "expected bool or u8");
  expect_contains(error_of([&] { sgd.limit(p, {.multiplier = 1, .mask = Tensor::ones({5}, DType::u8)}); }),
                  "expected the parameter's shape");
}

TEST(Clip, NormCountsOnlyGradientsThatAreThere) {
  Tensor a = param(), b = param(DType::f32), none = param();
  a.set_grad(Tensor::from<double>({3, 0, 0, 0}, {4}));
  b.set_grad(Tensor::from<float>({0, 0, 4, 0}, {4}));
  EXPECT_NEAR(grad_norm({a, b, none}), 5, kDouble);
  EXPECT_NEAR(clip_factor({a, b, none}, 1), 1 / (5 + 1e-6), kDouble);
  EXPECT_EQ(clip_factor({a, b, none}, 100), 1);
  EXPECT_EQ(grad_norm({none}), 0);
  EXPECT_EQ(clip_factor({none}, 1), 1);
}

TEST(Clip, NamesTheParameterWhoseGradientIsNotFinite) {
  Tensor good = param(), bad = param();
  bad.set_name("conv1.weight");
  set_gradient(good, gradient(0));
  bad.set_grad(Tensor::from<double>({1, std::nan(""), 0, 0}, {4}));
  expect_contains(error_of([&] { clip_factor({good, bad}, 1); }), "conv1.weight");
  EXPECT_THROW(clip_factor({good}, 0), Error);
}

}  // namespace
}  // namespace graft::optim
