#include "transfer/toy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace graft::transfer {
namespace {

using test::bytes_of;
using test::error_of;
using test::toy_net;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(BelongsTo, NamesOfALayerEndAtADot) {
  EXPECT_TRUE(belongs_to("fc.weight", "fc"));
  EXPECT_TRUE(belongs_to("classifier.6.bias", "classifier.6"));
  EXPECT_FALSE(belongs_to("fc1.weight", "fc"));
  EXPECT_FALSE(belongs_to("fc", "fc"));
  EXPECT_FALSE(belongs_to("fc.weight", ""));
}

TEST(CopyBackbone, CopiesAllButTheHeadByteForByte) {
  auto source = toy_net(20, 1), target = toy_net(5, 2);
  const auto before = bytes_of(*target);
  const CopyReport report = copy_backbone(*source, *target);
  EXPECT_TRUE(report.complete());
  EXPECT_THAT(report.skipped, ElementsAre("fc.weight", "fc.bias"));
  EXPECT_EQ(report.copied.size(), target->state_dict().size() - 2);
  const auto from = bytes_of(*source), after = bytes_of(*target);
  for (std::size_t i = 0; i < after.size(); ++i)
    EXPECT_EQ(after[i].second, belongs_to(after[i].first, "fc") ? before[i].second : from[i].second) << after[i].first;
}

TEST(CopyBackbone, CountsTheParametersItCopied) {
  auto source = toy_net(20, 1), target = toy_net(5, 2);
  std::int64_t expected = 0;
  for (const auto& [name, tensor] : target->named_parameters())
    if (!belongs_to(name, "fc")) expected += tensor.numel();
  EXPECT_EQ(copy_backbone(*source, *target).parameters, expected);
}

TEST(CopyBackbone, CopiesTheRunningStatistics) {
  auto source = toy_net(3, 1), target = toy_net(3, 2);
  source->forward(rand({4, 1, 28, 28}));
  copy_backbone(*source, *target);
  const auto mean = [](Module& m) { return dynamic_cast<BatchNorm2d&>(m.get("bn1")).running_mean.to_vector<float>(); };
  EXPECT_EQ(mean(*source), mean(*target));
  EXPECT_NE(mean(*target), std::vector<float>(8, 0.f));
}

TEST(CopyBackbone, TheCopyIsIndependent) {
  auto source = toy_net(3, 1), target = toy_net(3, 2);
  copy_backbone(*source, *target);
  const auto kept = bytes_of(*target);
  NoGrad no_grad;
  source->parameter("conv1.weight").fill_(9);
  EXPECT_EQ(bytes_of(*target), kept);
}

TEST(CopyBackbone, ResNetStyleHeadDeepInTheTree) {
  const auto make = [](std::int64_t classes, std::uint64_t seed) {
    manual_seed(seed);
    auto classifier = std::make_shared<Sequential>(
        std::vector<std::shared_ptr<Module>>{std::make_shared<Linear>(4, 6), std::make_shared<Linear>(6, classes)});
    auto net = std::make_shared<Sequential>();
    net->append("classifier", classifier);
    net->set_head("classifier.1");
    return net;
  };
  auto source = make(7, 1), target = make(2, 2);
  const CopyReport report = copy_backbone(*source, *target);
  EXPECT_THAT(report.copied, ElementsAre("classifier.0.weight", "classifier.0.bias"));
  EXPECT_THAT(report.skipped, ElementsAre("classifier.1.weight", "classifier.1.bias"));
}

TEST(CopyBackbone, AMismatchNamesBothShapesAndChangesNothing) {
  auto source = toy_net(3, 1);
  auto target = std::make_shared<Sequential>();
  target->append("conv1", std::make_shared<Conv2d>(1, 16, 3));
  target->append("fc", std::make_shared<Linear>(32, 3));
  target->set_head("fc");
  const auto before = bytes_of(*target);
  const std::string text = error_of([&] { copy_backbone(*source, *target); });
  EXPECT_THAT(text, HasSubstr("conv1.weight is (8, 1, 3, 3) in the source, (16, 1, 3, 3) in the target"));
  EXPECT_THAT(text, HasSubstr("unexpected in the source: bn1.weight"));
  EXPECT_THAT(text, HasSubstr("nothing was changed"));
  EXPECT_EQ(bytes_of(*target), before);
}

TEST(CopyBackbone, PartialCopiesWhatFitsAndReportsTheRest) {
  auto source = toy_net(3, 1);
  auto target = std::make_shared<Sequential>();
  target->append("conv1", std::make_shared<Conv2d>(1, 8, 3));
  target->append("extra", std::make_shared<Linear>(2, 2));
  target->append("fc1", std::make_shared<Linear>(10, 32));
  target->append("fc", std::make_shared<Linear>(32, 3));
  target->set_head("fc");
  const CopyReport report = copy_backbone(*source, *target, CopyStrictness::partial);
  EXPECT_THAT(report.copied, ElementsAre("conv1.weight", "conv1.bias", "fc1.bias"));
  EXPECT_THAT(report.missing, ElementsAre("extra.weight", "extra.bias"));
  ASSERT_EQ(report.mismatched.size(), 1u);
  EXPECT_EQ(report.mismatched[0].name, "fc1.weight");
  EXPECT_FALSE(report.complete());
  EXPECT_THAT(report.summary(), HasSubstr("copied 3 tensors"));
}

TEST(CopyBackbone, FromAStateDictWithAnotherHead) {
  auto source = toy_net(20, 1), target = toy_net(5, 2);
  NamedTensors state = source->state_dict();
  for (auto& [name, tensor] : state)
    if (belongs_to(name, "fc")) name = "head" + name.substr(2);
  const CopyReport report = copy_backbone(state, *target, "head");
  EXPECT_TRUE(report.complete()) << report.summary();
  EXPECT_EQ(target->parameter("fc1.weight").to_vector<float>(), source->parameter("fc1.weight").to_vector<float>());
}

TEST(CopyBackbone, RefusesANetworkWithoutAHead) {
  auto source = toy_net(3, 1);
  auto target = std::make_shared<Sequential>();
  target->append("fc", std::make_shared<Linear>(2, 2));
  EXPECT_THAT(error_of([&] { copy_backbone(*source, *target); }), HasSubstr("the target names no head"));
  EXPECT_THAT(error_of([&] { copy_backbone(*target, *source); }), HasSubstr("the source names no head"));
}

TEST(CopyBackbone, RefusesOneModuleTwice) {
  auto net = toy_net(3, 1);
  EXPECT_THAT(error_of([&] { copy_backbone(*net, *net); }), HasSubstr("the same module"));
}

TEST(CopyBackbone, ThroughASafetensorsFile) {
  auto source = toy_net(20, 1), target = toy_net(5, 2);
  const std::string path = ::testing::TempDir() + "graft_copy_test.safetensors";
  save_weights(*source, path);
  copy_backbone(io::read_safetensors(path).tensors, *target);
  EXPECT_EQ(target->parameter("conv1.weight").to_vector<float>(), source->parameter("conv1.weight").to_vector<float>());
  std::remove(path.c_str());
}

}  // namespace
}  // namespace graft::transfer
