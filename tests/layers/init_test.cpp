#include <algorithm>
#include <cmath>

#include <graft/layers/init.h>

#include "layers/helpers.h"

namespace graft {
namespace {

struct Statistics {
  double mean = 0, deviation = 0, low = 0, high = 0;
};

Statistics statistics(const Tensor& t) {
  const std::vector<double> values = t.to_vector<double>();
  Statistics s{0, 0, values[0], values[0]};
  for (const double v : values) {
    s.mean += v / static_cast<double>(values.size());
    s.low = std::min(s.low, v);
    s.high = std::max(s.high, v);
  }
  for (const double v : values) s.deviation += (v - s.mean) * (v - s.mean) / static_cast<double>(values.size());
  s.deviation = std::sqrt(s.deviation);
  return s;
}

/// Mean and deviation within five of their own standard errors of 0 and `deviation`; n values.
void expect_spread(const Statistics& s, double deviation, double n) {
  EXPECT_NEAR(s.mean, 0, 5 * deviation / std::sqrt(n));
  EXPECT_NEAR(s.deviation, deviation, 5 * deviation / std::sqrt(2 * n));
}

/// Uniform on [-bound, bound]: inside, nearly reaching the ends (the chance of missing by 1% on one side is 0.995^n).
void expect_uniform(const Tensor& t, double bound) {
  const Statistics s = statistics(t);
  const double n = static_cast<double>(t.numel());
  ASSERT_GT(n, 4000);
  EXPECT_GE(s.low, -bound * (1 + 1e-6));
  EXPECT_LE(s.high, bound * (1 + 1e-6));
  EXPECT_LT(s.low, -0.99 * bound);
  EXPECT_GT(s.high, 0.99 * bound);
  expect_spread(s, bound / std::sqrt(3.0), n);
}

TEST(Init, LinearStartsAsPyTorchs) {
  manual_seed(1);
  Linear layer(100, 5000);
  expect_uniform(layer.weight, 0.1);
  expect_uniform(layer.bias, 0.1);
}

TEST(Init, Conv2dStartsAsPyTorchsWithTheFanOfAGroup) {
  manual_seed(2);
  Conv2d layer(8, 5000, 3, {.groups = 2});
  expect_uniform(layer.weight, 1 / 6.0);  // fan_in = 8 / 2 * 9
  expect_uniform(layer.bias, 1 / 6.0);
}

TEST(Init, KaimingUniformWithGain) {
  Generator generator(3);
  Tensor w = Tensor::empty({100, 50});
  init::kaiming_uniform_(w, 0, generator);
  expect_uniform(w, std::sqrt(6.0 / 50));
}

TEST(Init, KaimingNormalOfBothFans) {
  Generator generator(4);
  Tensor w = Tensor::empty({64, 32, 3, 3}, DType::f32, Device::cpu(), MemoryFormat::channels_last);
  init::kaiming_normal_(w, init::Fan::in, generator);
  expect_spread(statistics(w), std::sqrt(2.0 / (32 * 9)), static_cast<double>(w.numel()));
  init::kaiming_normal_(w, init::Fan::out, generator);
  expect_spread(statistics(w), std::sqrt(2.0 / (64 * 9)), static_cast<double>(w.numel()));
}

TEST(Init, XavierUniform) {
  Generator generator(5);
  Tensor w = Tensor::empty({120, 80});
  init::xavier_uniform_(w, generator);
  expect_uniform(w, std::sqrt(6.0 / 200));
}

TEST(Init, ASeedGivesTheSameWeightsInEveryMemoryFormat) {
  Generator a(6), b(6);
  Tensor rows = Tensor::empty({4, 3, 3, 3});
  Tensor last = Tensor::empty({4, 3, 3, 3}, DType::f32, Device::cpu(), MemoryFormat::channels_last);
  init::kaiming_normal_(rows, init::Fan::in, a);
  init::kaiming_normal_(last, init::Fan::in, b);
  EXPECT_EQ(rows.to_vector<float>(), last.to_vector<float>());
}

TEST(Init, LayersRepeatWithTheSeed) {
  manual_seed(7);
  const Conv2d a(2, 3, 3);
  manual_seed(7);
  const Conv2d b(2, 3, 3), c(2, 3, 3);
  EXPECT_EQ(a.weight.to_vector<float>(), b.weight.to_vector<float>());
  EXPECT_NE(a.weight.to_vector<float>(), c.weight.to_vector<float>());
}

TEST(Init, NeedsTwoDimensions) {
  expect_contains(error_of([] { init::kaiming_normal_(Tensor::empty({3})); }), "at least the dimensions (out, in)");
  EXPECT_THROW(init::xavier_uniform_(Tensor()), Error);
}

}  // namespace
}  // namespace graft
