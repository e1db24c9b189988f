// The reference backend against numbers worked out by hand or published, and the number formats it stands on.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include <graft/kernels/api/philox.h>
#include <graft/kernels/reference/table.h>

#include "op_case.h"

namespace graft::test {
namespace {

using namespace kernels;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Tensors of f64, and ops run on the reference.
class ReferenceTest : public testing::Test {
 protected:
  template <class Args>
  void run(const Args& args) {
    const auto& row = reference::table().row<Args>();
    const Support support = row.supports(args);
    ASSERT_TRUE(support.ok) << support.reason;
    Stream stream;
    row.run(args, stream);
  }

  // Eight digits are what the expected numbers are written with.
  void expect(const TensorRef& t, const std::vector<double>& expected, double tolerance = 1e-8) {
    const std::vector<double> got = make.read(t);
    ASSERT_EQ(got.size(), expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      if (std::isnan(expected[i]))
        EXPECT_TRUE(std::isnan(got[i])) << "element " << i << " is " << got[i];
      else
        EXPECT_NEAR(got[i], expected[i], tolerance) << "element " << i;
    }
  }

  Maker make{DType::f64, true, {}, 1};
};

TEST_F(ReferenceTest, TableHasEveryOp) {
  std::apply([](const auto&... row) { EXPECT_TRUE(((row.supports != nullptr && row.run != nullptr) && ...)); },
             reference::table().rows);
}

TEST_F(ReferenceTest, Activations) {
  const TensorRef x = make.values({3}, {-1, 0, 1});
  auto expect_unary = [&](UnaryOp op, const std::vector<double>& expected) {
    SCOPED_TRACE(name(op));
    const TensorRef y = make.output("y", {3});
    run(UnaryArgs{op, x, y});
    expect(y, expected);
  };
  expect_unary(UnaryOp::gelu, {-0.15865525393, 0, 0.84134474607});
  expect_unary(UnaryOp::gelu_tanh, {-0.15880800939, 0, 0.84119199061});
  expect_unary(UnaryOp::silu, {-0.26894142137, 0, 0.73105857863});
  expect_unary(UnaryOp::sigmoid, {0.26894142137, 0.5, 0.73105857863});
  expect_unary(UnaryOp::tanh, {-0.76159415596, 0, 0.76159415596});
  expect_unary(UnaryOp::hardswish, {-1.0 / 3, 0, 2.0 / 3});
  expect_unary(UnaryOp::relu, {0, 0, 1});
  expect_unary(UnaryOp::exp, {0.36787944117, 1, 2.71828182846});
}

TEST_F(ReferenceTest, IntegersKeepAllTheirBits) {
  const std::int64_t large = (std::int64_t{1} << 53) + 1;  // no double holds it
  std::int64_t values[2] = {large, -7}, two[2] = {2, 2}, result[2] = {};
  const TensorRef x{values, DType::i64, {2}, {1}}, b{two, DType::i64, {2}, {1}}, y{result, DType::i64, {2}, {1}};
  run(CopyArgs{x, y});
  EXPECT_EQ(result[0], large);
  run(BinaryArgs{BinaryOp::add, x, b, y});
  EXPECT_EQ(result[0], large + 2);
  run(BinaryArgs{BinaryOp::div, x, b, y});
  EXPECT_EQ(result[1], -3) << "integer division truncates";
  run(BinaryScalarArgs{BinaryOp::mul, x, 3, false, y});
  EXPECT_EQ(result[0], 3 * large);
  std::int64_t sum = 0;
  run(ReduceArgs{ReduceOp::sum, x, {&sum, DType::i64, {1}, {1}}});
  EXPECT_EQ(sum, large - 7);
  values[0] = std::numeric_limits<std::int64_t>::max();
  run(BinaryScalarArgs{BinaryOp::add, x, 1, false, y});
  EXPECT_EQ(result[0], std::numeric_limits<std::int64_t>::min()) << "integers wrap around";
  two[1] = 0;
  Stream stream;
  EXPECT_THROW(reference::table().row<BinaryArgs>().run({BinaryOp::div, x, b, y}, stream), Error);
}

TEST_F(ReferenceTest, Casts) {
  const TensorRef x = make.values({6}, {-1, 256, 2.9, -2.9, 0, kNaN});
  const TensorRef u8 = make.output_of(DType::u8, "u8", {6}), i32 = make.output_of(DType::i32, "i32", {6});
  const TensorRef boolean = make.output_of(DType::boolean, "bool", {6});
  run(CopyArgs{x, u8});
  run(CopyArgs{x, i32});
  run(CopyArgs{x, boolean});
  expect(u8, {255, 0, 2, 254, 0, 0});
  expect(i32, {-1, 256, 2, -2, 0, 0});
  expect(boolean, {1, 1, 1, 1, 0, 1});
}

TEST_F(ReferenceTest, Matmul) {
  MatmulArgs args;
  args.a = make.values({2, 3}, {1, 2, 3, 4, 5, 6});
  args.b = make.values({3, 2}, {1, -1, 0, 2, 1, -4});
  args.bias = make.values({2}, {10, 1});
  args.y = make.output("y", {2, 2});
  run(args);
  expect(args.y, {14, -8, 20, -17});
  args.activation = Activation::relu;
  run(args);
  expect(args.y, {14, 0, 20, 0});
}

TEST_F(ReferenceTest, Conv2d) {
  Conv2dForwardArgs args;
  args.x = make.values({1, 1, 3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9});
  args.w =
      make.values({1, 1, 2, 2}, {1, 0, 0, -1});  // a pixel minus the one below right: cross-correlation, not flipped
  args.y = make.output("y", {1, 1, 2, 2});
  run(args);
  expect(args.y, {-4, -4, -4, -4});
  args.geometry.padding_h = args.geometry.padding_w = 1;
  args.geometry.stride_h = args.geometry.stride_w = 2;
  args.y = make.output("y", {1, 1, 2, 2});
  run(args);
  expect(args.y, {-1, -3, -7, -4});
  args.geometry = {1, 1, 0, 0, 2, 2, 1};
  args.bias = make.values({1}, {0.5});
  args.y = make.output("y", {1, 1, 1, 1});
  run(args);
  expect(args.y, {-7.5});
}

TEST_F(ReferenceTest, GroupedConv2d) {
  Conv2dForwardArgs args;
  args.x = make.values({1, 4, 1, 1}, {1, 2, 3, 4});
  args.w = make.values({2, 2, 1, 1}, {1, 10, 100, 1000});
  args.y = make.output("y", {1, 2, 1, 1});
  args.geometry.groups = 2;
  run(args);
  expect(args.y, {21, 4300});
}

TEST_F(ReferenceTest, SoftmaxAndCrossEntropy) {
  const TensorRef x = make.values({1, 3}, {1, 2, 3}), y = make.output("y", {1, 3});
  run(SoftmaxArgs{x, y, false});
  expect(y, {0.09003057317, 0.24472847106, 0.66524095577});
  run(SoftmaxArgs{x, y, true});
  expect(y, {-2.40760596444, -1.40760596444, -0.40760596444});

  CrossEntropyArgs args;
  args.logits = make.values({3, 3}, {1, 2, 3, 1, 2, 3, 5, 5, 5});
  args.targets = make.values_of(DType::i64, {3}, {2, 0, -100});
  args.loss = make.output("loss", {});
  args.row_max = make.output("row_max", {3});
  args.log_sum = make.output("log_sum", {3});
  args.scale = make.output("scale", {});
  run(args);
  expect(args.loss, {(0.40760596444 + 2.40760596444) / 2});
  expect(args.scale, {0.5});
  args.class_weights = make.values({3}, {1, 2, 4});
  run(args);
  expect(args.loss, {(4 * 0.40760596444 + 2.40760596444) / 5});
  args.class_weights = {};
  args.label_smoothing = 0.1;
  args.reduction = Reduction::none;
  args.loss = make.output("loss", {3});
  run(args);
  expect(args.loss, {0.50760596444, 0.9 * 2.40760596444 + 0.14076059648, 0});
}

TEST_F(ReferenceTest, CrossEntropyNamesBadTarget) {
  CrossEntropyArgs args;
  args.logits = make.input({2, 3});
  args.targets = make.values_of(DType::i64, {2}, {1, 3});
  args.loss = make.output("loss", {});
  args.row_max = make.output("row_max", {2});
  args.log_sum = make.output("log_sum", {2});
  args.scale = make.output("scale", {});
  Stream stream;
  try {
    reference::table().row<CrossEntropyArgs>().run(args, stream);
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "cross_entropy: targets[1] is 3: expected 0 to 2 or ignore_index -100");
  }
}

TEST_F(ReferenceTest, IndexOutside) {
  IndexSelectArgs args{make.input({3, 2}), make.values_of(DType::i64, {2}, {0, -1}), make.output("y", {2, 2}), 0};
  Stream stream;
  try {
    reference::table().row<IndexSelectArgs>().run(args, stream);
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "index_select: index[1] is -1: expected 0 to 2 for axis 0 of (3, 2)");
  }
}

