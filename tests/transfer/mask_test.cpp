#include "transfer/toy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace graft::transfer {
namespace {

using test::error_of;
using test::toy_net;
using ::testing::HasSubstr;

struct PatternCase {
  const char* pattern;
  const char* text;
  bool expected;
};

class Patterns : public ::testing::TestWithParam<PatternCase> {};

TEST_P(Patterns, Match) { EXPECT_EQ(matches(GetParam().pattern, GetParam().text), GetParam().expected); }

INSTANTIATE_TEST_SUITE_P(Glob, Patterns,
                         ::testing::Values(PatternCase{"*", "", true}, PatternCase{"*", "a.b.c", true},
                                           PatternCase{"conv?", "conv1", true}, PatternCase{"conv?", "conv", false},
                                           PatternCase{"conv?", "conv12", false},
                                           PatternCase{"*.weight", "layer1.0.conv1.weight", true},
                                           PatternCase{"*.weight", "layer1.0.conv1.bias", false},
                                           PatternCase{"layer*.bn*.bias", "layer3.2.bn1.bias", true},
                                           PatternCase{"a*b*c", "aXbXbXc", true}, PatternCase{"a*b*c", "aXbXbX", false},
                                           PatternCase{"", "", true}, PatternCase{"", "a", false},
                                           PatternCase{"**", "ab", true}, PatternCase{"fc", "fc1", false}));

TEST(GradientMask, TheLastMatchingRuleCounts) {
  GradientMask mask;
  mask.freeze("*").set("layer3", 0.5).set("layer3.*.bn*", 0).set("fc", 1);
  EXPECT_EQ(mask.multiplier("layer1.0.conv1.weight"), 0);
  EXPECT_EQ(mask.multiplier("layer3.0.conv1.weight"), 0.5);
  EXPECT_EQ(mask.multiplier("layer3.0.bn1.weight"), 0);
  EXPECT_EQ(mask.multiplier("fc.bias"), 1);
  EXPECT_EQ(GradientMask().multiplier("anything"), 1);
}

TEST(GradientMask, ALayersNameStandsForAllBelowItOnly) {
  GradientMask mask;
  mask.freeze("layer1");
  EXPECT_EQ(mask.multiplier("layer1.0.conv1.weight"), 0);
  EXPECT_EQ(mask.multiplier("layer10.0.conv1.weight"), 1);
}

TEST(GradientMask, RefusesBadMultipliers) {
  GradientMask mask;
  EXPECT_THAT(error_of([&] { mask.set("a", -1); }), HasSubstr("0 or more"));
  EXPECT_THAT(error_of([&] { mask.set("a", std::numeric_limits<double>::quiet_NaN()); }), HasSubstr("finite"));
  EXPECT_THAT(error_of([&] { mask.set("", 1); }), HasSubstr("empty"));
}

TEST(GradientMask, ValidateNamesARuleThatMatchesNothing) {
  auto net = toy_net(3, 1);
  GradientMask mask;
  mask.freeze("covn1");
  EXPECT_THAT(error_of([&] { mask.validate(*net); }), HasSubstr("'covn1' matches no parameter"));
  EXPECT_THAT(error_of([&] { mask.validate(*net); }), HasSubstr("conv1.weight"));
}

TEST(GradientMask, ValidateChecksElementMasks) {
  auto net = toy_net(3, 1);
  GradientMask wrong_shape, wrong_name, wrong_type;
  wrong_shape.set_elements("conv1.weight", Tensor::ones({8, 1, 3, 2}, DType::boolean));
  EXPECT_THAT(error_of([&] { wrong_shape.validate(*net); }), HasSubstr("(8, 1, 3, 3)"));
  wrong_name.set_elements("conv2.weight", Tensor::ones({1}, DType::boolean));
  EXPECT_THAT(error_of([&] { wrong_name.validate(*net); }), HasSubstr("conv2.weight"));
  EXPECT_THAT(error_of([&] { wrong_type.set_elements("conv1.weight", Tensor::ones({1})); }), HasSubstr("bool or u8"));
}

TEST(GradientMask, HeadOnlyFreezesAllButTheHead) {
  auto net = toy_net(3, 1);
  const GradientMask mask = GradientMask::head_only(*net);
  for (const auto& [name, tensor] : net->named_parameters())
    EXPECT_EQ(mask.multiplier(name), name.starts_with("fc.") ? 1 : 0) << name;
}

// --- MaskScope
// --------------------------------------------------------------------------------------------------------

TEST(MaskScope, FreezesAndRestores) {
  auto net = toy_net(3, 1);
  {
    const GradientMask mask = GradientMask::head_only(*net);
    MaskScope scope(*net, mask, false);
    EXPECT_EQ(scope.trainable().size(), 2u);
    for (const auto& [name, tensor] : net->named_parameters())
      EXPECT_EQ(tensor.requires_grad(), name.starts_with("fc.")) << name;
  }
  for (const auto& [name, tensor] : net->named_parameters()) EXPECT_TRUE(tensor.requires_grad()) << name;
  EXPECT_FALSE(net->is_training());
}

TEST(MaskScope, AParameterItsOwnerStoppedStaysStopped) {
  auto net = toy_net(3, 1);
  net->parameter("conv1.weight").requires_grad_(false);
  {
    const GradientMask mask;
    MaskScope scope(*net, mask, false);
    EXPECT_EQ(scope.frozen()[0].first, "conv1.weight");
  }
  EXPECT_FALSE(net->parameter("conv1.weight").requires_grad());
}

TEST(MaskScope, FrozenLayersGoToInferenceAndDropoutBelowThem) {
  auto net = toy_net(3, 1);
  const GradientMask mask = GradientMask::head_only(*net);
  MaskScope scope(*net, mask, false);
  for (const char* name : {"conv1", "bn1", "drop1", "fc1", "bn2"}) EXPECT_FALSE(net->get(name).is_training()) << name;
  EXPECT_TRUE(net->get("fc").is_training());
}

TEST(MaskScope, OnlyWhatIsBelowTheLowestTrainableLayerIsStilled) {
  auto net = toy_net(3, 1);
  GradientMask mask;
  mask.freeze("bn2");
  MaskScope scope(*net, mask, false);
  for (const char* name : {"conv1", "bn1", "drop1", "fc1", "fc"}) EXPECT_TRUE(net->get(name).is_training()) << name;
  EXPECT_FALSE(net->get("bn2").is_training());
}

TEST(MaskScope, BatchNormInferenceKeepsStatisticsButTrainsTheAffinePart) {
  auto net = toy_net(3, 1);
  const GradientMask mask;
  MaskScope scope(*net, mask, true);
  EXPECT_FALSE(net->get("bn1").is_training());
  EXPECT_TRUE(net->parameter("bn1.weight").requires_grad());
  EXPECT_TRUE(net->get("drop1").is_training());
}

TEST(MaskScope, CountsTheBuffersOfStilledLayersAsFrozen) {
  auto net = toy_net(3, 1);
  const GradientMask mask = GradientMask::head_only(*net);
  MaskScope scope(*net, mask, false);
  std::size_t buffers = 0;
  for (const auto& [name, tensor] : scope.frozen()) buffers += name.find("running_") != std::string::npos;
  EXPECT_EQ(buffers, 4u);
}

TEST(MaskScope, RefusesToFreezeEverything) {
  auto net = toy_net(3, 1);
  GradientMask mask;
  mask.freeze("*");
  EXPECT_THAT(error_of([&] { MaskScope scope(*net, mask, false); }), HasSubstr("nothing is left to train"));
  EXPECT_TRUE(net->parameter("fc.weight").requires_grad());
}

// --- checksum
// ---------------------------------------------------------------------------------------------------------

TEST(Checksum, SeesOneBitOneNameAndOneShape) {
  Tensor t = Tensor::zeros({3, 5});
  const std::uint64_t base = checksum({{"w", t}});
  EXPECT_EQ(checksum({{"w", Tensor::zeros({3, 5})}}), base);
  EXPECT_NE(checksum({{"v", t}}), base);
  EXPECT_NE(checksum({{"w", Tensor::zeros({5, 3})}}), base);
  t.data<float>()[14] = -0.0f;
  EXPECT_NE(checksum({{"w", t}}), base);
}

TEST(Checksum, OfAnOddNumberOfBytesSeesTheLastOne) {
  Tensor t = Tensor::zeros({13}, DType::u8);
  const std::uint64_t base = checksum({{"w", t}});
  t.data<std::uint8_t>()[12] = 1;
  EXPECT_NE(checksum({{"w", t}}), base);
}

}  // namespace
}  // namespace graft::transfer
