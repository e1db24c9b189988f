#include <graft/kernels/api/random.h>

#include <cmath>
#include <utility>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/nn.h>
#include <graft/core/ops/raw.h>
#include <graft/core/random.h>
#include <graft/core/step_random.h>
#include <graft/kernels/api/affine.h>

namespace graft {
namespace {

Tensor drop_out(const Tensor& x, double p, kernels::RandomKey key) {
  const Tensor dense = x.is_dense() ? x : raw::with_format(x, MemoryFormat::contiguous);
  Tensor y = dense.empty_like();
  if (y.numel() > 0) raw::run(kernels::DropoutArgs{dense.ref(), y.ref(), p, key}, x);
  return y;
}

struct DropoutNode final : Node {
  Shape strides;  // of the forward: the mask follows memory order
  double p;
  kernels::RandomKey key;
  DropoutNode(const Shape& y_strides, double probability, kernels::RandomKey k)
      : strides(y_strides), p(probability), key(k) {}
  const char* name() const override { return "dropout"; }
  void backward(const Tensor& gy, GradSlots& gx) override {
    if (!gx.needed(0)) return;
    if (gy.strides() == strides) return gx.put(0, drop_out(gy, p, key));
    Tensor same = Tensor::empty(gy.shape(), gy.dtype(), gy.device()).as_strided(gy.shape(), strides, 0);
    raw::copy_into(same, gy);
    gx.put(0, drop_out(same, p, key));
  }
  void release() override {}
};

void fill_random(Tensor& t, kernels::Distribution distribution, double a, double b, Generator& generator) {
  raw::check_floating("random", "the tensor", t);
  check(!grad_enabled() || t.is_leaf(), "random: the tensor ", t,
        " is part of the graph, and in-place changes are not recorded; use detach() or NoGrad");
  const kernels::RandomKey key = generator.next();
  if (t.numel() == 0) return;
  Tensor dense = t.is_contiguous() ? t : Tensor::empty(t.shape(), t.dtype(), t.device());
  raw::run(kernels::RandomArgs{dense.ref(), distribution, a, b, key}, t);
  // Values follow the logical order, so a weight does not depend on its memory format.
  if (!dense.is_same(t)) raw::copy_into(t, dense);
  t.bump_version();
}

}  // namespace

Tensor dropout(const Tensor& x, double p, bool training, Generator& generator) {
  raw::check_floating("dropout", "x", x);
  check(p >= 0 && p <= 1, "dropout: p must be in [0, 1], got ", p);
  if (!training || p == 0) return x;
  const kernels::RandomKey key = generator.next();
  Tensor y = drop_out(x, p, key);
  if (!any_requires_grad({&x})) return y;
  return record(y, std::make_shared<DropoutNode>(y.strides(), p, key), {x});
}

Tensor affine_warp(const Tensor& x, const Tensor& theta, double fill) {
  raw::check_floating("affine_warp", "x", x);
  check(x.dim() == 4, "affine_warp: expected x (N, C, H, W), got ", x);
  check(theta.defined() && theta.dtype() == DType::f32 && theta.shape() == Shape{x.size(0), 2, 3},
        "affine_warp: expected theta f32 (", x.size(0), ", 2, 3), got ", theta);
  raw::check_same_device("affine_warp", x, theta);
  check(!any_requires_grad({&x, &theta}),
        "affine_warp: an argument requires grad, and none would reach it; detach() it");
  const Tensor image = raw::with_format(x, MemoryFormat::channels_last);
  const Tensor maps = raw::with_format(theta, MemoryFormat::contiguous);
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device(), MemoryFormat::channels_last);
  if (y.numel() > 0) raw::run(kernels::AffineWarpArgs{image.ref(), maps.ref(), y.ref(), fill}, x);
  return y;
}

// --- generator
// --------------------------------------------------------------------------------------------------------

kernels::RandomKey Generator::next() {
  if (StepRandom* step = StepRandom::active()) [[unlikely]]
    return step->key_for(*this);
  const kernels::RandomKey key = key_;
  ++key_.offset;
  return key;
}

kernels::RandomKey Generator::draw() {
  check(StepRandom::active() == nullptr || !StepRandom::active()->capturing(),
        "Generator: a number was drawn on the host within a step that is being captured, where every replay would see "
        "the same one; draw it before the step, or on the device (rand, randn, dropout)");
  return next();
}

Generator Generator::fork(std::uint64_t stream) const { return Generator(kernels::fork_seed(key_.seed, stream)); }

std::uint64_t Generator::below(std::uint64_t n) {
  check(n >= 1, "Generator::below: expected n >= 1");
  const kernels::RandomKey key = draw();
  // Lemire's multiply-and-reject; blocks go on as long as draws are rejected.
  const std::uint64_t threshold = (0 - n) % n;
  for (std::uint64_t block = 0;; ++block) {
    const auto words = kernels::philox4x32(key, block);
    const std::uint64_t draw = static_cast<std::uint64_t>(words[0]) | static_cast<std::uint64_t>(words[1]) << 32;
    const auto wide = static_cast<unsigned __int128>(draw) * n;
    if (static_cast<std::uint64_t>(wide) >= threshold) return static_cast<std::uint64_t>(wide >> 64);
  }
}

double Generator::uniform() { return kernels::philox_uniform53(kernels::philox4x32(draw(), 0)); }

double Generator::normal() {
  const auto words = kernels::philox4x32(draw(), 0);
  const double u0 = (words[0] + 1.0) * 0x1p-32, u1 = words[1] * 0x1p-32;
  return std::sqrt(-2 * std::log(u0)) * std::cos(6.283185307179586 * u1);
}

Generator& default_generator() {
  thread_local Generator generator;
  return generator;
}

void manual_seed(std::uint64_t seed) { default_generator() = Generator(seed); }

Tensor rand(const Shape& shape, Generator& generator, DType dtype, Device device) {
  Tensor t = Tensor::empty(shape, dtype, device);
  fill_random(t, kernels::Distribution::uniform, 0, 1, generator);
  return t;
}

Tensor randn(const Shape& shape, Generator& generator, DType dtype, Device device) {
  Tensor t = Tensor::empty(shape, dtype, device);
  fill_random(t, kernels::Distribution::normal, 0, 1, generator);
  return t;
}

void uniform_(Tensor& t, double low, double high, Generator& generator) {
  fill_random(t, kernels::Distribution::uniform, low, high, generator);
}

void normal_(Tensor& t, double mean, double deviation, Generator& generator) {
  fill_random(t, kernels::Distribution::normal, mean, deviation, generator);
}

Tensor randperm(std::int64_t n, Generator& generator, Device device) {
  Tensor t = Tensor::arange(n);
  auto* values = t.data<std::int64_t>();
  for (std::int64_t i = n - 1; i > 0; --i)
    std::swap(values[i], values[generator.below(static_cast<std::uint64_t>(i) + 1)]);
  return t.to(device);
}

}  // namespace graft
