// The cpu backend's own promises: bounded caches, packed weights that follow their tag, no allocation in the steady
// state, the same bits whatever the thread count, and instruction sets that agree.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include <graft/kernels/api/elementwise.h>
#include <graft/kernels/registry/registry.h>
#include <graft/kernels/runtime/host_memory.h>
#include <graft/kernels/runtime/parallel.h>

#ifdef GRAFT_WITH_ONEDNN
#include <graft/kernels/cpu/dnnl_compat.h>
#include <graft/kernels/cpu/lru_cache.h>
#include <graft/kernels/cpu/simd/kernels.h>

namespace graft::kernels {
namespace {

// A tensor with its memory, filled with pseudo-random numbers in -1..1.
struct Owned {
  explicit Owned(const Shape& shape, bool channels_last = false, unsigned seed = 1)
      : values(static_cast<std::size_t>(shape.numel())) {
    ref.shape = shape;
    ref.strides = channels_last ? channels_last_strides(shape) : contiguous_strides(shape);
    ref.data = values.data();
    unsigned state = seed * 2654435761u;
    for (float& v : values) {
      state = state * 1664525u + 1013904223u;
      v = static_cast<float>(static_cast<int>(state >> 8)) / 8388608.0f - 1.0f;
    }
  }
  std::vector<float> values;
  TensorRef ref;
};

class ThreadCount {
 public:
  explicit ThreadCount(int count) : previous_(num_threads()) { set_num_threads(count); }
  ~ThreadCount() { set_num_threads(previous_); }