TEST_F(ReferenceTest, MaxPool) {
  MaxPoolArgs args;
  args.x = make.values({1, 1, 4, 4}, {1, 5, 2, 2, 5, 5, 2, 2, -1, -2, kNaN, 0, -3, -4, 7, 9});
  args.y = make.output("y", {1, 1, 2, 2});
  args.index = make.output_of(DType::u8, "index", {1, 1, 2, 2});
  run(args);
  expect(args.y, {5, 2, -1, kNaN});
  expect(args.index, {1, 0, 0, 0});  // the first of equal values
  args.relu = true;
  run(args);
  expect(args.y, {5, 2, 0, kNaN});
}

TEST_F(ReferenceTest, AveragePools) {
  AvgPoolArgs args;
  args.x = make.values({1, 1, 2, 2}, {1, 2, 3, 4});
  args.y = make.output("y", {1, 1, 2, 2});
  args.geometry = {2, 2, 2, 2, 1, 1, 1, 1, true};
  run(args);
  expect(args.y, {0.25, 0.5, 0.75, 1});
  args.geometry.count_include_pad = false;
  run(args);
  expect(args.y, {1, 2, 3, 4});
  // Bins of 10 into 3: [0, 4), [3, 7), [6, 10).
  AdaptiveAvgPoolArgs adaptive;
  adaptive.x = make.values({1, 1, 1, 10}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  adaptive.y = make.output("y", {1, 1, 1, 3});
  run(adaptive);
  expect(adaptive.y, {1.5, 4.5, 7.5});
}

TEST_F(ReferenceTest, BatchNorm) {
  BatchNormArgs args;
  args.x = make.values({2, 1}, {1, 3});
  args.gamma = make.values({1}, {2});
  args.beta = make.values({1}, {10});
  args.running_mean = make.values({1}, {0});
  args.running_var = make.values({1}, {1});
  args.y = make.output("y", {2, 1});
  args.mean = make.output("mean", {1});
  args.inv_std = make.output("inv_std", {1});
  args.eps = 0;
  run(args);
  expect(args.y, {8, 12});
  expect(args.running_mean, {0.2});
  expect(args.running_var, {0.9 + 0.1 * 2});  // the unbiased variance
  args.training = false;
  args.running_var = make.values({1}, {4});
  run(args);
  expect(args.y, {10.8, 12.8});
}

TEST_F(ReferenceTest, LayerNorm) {
  LayerNormArgs args;
  args.x = make.values({1, 4}, {1, 1, 3, 3});
  args.y = make.output("y", {1, 4});
  args.mean = make.output("mean", {1});
  args.inv_std = make.output("inv_std", {1});
  args.eps = 3;
  run(args);
  expect(args.y, {-0.5, -0.5, 0.5, 0.5});
}

TEST_F(ReferenceTest, Reductions) {
  const TensorRef x = make.values({2, 3}, {1, kNaN, 7, 4, 9, 9});
  const TensorRef y = make.output("y", {2, 1}), index = make.output_of(DType::i64, "index", {2, 1});
  run(ReduceArgs{ReduceOp::max, x, y});
  expect(y, {kNaN, 9});
  run(ReduceArgs{ReduceOp::mean, x, y});
  expect(y, {kNaN, 22.0 / 3});
  run(ArgmaxArgs{x, index, 1});
  expect(index, {1, 1});
}

TEST_F(ReferenceTest, Sgd) {
  OptimParam p;
  p.param = make.values({2}, {1, 2});
  p.grad = make.values({2}, {0.5, -1});
  p.state0 = make.values({2}, {kNaN, kNaN});  // not read at the first step
  p.lr = 0.1;
  p.weight_decay = 0.1;
  SgdArgs args{&p, 1, 0.9, 0, true, 1};
  run(args);  // g = (0.6, -0.8), buf = g, update = g + 0.9 buf
  expect(p.param, {1 - 0.1 * 1.9 * 0.6, 2 + 0.1 * 1.9 * 0.8});
  expect(p.state0, {0.6, -0.8});
}

TEST_F(ReferenceTest, Adam) {
  OptimParam p;
  p.param = make.values({2}, {1, 2});
  p.grad = make.values({2}, {0.5, -1000});
  p.state0 = make.values({2}, {0, 0});
  p.state1 = make.values({2}, {0, 0});
  p.lr = 0.1;
  AdamArgs args;
  args.params = &p;
  args.count = 1;
  run(args);  // the first step has the size of the learning rate whatever the gradient
  expect(p.param, {0.9, 2.1}, 1e-8);
  p.param = make.values({2}, {1, 2});
  p.weight_decay = 0.5;
  args.decoupled = true;
  p.state0 = make.values({2}, {0, 0});
  p.state1 = make.values({2}, {0, 0});
  run(args);
  expect(p.param, {0.95 - 0.1, 1.9 + 0.1}, 1e-8);
}

TEST_F(ReferenceTest, AffineWarp) {
  AffineWarpArgs args;
  args.x = make.values({1, 1, 2, 3}, {1, 2, 3, 4, 5, 6});
  args.y = make.output("y", {1, 1, 2, 3});
  args.fill = -1;
  args.theta = make.values_of(DType::f32, {1, 2, 3}, {1, 0, 1, 0, 1, 0});  // from one to the right
  run(args);
  expect(args.y, {2, 3, -1, 5, 6, -1});
  args.theta = make.values_of(DType::f32, {1, 2, 3}, {1, 0, 0.5, 0, 1, 0});
  run(args);
  expect(args.y, {1.5, 2.5, 1, 4.5, 5.5, 2.5});
}

TEST_F(ReferenceTest, RandomFollowsTheContract) {
  const RandomKey key{0x123456789abcdef0ull, 77};
  const TensorRef uniform = make.output("y", {9}), normal = make.output("y", {9});
  run(RandomArgs{uniform, Distribution::uniform, -1, 1, key});
  run(RandomArgs{normal, Distribution::normal, 2, 3, key});
  std::vector<double> u, z;
  for (std::uint64_t i = 0; i < 9; ++i) u.push_back(philox_uniform(philox4x32(key, i / 4)[i % 4]));
  u.push_back(philox_uniform(philox4x32(key, 2)[1]));
  for (std::size_t i = 0; i < 9; i += 2) {
    const double radius = std::sqrt(-2 * std::log1p(-u[i]));
    z.push_back(2 + 3 * radius * std::cos(2 * M_PI * u[i + 1]));
    z.push_back(2 + 3 * radius * std::sin(2 * M_PI * u[i + 1]));
  }
  z.resize(9);
  u.resize(9);
  for (double& value : u) value = 2 * value - 1;
  expect(uniform, u, 1e-12);
  expect(normal, z, 1e-12);
}

TEST_F(ReferenceTest, RandomHasTheRightMoments) {
  constexpr std::int64_t count = 100000;
  const TensorRef y = make.output("y", {count});
  auto moments = [&] {
    double mean = 0, square = 0;
    for (double value : make.read(y)) mean += value / count, square += value * value / count;
    return std::pair{mean, square - mean * mean};
  };
  // Four standard errors: sqrt(var / count) of a mean; of a variance sqrt(2 / count) for the normal, less for the
  // uniform.
  run(RandomArgs{y, Distribution::normal, 0, 1, {3, 4}});
  EXPECT_NEAR(moments().first, 0, 4 * std::sqrt(1.0 / count));
  EXPECT_NEAR(moments().second, 1, 4 * std::sqrt(2.0 / count));
  run(RandomArgs{y, Distribution::uniform, 0, 1, {3, 4}});
  EXPECT_NEAR(moments().first, 0.5, 4 * std::sqrt(1.0 / 12 / count));
  EXPECT_NEAR(moments().second, 1.0 / 12, 4 * std::sqrt(1.0 / 180 / count));
}

TEST(Philox, KnownAnswers) {
  // kat_vectors of Random123, philox4x32 with 10 rounds; written as the counter's and the key's words.
  auto philox = [](PhiloxWords counter, std::array<std::uint32_t, 2> key) {
    auto join = [](std::uint32_t low, std::uint32_t high) { return std::uint64_t{high} << 32 | low; };
    return philox4x32({join(key[0], key[1]), join(counter[2], counter[3])}, join(counter[0], counter[1]));
  };
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (PhiloxWords{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}), (PhiloxWords{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxWords{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
  EXPECT_EQ(philox_uniform(0), 0.0f);
  EXPECT_LT(philox_uniform(~0u), 1.0f);
}

// Every value goes to float and back unchanged, and a float between two neighbours goes to the nearer, a tie to the
// even one.
template <class Half>
void check_half_format(std::uint32_t infinity) {
  Half half, next;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    half.bits = static_cast<std::uint16_t>(bits);
    const auto value = static_cast<float>(half);
    const std::uint32_t magnitude = bits & 0x7fffu;
    const Half back(value);
    if (magnitude > infinity) {
      ASSERT_TRUE(std::isnan(value)) << std::hex << bits;
      ASSERT_GT(back.bits & 0x7fffu, infinity) << std::hex << bits;
      continue;
    }
    ASSERT_EQ(back.bits, bits);
    ASSERT_EQ(std::signbit(value), bits >> 15 != 0);
    if (magnitude == infinity) {
      ASSERT_TRUE(std::isinf(value));
      continue;
    }
    next.bits = static_cast<std::uint16_t>(bits + 1);
    // Infinity's place in the rounding is that of the next power of two.
    const double above = magnitude + 1 == infinity ? 2.0 * static_cast<double>(static_cast<float>(half)) -
                                                         static_cast<double>(static_cast<float>([&] {
                                                           Half below;
                                                           below.bits = static_cast<std::uint16_t>(bits - 1);
                                                           return below;
                                                         }()))
                                                   : static_cast<double>(static_cast<float>(next));
    const auto middle = static_cast<float>((static_cast<double>(value) + above) / 2);
    const float outwards = value < 0 || std::signbit(value) ? -INFINITY : INFINITY;
    ASSERT_EQ(Half(middle).bits, bits % 2 == 0 ? bits : bits + 1) << std::hex << bits;
    ASSERT_EQ(Half(std::nextafter(middle, outwards)).bits, bits + 1) << std::hex << bits;
    ASSERT_EQ(Half(std::nextafter(middle, -outwards)).bits, bits) << std::hex << bits;
  }
}

TEST(NumberFormats, Bf16Exhaustive) { check_half_format<bf16>(0x7f80); }
TEST(NumberFormats, F16Exhaustive) { check_half_format<f16>(0x7c00); }

TEST(NumberFormats, F16Values) {
  for (std::uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const int exponent = static_cast<int>(bits >> 10);
    const double mantissa = bits & 0x3ffu;
    const double expected = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1 + mantissa / 1024, exponent - 15);
    ASSERT_EQ(static_cast<double>(f16::to_float(static_cast<std::uint16_t>(bits))), expected) << std::hex << bits;
  }
}

}  // namespace
}  // namespace graft::test
