// Generators: reproducible, independent where forked, without bias; and results that do not depend on threads.
#include <graft/core/random.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <numeric>
#include <set>
#include <thread>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/math.h>
#include <graft/core/ops/nn.h>
#include <graft/core/ops/view.h>
#include <graft/kernels/runtime/parallel.h>

#include "core/helpers.h"

namespace graft {
namespace {

TEST(Generators, RepeatFromTheSameSeed) {
  Generator a(42), b(42), c(43);
  const Tensor first = randn({100}, a);
  EXPECT_TRUE(same_bits(first, randn({100}, b)));
  EXPECT_FALSE(same_bits(first, randn({100}, c)));
  EXPECT_FALSE(same_bits(first, randn({100}, a))) << "each draw has its own numbers";
  EXPECT_EQ(a.offset(), 2u);
  a.set_offset(0);
  EXPECT_TRUE(same_bits(first, randn({100}, a)));
  EXPECT_EQ(a.seed(), 42u);
}

TEST(Generators, AnEmptyDrawCountsAsOne) {
  Generator a(1);
  randn({0}, a);
  EXPECT_EQ(a.offset(), 1u);
}

TEST(Generators, ForksDependOnSeedAndStreamOnly) {
  Generator a(7);
  const Generator early = a.fork(3);
  a.next();
  EXPECT_EQ(a.fork(3).seed(), early.seed());
  EXPECT_EQ(early.offset(), 0u);
  std::set<std::uint64_t> seeds = {a.seed()};
  for (std::uint64_t seed = 0; seed < 20; ++seed)
    for (std::uint64_t stream = 0; stream < 50; ++stream) seeds.insert(Generator(seed).fork(stream).seed());
  EXPECT_EQ(seeds.size(), 1001u) << "no two forks alike";
}

TEST(Generators, ForkedNumbersAreUncorrelated) {
  constexpr int n = 20000;
  Generator a(1), b = a.fork(0);
  const auto x = values(randn({n}, a)), y = values(randn({n}, b));
  double product = 0;
  for (std::size_t i = 0; i < n; ++i) product += x[i] * y[i];
  // The mean of n products of independent standard normals deviates by 1 / sqrt(n); five of these.
  EXPECT_LT(std::abs(product / n), 5 / std::sqrt(n));
}

TEST(Generators, BelowStaysInRangeAndIsUniform) {
  Generator g(5);
  constexpr int kSides = 7, kThrows = 70000;
  std::array<int, kSides> counts{};
  for (int i = 0; i < kThrows; ++i) {
    const std::uint64_t side = g.below(kSides);
    ASSERT_LT(side, static_cast<std::uint64_t>(kSides));
    ++counts[side];
  }
  double chi_squared = 0;
  for (const int count : counts) chi_squared += std::pow(count - kThrows / kSides, 2) / (kThrows / kSides);
  EXPECT_LT(chi_squared, 22.5) << "six degrees of freedom: exceeded once in a thousand seeds";
  for (int i = 0; i < 100; ++i) EXPECT_EQ(g.below(1), 0u);
  const std::uint64_t before = g.offset();
  const std::uint64_t huge = (std::uint64_t{1} << 63) + 1;  // nearly half of all draws are rejected
  for (int i = 0; i < 100; ++i) EXPECT_LT(g.below(huge), huge);
  EXPECT_EQ(g.offset(), before + 100) << "one draw each, whatever is rejected";
  expect_contains(error_of([&] { g.below(0); }), {"n >= 1"});
}

TEST(Generators, UniformAndNormalHaveTheirMoments) {
  Generator g(9);
  constexpr int n = 40000;
  double sum_u = 0, sum_z = 0, sum_zz = 0;
  for (int i = 0; i < n; ++i) {
    const double u = g.uniform(), z = g.normal();
    ASSERT_TRUE(u >= 0 && u < 1);
    sum_u += u;
    sum_z += z;
    sum_zz += z * z;
  }
  // Five standard errors: 1 / sqrt(12 n), 1 / sqrt(n), sqrt(2 / n).
  EXPECT_NEAR(sum_u / n, 0.5, 5 / std::sqrt(12.0 * n));
  EXPECT_NEAR(sum_z / n, 0, 5 / std::sqrt(n));
  EXPECT_NEAR(sum_zz / n, 1, 5 * std::sqrt(2.0 / n));
}

TEST(RandomTensors, HaveTheirMoments) {
  Generator g(11);
  constexpr int n = 40000;
  const auto u = values(rand({n}, g)), z = values(randn({n}, g));
  Tensor shifted = Tensor::empty({n}, DType::f64);
  uniform_(shifted, -3, 5, g);
  const auto s = values(shifted);
  EXPECT_TRUE(std::all_of(u.begin(), u.end(), [](double x) { return x >= 0 && x < 1; }));
  EXPECT_TRUE(std::all_of(s.begin(), s.end(), [](double x) { return x >= -3 && x < 5; }));
  const auto average = [](const std::vector<double>& x) { return std::accumulate(x.begin(), x.end(), 0.0) / n; };
  EXPECT_NEAR(average(u), 0.5, 5 / std::sqrt(12.0 * n));
  EXPECT_NEAR(average(z), 0, 5 / std::sqrt(n));
  EXPECT_NEAR(average(s), 1, 8 * 5 / std::sqrt(12.0 * n));
  normal_(shifted, 10, 0.5, g);
  EXPECT_NEAR(average(values(shifted)), 10, 0.5 * 5 / std::sqrt(n));
  expect_contains(error_of([] {
                    Tensor t = Tensor::zeros({2}, DType::i64);
                    uniform_(t, 0, 1);
                  }),
                  {"floating", "i64"});
}

TEST(RandomTensors, OfTheStorageTypesAreRoundedFloats) {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    Generator a(8), b(8);
    EXPECT_TRUE(same_bits(rand({5000}, a, dtype), rand({5000}, b).to(dtype))) << name(dtype);
    EXPECT_TRUE(same_bits(randn({5000}, a, dtype), randn({5000}, b).to(dtype))) << name(dtype);
  }
}

TEST(RandomTensors, DoNotDependOnTheMemoryFormat) {
  Generator a(3), b(3);
  Tensor rows = Tensor::empty({2, 3, 4, 4});
  Tensor images = Tensor::empty({2, 3, 4, 4}, DType::f32, Device::cpu(), MemoryFormat::channels_last);
  normal_(rows, 0, 1, a);
  normal_(images, 0, 1, b);
  EXPECT_EQ(walked(images), walked(rows));
}

TEST(RandomTensors, PermutationsHoldEveryNumberOnceAndAllOccur) {
  Generator g(2);
  for (const std::int64_t n : {0, 1, 2, 1000}) {
    auto order = randperm(n, g).to_vector<std::int64_t>();
    std::sort(order.begin(), order.end());
    EXPECT_EQ(order, Tensor::arange(n).to_vector<std::int64_t>());
  }
  std::map<std::vector<std::int64_t>, int> seen;
  for (int i = 0; i < 6000; ++i) ++seen[randperm(3, g).to_vector<std::int64_t>()];
  EXPECT_EQ(seen.size(), 6u);
  // 1000 expected of each; five standard deviations of sqrt(6000 / 6 * 5 / 6) = 29.
  for (const auto& [order, count] : seen) EXPECT_NEAR(count, 1000, 145);
}

TEST(RandomTensors, DropoutKeepsTheExpectationAndItsMaskIsTheGradients) {
  Generator g(4);
  constexpr int n = 40000;
  const Tensor x = Tensor::ones({n}).requires_grad_();
  const Tensor y = dropout(x, 0.25, true, g);
  const auto kept = values(y);
  int zeros = 0;
  for (const double v : kept) {
    ASSERT_TRUE(v == 0 || v == static_cast<double>(1 / 0.75f)) << v;
    zeros += v == 0;
  }
  EXPECT_NEAR(zeros, n / 4, 5 * std::sqrt(n * 0.25 * 0.75)) << "five standard deviations";
  y.backward(Tensor::ones({n}));
  EXPECT_EQ(walked(x.grad()), kept);
  EXPECT_TRUE(dropout(x, 0.25, false, g).is_same(x));
  EXPECT_EQ(walked(dropout(Tensor::ones({3}), 1, true, g)), std::vector<double>(3, 0));
}

TEST(DefaultGenerator, IsSeededAThread) {
  manual_seed(5);
  const Tensor here = randn({8});
  manual_seed(5);
  EXPECT_TRUE(same_bits(randn({8}), here));
  const std::uint64_t offset = default_generator().offset();
  Tensor there;
  std::thread([&] {
    manual_seed(5);
    there = randn({8});
    manual_seed(6);
  }).join();
  EXPECT_TRUE(same_bits(there, here));
  EXPECT_EQ(default_generator().seed(), 5u);
  EXPECT_EQ(default_generator().offset(), offset);
  manual_seed(0);
}

// --- threads
// ----------------------------------------------------------------------------------------------------------

/// Everything that f gives is the same, bit by bit, on one thread and on two (and three).
void expect_thread_independent(const std::function<std::vector<Tensor>()>& f) {
  const int before = num_threads();
  set_num_threads(1);
  const std::vector<Tensor> one = f();
  for (const int threads : {2, 3}) {
    set_num_threads(threads);
    const std::vector<Tensor> many = f();
    ASSERT_EQ(one.size(), many.size());
    for (std::size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(same_bits(one[i], many[i])) << "result " << i;
  }
  set_num_threads(before);
}

TEST(ThreadIndependence, RandomNumbersAndDropout) {
  expect_thread_independent([] {
    Generator g(1);
    const Tensor x = randn({100003}, g);
    return std::vector<Tensor>{x, rand({100003}, g), dropout(x, 0.5, true, g)};
  });
}

TEST(ThreadIndependence, Reductions) {
  const Tensor x = normal({300, 1000}, 1);
  expect_thread_independent(
      [&] { return std::vector<Tensor>{sum(x), mean(x), sum(x, {0}), sum(x, {1}), argmax(x, 1), softmax(x, 1)}; });
}

TEST(ThreadIndependence, Convolution) {
  expect_thread_independent([] {
    const Tensor x = normal({8, 16, 14, 14}, 1).requires_grad_(), w = normal({32, 16, 3, 3}, 2).requires_grad_();
    const Tensor b = normal({32}, 3).requires_grad_();
    const Tensor y = conv2d(x, w, b, {.padding_h = 1, .padding_w = 1});
    sum(square(y)).backward();
    return std::vector<Tensor>{y, x.grad(), w.grad(), b.grad()};
  });
}

TEST(ThreadIndependence, BatchNormAndPooling) {
  expect_thread_independent([] {
    const Tensor x = normal({16, 32, 14, 14}, 1).requires_grad_(), gamma = normal({32}, 2).requires_grad_();
    const Tensor beta = normal({32}, 3).requires_grad_();
    Tensor mean = Tensor::zeros({32}), var = Tensor::ones({32});
    const Tensor y = max_pool2d(batch_norm(x, gamma, beta, mean, var), {}, true);
    sum(square(y)).backward();
    return std::vector<Tensor>{y, mean, var, x.grad(), gamma.grad(), beta.grad()};
  });
}

// A processor without AVX-512 (or ONEDNN_MAX_CPU_ISA=AVX2, which a test of its own sets) multiplies by other code.
TEST(ThreadIndependence, MatrixProducts) {
  // (batch, m, n, k): a long sum, squares, few rows, few columns, a batch.
  const std::int64_t sizes[][4] = {{1, 64, 64, 4096}, {1, 256, 256, 256}, {1, 8, 3000, 400},
                                   {1, 3000, 8, 400}, {3, 130, 70, 300},  {1, 1, 5000, 1000}};
  for (const auto& size : sizes) {
    const std::int64_t batch = size[0], m = size[1], n = size[2], k = size[3];
    SCOPED_TRACE(testing::Message() << batch << " x " << m << " x " << n << " x " << k);
    expect_thread_independent([&] {
      const Shape a = batch == 1 ? Shape{m, k} : Shape{batch, m, k}, b = batch == 1 ? Shape{k, n} : Shape{batch, k, n};
      const Tensor x = normal(a, 1).requires_grad_(), w = normal(b, 2).requires_grad_();
      const Tensor y = matmul(x, w);
      sum(square(y)).backward();
      return std::vector<Tensor>{y, x.grad(), w.grad()};
    });
  }
}

TEST(ThreadIndependence, LinearAndLoss) {
  const Tensor targets = Tensor::arange(64);
  expect_thread_independent([&] {
    const Tensor x = normal({64, 512}, 1).requires_grad_(), w = normal({300, 512}, 2).requires_grad_();
    const Tensor b = normal({300}, 3).requires_grad_();
    const Tensor loss = cross_entropy(layer_norm(linear(x, w, b), {}, {}), targets);
    loss.backward();
    return std::vector<Tensor>{loss, x.grad(), w.grad(), b.grad()};
  });
}

}  // namespace
}  // namespace graft