 private:
  int previous_;
};

template <class Args>
void run_on_cpu(const Args& args) {
  const BackendScope only(BackendId::cpu);
  Stream stream;
  run(args, stream);
}

TEST(CpuLruCacheTest, KeepsTheRecentlyUsedAndRemembersThatThereIsNone) {
  struct Key {
    std::int64_t value;
    bool operator==(const Key&) const = default;
  };
  cpu::LruCache<Key, int> cache(2);
  int made = 0;
  auto make = [&](const Key& key) {
    ++made;
    return key.value < 0 ? nullptr : std::make_unique<int>(static_cast<int>(key.value));
  };
  EXPECT_EQ(*cache.get({1}, make), 1);
  EXPECT_EQ(cache.get({-2}, make), nullptr);
  EXPECT_EQ(cache.get({-2}, make), nullptr);
  EXPECT_EQ(made, 2);
  EXPECT_EQ(*cache.get({1}, make), 1);
  EXPECT_EQ(*cache.get({3}, make), 3);  // drops -2, the one used longest ago
  EXPECT_EQ(cache.size(), 2u);
  EXPECT_EQ(*cache.get({1}, make), 1);
  EXPECT_EQ(made, 3);
}

cpu::ConvSpec small_conv() {
  cpu::ConvSpec s{};
  s.n = 2, s.c = 16, s.h = 8, s.w = 8, s.k = 32, s.r = 3, s.s = 3, s.p = 8, s.q = 8;
  s.stride_h = s.stride_w = s.padding_h = s.padding_w = s.dilation_h = s.dilation_w = s.groups = 1;
  s.threads = num_threads();
  return s;
}

TEST(CpuPackedWeightsTest, FollowTheirTag) {
  const auto conv = cpu::make_conv_forward(small_conv());
  ASSERT_NE(conv, nullptr);
  const Owned x({2, 16, 8, 8}, true);
  Owned w({32, 16, 3, 3}, true), y({2, 32, 8, 8}, true);
  auto run_conv = [&](std::uint64_t tag) {
    conv->run(x.ref.data, w.ref.data, nullptr, y.ref.data, tag);
    return y.values;
  };
  const std::vector<float> first = run_conv(7);
  if (conv->packs() == 0) GTEST_SKIP() << conv->implementation() << " packs no weights";
  EXPECT_EQ(run_conv(7), first);
  EXPECT_EQ(conv->packs(), 1u) << "the same tag needs no second copy";
  for (float& v : w.values) v *= 2;
  const std::vector<float> doubled = run_conv(8);
  EXPECT_EQ(conv->packs(), 2u);
  for (std::size_t i = 0; i < first.size(); ++i) ASSERT_EQ(doubled[i], 2 * first[i]) << i;
  for (float& v : w.values) v *= 2;
  EXPECT_EQ(run_conv(0)[0], 4 * first[0]) << "tag 0 trusts no copy";
  for (float& v : w.values) v *= 2;
  EXPECT_EQ(run_conv(0)[0], 8 * first[0]);
}

TEST(CpuPackedWeightsTest, FrozenLayersOfOneGeometryKeepACopyEach) {
  const auto conv = cpu::make_conv_forward(small_conv());
  ASSERT_NE(conv, nullptr);
  const Owned x({2, 16, 8, 8}, true), a({32, 16, 3, 3}, true, 2), b({32, 16, 3, 3}, true, 3);
  Owned y({2, 32, 8, 8}, true);
  std::vector<std::vector<float>> from_a, from_b;
  for (int step = 0; step < 4; ++step) {
    conv->run(x.ref.data, a.ref.data, nullptr, y.ref.data, 11);
    from_a.push_back(y.values);
    conv->run(x.ref.data, b.ref.data, nullptr, y.ref.data, 12);
    from_b.push_back(y.values);
  }
  for (int step = 1; step < 4; ++step) {
    EXPECT_EQ(from_a[static_cast<std::size_t>(step)], from_a[0]);
    EXPECT_EQ(from_b[static_cast<std::size_t>(step)], from_b[0]);
  }
  EXPECT_NE(from_a[0], from_b[0]);
  EXPECT_LE(conv->packs(), 4u) << "after the second step nothing is packed";
}

// A little of everything, with forward and backward.
struct Work {
  Owned x{{24, 16, 10, 10}, true, 4}, w{{32, 16, 3, 3}, true, 5}, bias{{32}, false, 6}, y{{24, 32, 10, 10}, true};
  Owned gy{{24, 32, 10, 10}, true, 7}, gx{{24, 16, 10, 10}, true}, gw{{32, 16, 3, 3}, true}, gbias{{32}};
  Owned z{{2400, 32}}, mean{{32}}, inv_std{{32}}, gz{{2400, 32}}, ggamma{{32}}, gbeta{{32}};
  Owned rows{{300, 100}, false, 8}, soft{{300, 100}}, column{{1, 100}}, all{{1, 1}}, product{{300, 300}};
  Owned param{{5000}, false, 9}, grad{{5000}, false, 10}, m{{5000}}, v{{5000}};
  double norm = 0;
  OptimParam optim;

