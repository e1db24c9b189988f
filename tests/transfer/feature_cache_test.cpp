#include "transfer/toy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <graft/kernels/registry/registry.h>

namespace graft::transfer {
namespace {

using test::kNormalization;
using test::toy_net;
using test::toy_set;
using ::testing::HasSubstr;

TEST(FlatChain, OpensNestedChains) {
  auto inner = std::make_shared<Sequential>(
      std::vector<std::shared_ptr<Module>>{std::make_shared<Linear>(4, 4), std::make_shared<Dropout>(0.5)});
  Sequential net;
  net.append("block", inner).append("fc", std::make_shared<Linear>(4, 2));
  const Chain chain = flat_chain(net);
  ASSERT_EQ(chain.size(), 3u);
  EXPECT_EQ(chain[0].first, "block.0");
  EXPECT_EQ(chain[1].first, "block.1");
  EXPECT_EQ(chain[2].first, "fc");
}

TEST(FrozenPrefix, EndsWhereSomethingTrains) {
  auto net = toy_net(3, 1);
  net->eval();
  std::string reason;
  EXPECT_EQ(frozen_prefix(flat_chain(*net), &reason), 0u);
  EXPECT_THAT(reason, HasSubstr("'conv1' trains"));
  for (const char* name : {"conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias"})
    net->parameter(name).requires_grad_(false);
  EXPECT_EQ(frozen_prefix(flat_chain(*net), &reason), 5u);
  EXPECT_THAT(reason, HasSubstr("'fc1' trains"));
}

TEST(FrozenPrefix, EndsAtDropoutInTraining) {
  auto net = toy_net(3, 1);
  for (const Tensor& p : net->parameters()) Tensor(p).requires_grad_(false);
  net->eval();
  EXPECT_EQ(frozen_prefix(flat_chain(*net)), 8u);  // all but the last part
  net->get("drop1").train();
  std::string reason;
  EXPECT_EQ(frozen_prefix(flat_chain(*net), &reason), 3u);
  EXPECT_THAT(reason, HasSubstr("'drop1'"));
}

TEST(FeatureCache, GivesWhatThePartsGive) {
  auto net = toy_net(3, 1);
  net->eval();
  const data::Dataset images = toy_set(3, 5);
  FeatureCache cache;
  const Chain chain = flat_chain(*net);
  // A batch size that does not divide the set.
  const Tensor features = cache.get(chain, 8, images, kNormalization, 4);
  NoGrad no_grad;
  const Tensor expected = apply(chain, 0, 8, data::normalized(images.images, kNormalization));
  ASSERT_EQ(features.shape(), expected.shape());
  const auto a = features.to_vector<float>(), b = expected.to_vector<float>();
  // The batch size may change the order of a product's sums: a few roundings of values below 10.
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-5f);
}

class Invalidation : public ::testing::Test {
 protected:
  void SetUp() override {
    net->eval();
    cache.get(flat_chain(*net), 8, images, kNormalization);
  }
  /// True when the next get computes anew.
  bool recomputes(const data::Normalization& normalization = kNormalization, std::size_t prefix = 8) {
    const std::uint64_t before = cache.misses();
    cache.get(flat_chain(*net), prefix, images, normalization);
    return cache.misses() > before;
  }
  std::shared_ptr<Sequential> net = toy_net(3, 1);
  data::Dataset images = toy_set(3, 5);
  FeatureCache cache;
};

TEST_F(Invalidation, NothingChanged) {
  EXPECT_FALSE(recomputes());
  EXPECT_EQ(cache.hits(), 1u);
}
TEST_F(Invalidation, TheHeadIsNoPartOfIt) {
  NoGrad no_grad;
  net->parameter("fc.weight").fill_(1);
  EXPECT_FALSE(recomputes());
}
TEST_F(Invalidation, AWeightChangedInPlace) {
  NoGrad no_grad;
  net->parameter("conv1.weight").mul_(2);
  EXPECT_TRUE(recomputes());
  EXPECT_FALSE(recomputes());
}
TEST_F(Invalidation, AWeightChangedThroughAPointer) {
  net->parameter("conv1.weight").data<float>()[0] = 5;
  EXPECT_TRUE(recomputes());
}
TEST_F(Invalidation, ABufferChanged) {
  dynamic_cast<BatchNorm2d&>(net->get("bn1")).running_var.fill_(2);
  EXPECT_TRUE(recomputes());
}
TEST_F(Invalidation, APixelChanged) {
  images.images.data<std::uint8_t>()[100] ^= 255;
  EXPECT_TRUE(recomputes());
}
TEST_F(Invalidation, AnotherNormalization) { EXPECT_TRUE(recomputes({0, 255})); }
TEST_F(Invalidation, AnotherPrefix) { EXPECT_TRUE(recomputes(kNormalization, 7)); }
TEST_F(Invalidation, AnotherDatasetIsKeptBesideIt) {
  const data::Dataset other = toy_set(3, 5, 100);
  cache.get(flat_chain(*net), 8, other, kNormalization);
  EXPECT_EQ(cache.misses(), 2u);
  EXPECT_FALSE(recomputes());
}

TEST(FeatureCache, OverItsLimitGivesNothing) {
  auto net = toy_net(3, 1);
  net->eval();
  FeatureCache cache(15 * 32 * sizeof(float) - 1);
  EXPECT_FALSE(cache.get(flat_chain(*net), 8, toy_set(3, 5), kNormalization).defined());
}

// --- in training
// ------------------------------------------------------------------------------------------------------

struct Outcome {
  std::vector<float> weight, bias;
  TrainResult result;
  std::vector<std::string> log;
};

Outcome tune_head(bool cached, std::int64_t batch_size, const std::function<void(FineTuneOptions&)>& change = {}) {
  auto net = toy_net(4, 3);
  const data::Dataset images = toy_set(4, 16);
  net->forward(data::normalized(images.images, kNormalization));
  Outcome outcome;
  FineTuneOptions options;
  options.steps = 20;
  options.batch_size = batch_size;
  options.normalization = kNormalization;
  options.use_cache = cached;
  options.log = [&](const std::string& line) { outcome.log.push_back(line); };
  if (change) change(options);
  outcome.result = fine_tune(*net, images, toy_set(4, 8, 500), options);
  outcome.weight = net->parameter("fc.weight").to_vector<float>();
  outcome.bias = net->parameter("fc.bias").to_vector<float>();
  return outcome;
}

class CachedTraining : public ::testing::TestWithParam<std::int64_t> {};

TEST_P(CachedTraining, GivesTheSameHeadAsUncached) {
  const Outcome with = tune_head(true, GetParam()), without = tune_head(false, GetParam());
  EXPECT_TRUE(with.result.cached);
  EXPECT_FALSE(without.result.cached);
  EXPECT_EQ(with.result.cached_parts, 8u);
  ASSERT_EQ(with.weight.size(), without.weight.size());
  // Twenty steps of rate 0.05: Adam divides by the gradient's size, so a rounding of 1e-7 in a feature may move a
  // weight by as much as 1e-4 of its step.
  for (std::size_t i = 0; i < with.weight.size(); ++i) EXPECT_NEAR(with.weight[i], without.weight[i], 1e-3f) << i;
  EXPECT_NEAR(with.result.accuracy, without.result.accuracy, 1.0 / 32 + 1e-9);  // at most one picture on the edge
}

INSTANTIATE_TEST_SUITE_P(BatchSizes, CachedTraining, ::testing::Values(16, 24, 64));

TEST(CachedTraining, SaysSoInTheLog) {
  const Outcome with = tune_head(true, 16);
  ASSERT_EQ(with.log.size(), 1u);
  EXPECT_THAT(with.log[0], HasSubstr("feature cache: on, the first 8 of 9 parts are frozen"));
  EXPECT_THAT(tune_head(false, 16).log.at(0), HasSubstr("as asked"));
}

TEST(CachedTraining, RunsThePrefixOnceAnImageOnly) {
  kernels::reset_kernel_counts();
  tune_head(true, 16);
  // One batch of 64 training and one of 32 validation images, and the forward of tune_head itself.
  EXPECT_EQ(kernels::kernel_calls("conv2d_forward"), 3u);
}

TEST(CachedTraining, AugmentationRulesItOut) {
  const Outcome outcome =
      tune_head(true, 16, [](FineTuneOptions& o) { o.augment = data::AffineAugment::handwriting(); });
  EXPECT_FALSE(outcome.result.cached);
  EXPECT_THAT(outcome.log.at(0), HasSubstr("augmentation changes the pictures"));
}

TEST(CachedTraining, ACallersCacheServesTwoRuns) {
  auto net = toy_net(4, 3);
  const data::Dataset images = toy_set(4, 8);
  FeatureCache cache;
  FineTuneOptions options;
  options.steps = 3;
  options.normalization = kNormalization;
  options.cache = &cache;
  fine_tune(*net, images, {}, options);
  fine_tune(*net, images, {}, options);
  EXPECT_EQ(cache.misses(), 1u);
  EXPECT_EQ(cache.hits(), 1u);
}

TEST(CachedTraining, AnOpaqueModuleIsTrainedWithoutIt) {
  struct Opaque final : Module {
    std::shared_ptr<Sequential> inner = add("net", test::toy_net(4, 3));
    Opaque() { set_head("net.fc"); }
    Tensor forward(const Tensor& x) override { return inner->forward(x); }
    std::string describe() const override { return "Opaque"; }
  } net;
  std::string logged;
  FineTuneOptions options;
  options.steps = 2;
  options.normalization = kNormalization;
  options.log = [&](const std::string& line) { logged = line; };
  const TrainResult result = fine_tune(net, toy_set(4, 8), {}, options);
  EXPECT_FALSE(result.cached);
  EXPECT_THAT(logged, HasSubstr("not a chain of parts"));
  EXPECT_TRUE(result.frozen.intact());
}

}  // namespace
}  // namespace graft::transfer