  TensorRef flat(const Owned& t) const {
    TensorRef f = t.ref;
    f.shape = {2400, 32};
    f.strides = {32, 1};
    return f;
  }
  void with_onednn() {
    run_on_cpu(Conv2dForwardArgs{x.ref, w.ref, bias.ref, y.ref, {.padding_h = 1, .padding_w = 1}, Activation::relu, 0});
    run_on_cpu(Conv2dBackwardDataArgs{gy.ref, w.ref, gx.ref, {.padding_h = 1, .padding_w = 1}, 0});
    run_on_cpu(Conv2dBackwardWeightArgs{x.ref, gy.ref, gw.ref, gbias.ref, {.padding_h = 1, .padding_w = 1}});
    TensorRef t = rows.ref;
    t.shape = {100, 300};
    t.strides = {1, 100};
    run_on_cpu(MatmulArgs{rows.ref, t, {}, product.ref, Activation::none, 0});
  }
  void with_our_kernels() {
    BatchNormArgs bn;
    bn.x = flat(y), bn.y = z.ref, bn.mean = mean.ref, bn.inv_std = inv_std.ref;
    run_on_cpu(bn);
    BatchNormBackwardArgs bn_backward;
    bn_backward.x = flat(y), bn_backward.gy = flat(gy), bn_backward.mean = mean.ref, bn_backward.inv_std = inv_std.ref;
    bn_backward.gx = gz.ref, bn_backward.ggamma = ggamma.ref, bn_backward.gbeta = gbeta.ref;
    run_on_cpu(bn_backward);
    run_on_cpu(SoftmaxArgs{rows.ref, soft.ref, false});
    run_on_cpu(ReduceArgs{ReduceOp::sum, rows.ref, column.ref});
    run_on_cpu(ReduceArgs{ReduceOp::mean, rows.ref, all.ref});
    run_on_cpu(UnaryArgs{UnaryOp::gelu, rows.ref, soft.ref});
    optim.param = param.ref, optim.grad = grad.ref, optim.state0 = m.ref, optim.state1 = v.ref;
    optim.lr = 0.01;
    AdamArgs adam;
    adam.params = &optim, adam.count = 1;
    run_on_cpu(adam);
    TensorRef total;
    total.data = &norm, total.dtype = DType::f64;
    const TensorRef tensors[] = {rows.ref, gw.ref, param.ref};
    run_on_cpu(SquaredNormArgs{tensors, 3, total});
  }
  std::vector<std::vector<float>> results() const {
    return {y.values,      gx.values,    gw.values,     gbias.values, z.values,       mean.values,  gz.values,
            ggamma.values, gbeta.values, column.values, all.values,   product.values, param.values, soft.values};
  }
};

TEST(CpuBackendTest, ResultsDoNotDependOnTheThreadCount) {
  std::vector<std::vector<std::vector<float>>> results;
  std::vector<double> norms;
  for (const int threads : {1, 2, 3, 5}) {
    const ThreadCount scope(threads);
    Work work;
    work.v.values.assign(work.v.values.size(), 0.25f);
    work.with_onednn();
    work.with_our_kernels();
    results.push_back(work.results());
    norms.push_back(work.norm);
  }
  for (std::size_t i = 1; i < results.size(); ++i) {
    for (std::size_t k = 0; k < results[i].size(); ++k)
      EXPECT_EQ(std::memcmp(results[i][k].data(), results[0][k].data(), results[0][k].size() * sizeof(float)), 0)
          << "result " << k << ", run " << i;
    EXPECT_EQ(norms[i], norms[0]);
  }
}

TEST(CpuBackendTest, TheSteadyStateAsksTheSystemForNothing) {
  Work work;
  for (int i = 0; i < 2; ++i) {
    work.with_onednn();
    work.with_our_kernels();
  }
  const std::uint64_t before = runtime::host_memory_stats().system_calls;
  for (int i = 0; i < 3; ++i) {
    work.with_onednn();
    work.with_our_kernels();
  }
  EXPECT_EQ(runtime::host_memory_stats().system_calls, before);
}

TEST(CpuBackendTest, ThreadsHaveCachesOfTheirOwnAndGiveThemBack) {
  const ThreadCount one(1);
  Work first;
  first.with_onednn();
  const std::size_t held = runtime::host_memory_stats().in_use;
  std::vector<std::vector<std::vector<float>>> results(4);
  for (int round = 0; round < 2; ++round) {
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 2; ++t)
      threads.emplace_back([&results, index = 2 * static_cast<std::size_t>(round) + t] {
        Work work;
        work.with_onednn();
        results[index] = {work.y.values, work.gx.values, work.gw.values, work.product.values};
      });
    for (std::thread& thread : threads) thread.join();
  }
  const std::vector<std::vector<float>> expected = {first.y.values, first.gx.values, first.gw.values,
                                                    first.product.values};
  for (const auto& result : results) EXPECT_EQ(result, expected);
  EXPECT_EQ(runtime::host_memory_stats().in_use, held) << "packed weights of a thread outlived it";
}

std::vector<const cpu::VectorKernels*> instruction_sets() {
  std::vector<const cpu::VectorKernels*> sets = {&cpu::baseline::kernels};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sets.push_back(&cpu::avx2::kernels);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    sets.push_back(&cpu::avx512::kernels);
#endif
  return sets;
}

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

struct Function {
  UnaryOp op;
  double (*truth)(double);
  float low, high;
};

TEST(CpuVectorMathTest, IsWithinAFewUlpOnEveryInstructionSet) {
  const Function functions[] = {
      {UnaryOp::exp, [](double x) { return std::exp(x); }, -87, 88.7f},
      {UnaryOp::log, [](double x) { return std::log(x); }, 1e-38f, 50},
      {UnaryOp::tanh, [](double x) { return std::tanh(x); }, -12, 12},
      {UnaryOp::sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, -80, 80},
      {UnaryOp::gelu, [](double x) { return x * normal_cdf(x); }, -4, 12},
      {UnaryOp::silu, [](double x) { return x / (1 + std::exp(-x)); }, -60, 60},
  };
  constexpr int kCount = 20011;  // no multiple of a vector: the tail is tested too
  std::vector<float> x(kCount), y(kCount);
  for (const cpu::VectorKernels* kernels : instruction_sets())
    for (const Function& f : functions) {
      for (int i = 0; i < kCount; ++i)
        x[static_cast<std::size_t>(i)] = f.low + (f.high - f.low) * static_cast<float>(i) / (kCount - 1);
      kernels->unary(static_cast<int>(f.op), x.data(), {0, 1}, y.data(), {0, 1}, 1, kCount);
      double worst = 0;
      for (int i = 0; i < kCount; ++i) {
        const auto u = static_cast<std::size_t>(i);
        const double want = f.truth(static_cast<double>(x[u]));
        // Far below zero gelu is x times a vanishing tail: there its error counts beside x.
        const float near =
            std::max(std::fabs(static_cast<float>(want)), f.op == UnaryOp::gelu ? std::fabs(x[u]) / 8 : 0.0f);
        const double ulp = static_cast<double>(std::nextafter(near, std::numeric_limits<float>::infinity()) - near);
        worst = std::max(worst, std::fabs(static_cast<double>(y[u]) - want) / ulp);
      }
      RecordProperty(std::string(kernels->name) + "_" + name(f.op), std::to_string(worst));
      EXPECT_LT(worst, 4) << kernels->name << " " << name(f.op);
    }
}

TEST(CpuVectorMathTest, KeepsTheSpecialValues) {
  constexpr float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const float tiny = std::numeric_limits<float>::denorm_min();
  for (const cpu::VectorKernels* kernels : instruction_sets()) {
    auto value = [&](UnaryOp op, float x) {
      float y = 0;
      kernels->unary(static_cast<int>(op), &x, {0, 1}, &y, {0, 1}, 1, 1);
      return y;
    };
    for (const UnaryOp op : {UnaryOp::exp, UnaryOp::log, UnaryOp::tanh, UnaryOp::sigmoid, UnaryOp::gelu, UnaryOp::relu,
                             UnaryOp::relu6, UnaryOp::silu, UnaryOp::hardswish, UnaryOp::gelu_tanh})
      EXPECT_TRUE(std::isnan(value(op, nan))) << kernels->name << " " << name(op);
    EXPECT_EQ(value(UnaryOp::exp, inf), inf);
    EXPECT_EQ(value(UnaryOp::exp, -inf), 0);
    EXPECT_EQ(value(UnaryOp::exp, 0), 1);
    EXPECT_NEAR(value(UnaryOp::exp, -95) / std::exp(-95.0f), 1, 1e-4) << "a subnormal result";
    EXPECT_EQ(value(UnaryOp::log, 0), -inf);
    EXPECT_EQ(value(UnaryOp::log, inf), inf);
    EXPECT_TRUE(std::isnan(value(UnaryOp::log, -1)));
    EXPECT_FLOAT_EQ(value(UnaryOp::log, tiny), std::log(tiny)) << "a subnormal argument";
    EXPECT_EQ(value(UnaryOp::tanh, inf), 1);
    EXPECT_EQ(value(UnaryOp::tanh, -inf), -1);
    EXPECT_EQ(value(UnaryOp::tanh, tiny), tiny);
    EXPECT_EQ(value(UnaryOp::sigmoid, -inf), 0);
    EXPECT_EQ(value(UnaryOp::sigmoid, inf), 1);
  }
}

TEST(CpuInstructionSetsTest, AgreeOnSumsAndMoments) {
  const Owned x({333, 37}, false, 12);
  const auto sets = instruction_sets();
  for (const cpu::VectorKernels* kernels : sets) {
    EXPECT_NEAR(kernels->sum(x.values.data(), 333 * 37), sets[0]->sum(x.values.data(), 333 * 37), 1e-3)
        << kernels->name;
    EXPECT_NEAR(kernels->sum_of_squares(x.values.data(), 333 * 37), sets[0]->sum_of_squares(x.values.data(), 333 * 37),
                1e-9);
    std::vector<float> mean(37), m2(37), mean0(37), m20(37);
    kernels->column_moments(x.values.data(), 333, 37, mean.data(), m2.data());
    sets[0]->column_moments(x.values.data(), 333, 37, mean0.data(), m20.data());
    for (std::size_t i = 0; i < 37; ++i) {
      EXPECT_NEAR(mean[i], mean0[i], 1e-6) << kernels->name << " column " << i;
      EXPECT_NEAR(m2[i], m20[i], 1e-3) << kernels->name << " column " << i;
    }
    std::vector<float> dropped(1000), dropped0(1000);
    kernels->dropout(5, 6, 64, 1 << 22, 0.75, x.values.data(), dropped.data(), 1000);
    sets[0]->dropout(5, 6, 64, 1 << 22, 0.75, x.values.data(), dropped0.data(), 1000);
    EXPECT_EQ(dropped, dropped0) << kernels->name;
  }
}

// Parts of a tensor, and shares of several threads, begin at any float: vectors may not ask for more. (The mask's bytes
// begin anywhere.) The results are those of data that begin at a cache line.
TEST(CpuInstructionSetsTest, TakeDataOfAnyAlignment) {
  constexpr std::int64_t kCount = 4099;
  struct alignas(64) Memory {
    float p[kCount + 16], g[kCount + 16], m[kCount + 16], v[kCount + 16], y[kCount + 16];
    std::uint8_t mask[kCount + 16];
  };
  cpu::AdamStep step{0.9f, 0.1f, 0.99f, 0.01f, 1e-8f, 1, 0.01f, 0.9f, 0.1f, 1};
  // The parameters and the relu of the gradient after a step, from data that begin `offset` floats after a line.
  const auto results = [&](const cpu::VectorKernels& kernels, std::int64_t offset, std::int64_t grain) {
    const auto memory = std::make_unique<Memory>();
    for (std::int64_t i = 0; i < kCount; ++i) {
      const auto number = static_cast<float>(i * 7919 % 1000) / 500 - 1;
      memory->p[i + offset] = number;
      memory->g[i + offset] = 1 - number;
      memory->mask[i + offset] = i % 3 != 0;
    }
    parallel_for(kCount, grain, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t at = offset + begin;
      kernels.adam(step, memory->p + at, memory->g + at, memory->m + at, memory->v + at, memory->mask + at,
                   end - begin);
      kernels.unary(static_cast<int>(UnaryOp::relu), memory->g + at, {0, 1}, memory->y + at, {0, 1}, 1, end - begin);
    });
    std::vector<float> all(memory->p + offset, memory->p + offset + kCount);
    all.insert(all.end(), memory->y + offset, memory->y + offset + kCount);
    return all;
  };
  const ThreadCount threads(3);
  for (const cpu::VectorKernels* kernels : instruction_sets()) {
    const std::vector<float> aligned = results(*kernels, 0, kCount);
    for (std::int64_t offset = 0; offset < 16; ++offset)
      EXPECT_EQ(results(*kernels, offset, kCount / 3), aligned) << kernels->name << ", " << offset << " floats further";
  }
}

}  // namespace
}  // namespace graft::kernels

#endif  // GRAFT_WITH_ONEDNN
