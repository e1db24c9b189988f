#include "transfer/toy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace graft::transfer {
namespace {

using test::bytes_of;
using test::error_of;
using test::kNormalization;
using test::toy_net;
using test::toy_set;
using ::testing::HasSubstr;

TrainOptions quick(std::int64_t steps) {
  TrainOptions options;
  options.steps = steps;
  options.batch_size = 16;
  options.normalization = kNormalization;
  return options;
}

TEST(Train, LearnsGlyphs) {
  auto net = toy_net(4, 1, 0.1);
  const TrainResult result = train(*net, toy_set(4, 40), toy_set(4, 20, 1000), quick(150));
  EXPECT_GT(result.accuracy, 0.85);  // chance is 0.25
  EXPECT_EQ(result.steps, 150);
  EXPECT_LT(result.curve.back().loss, 0.5 * result.curve.front().loss);
  EXPECT_FALSE(net->is_training());
}

TEST(Train, TheSameSeedGivesTheSameBytes) {
  const data::Dataset images = toy_set(4, 10);
  std::vector<std::vector<std::pair<std::string, std::vector<std::uint8_t>>>> runs;
  for (const int threads : {0, 1, 2}) {
    auto net = toy_net(4, 1);
    TrainOptions options = quick(5);
    options.augment = data::AffineAugment::handwriting();
    options.loader_threads = threads;
    train(*net, images, {}, options);
    runs.push_back(bytes_of(*net));
  }
  EXPECT_EQ(runs[0], runs[1]);
  EXPECT_EQ(runs[0], runs[2]);
}

TEST(Train, AnotherSeedGivesAnotherOrder) {
  const data::Dataset images = toy_set(4, 10);
  std::vector<double> losses;
  for (const std::uint64_t seed : {1u, 2u}) {
    auto net = toy_net(4, 1);
    TrainOptions options = quick(1);
    options.seed = seed;
    losses.push_back(train(*net, images, {}, options).curve.at(0).loss);
  }
  EXPECT_NE(losses[0], losses[1]);
}

TEST(Train, EpochsAndStepsCountTheSame) {
  auto net = toy_net(4, 1);
  TrainOptions options = quick(0);
  options.epochs = 3;
  EXPECT_EQ(train(*net, toy_set(4, 10), {}, options).steps, 6);  // 40 images: two whole batches of 16
}

TEST(Train, ABatchLargerThanTheSetIsTheSet) {
  auto net = toy_net(4, 1);
  TrainOptions options = quick(2);
  options.batch_size = 1000;
  EXPECT_EQ(train(*net, toy_set(4, 5), {}, options).steps, 2);
}

TEST(Train, StopsWhenAskedAndKeepsWhatItHas) {
  auto net = toy_net(4, 1);
  TrainOptions options = quick(100);
  int asked = 0;
  options.stop = [&] { return ++asked > 7; };
  const TrainResult result = train(*net, toy_set(4, 10), toy_set(4, 5, 99), options);
  EXPECT_TRUE(result.interrupted);
  EXPECT_EQ(result.steps, 7);
  EXPECT_GE(result.accuracy, 0);
}

TEST(Train, PatienceStopsEarly) {
  auto net = toy_net(4, 1);
  TrainOptions options = quick(1000);
  options.lr = 1e-12;  // nothing gets better
  options.evaluate_every = 2;
  options.patience = 3;
  const TrainResult result = train(*net, toy_set(4, 10), toy_set(4, 5, 99), options);
  EXPECT_TRUE(result.stopped_early);
  EXPECT_LT(result.steps, 100);
}

TEST(Train, RestoresTheBestWeights) {
  auto net = toy_net(4, 1, 0);
  TrainOptions options = quick(60);
  options.evaluate_every = 5;
  options.restore_best = true;
  options.optimizer = OptimizerKind::sgd;
  options.momentum = 0;
  options.lr = 0.1;
  // From step 40 on the rate ruins what was learnt.
  options.schedule = [](std::int64_t step) { return step < 40 ? 1.0 : 200.0; };
  const data::Dataset valid = toy_set(4, 10, 99);
  const TrainResult result = train(*net, toy_set(4, 10), valid, options);
  double best = 0;
  for (const TrainPoint& point : result.curve) best = std::max(best, point.accuracy);
  EXPECT_EQ(result.accuracy, best);
  EXPECT_DOUBLE_EQ(evaluate(*net, valid, kNormalization).accuracy, best);
}

TEST(Train, ReportsProgressOfEveryStep) {
  auto net = toy_net(4, 1);
  TrainOptions options = quick(5);
  options.phase = "warm-up";
  std::vector<std::int64_t> steps;
  options.progress = [&](const Progress& p) {
    steps.push_back(p.step);
    EXPECT_EQ(p.phase, "warm-up");
    EXPECT_EQ(p.steps, 5);
    EXPECT_GT(p.images_per_second, 0);
  };
  train(*net, toy_set(4, 10), {}, options);
  EXPECT_EQ(steps, (std::vector<std::int64_t>{1, 2, 3, 4, 5}));
}

TEST(Train, ALossThatIsNotFiniteIsAnErrorThatSaysWhere) {
  auto net = toy_net(4, 1);
  {
    NoGrad no_grad;
    net->parameter("fc.weight").fill_(std::numeric_limits<double>::quiet_NaN());
  }
  EXPECT_THAT(error_of([&] { train(*net, toy_set(4, 10), {}, quick(3)); }), HasSubstr("at step 1"));
}

TEST(Train, RefusesOptionsOutOfRange) {
  auto net = toy_net(4, 1);
  const data::Dataset images = toy_set(4, 5);
  const auto refused = [&](const std::function<void(TrainOptions&)>& change) {
    TrainOptions options = quick(1);
    change(options);
    return error_of([&] { train(*net, images, {}, options); });
  };
  EXPECT_THAT(refused([](auto& o) { o.steps = 0; }), HasSubstr("exactly one of steps and epochs"));
  EXPECT_THAT(refused([](auto& o) { o.epochs = 1; }), HasSubstr("exactly one of steps and epochs"));
  EXPECT_THAT(refused([](auto& o) { o.batch_size = 0; }), HasSubstr("batch_size"));
  EXPECT_THAT(refused([](auto& o) { o.lr = 0; }), HasSubstr("lr"));
  EXPECT_THAT(refused([](auto& o) { o.mask.freeze("nobody"); }), HasSubstr("matches no parameter"));
  EXPECT_THAT(refused([](auto& o) { o.feature_norm = 8; }), HasSubstr("feature_norm"));
  EXPECT_THAT(error_of([&] { train(*net, data::Dataset{}, {}, quick(1)); }), ::testing::Not(""));
}

TEST(Train, LabelsBeyondTheNetworksOutputsAreAnError) {
  auto net = toy_net(3, 1);
  EXPECT_THAT(error_of([&] { train(*net, toy_set(4, 5), {}, quick(1)); }), HasSubstr("target"));
}

// --- evaluation
// -------------------------------------------------------------------------------------------------------

TEST(Evaluate, KeepsTheModesAndTheStatistics) {
  auto net = toy_net(4, 1);
  net->get("bn1").eval();
  const auto before = bytes_of(*net);
  evaluate(*net, toy_set(4, 5), kNormalization, 7);
  EXPECT_TRUE(net->is_training());
  EXPECT_TRUE(net->get("bn2").is_training());
  EXPECT_FALSE(net->get("bn1").is_training());
  EXPECT_EQ(bytes_of(*net), before);
}

TEST(Evaluate, CountsAsTheConfusionMatrixDoes) {
  auto net = toy_net(4, 1);
  const data::Dataset images = toy_set(4, 9);
  const Evaluation e = evaluate(*net, images, kNormalization, 8);
  const auto counts = confusion_matrix(e, images);
  std::int64_t all = 0, diagonal = 0;
  for (int i = 0; i < 16; ++i) all += counts[static_cast<std::size_t>(i)];
  for (int i = 0; i < 4; ++i) diagonal += counts[static_cast<std::size_t>(5 * i)];
  EXPECT_EQ(all, 36);
  EXPECT_DOUBLE_EQ(e.accuracy, static_cast<double>(diagonal) / 36);
  EXPECT_EQ(e.predictions.size(), 36u);
  for (float c : e.confidences) {
    EXPECT_GE(c, 0.25f);  // the largest of four
    EXPECT_LE(c, 1.f);
  }
}

TEST(Evaluate, TooFewOutputsAreAnError) {
  auto net = toy_net(3, 1);
  EXPECT_THAT(error_of([&] { evaluate(*net, toy_set(4, 2), kNormalization); }), HasSubstr("3 outputs"));
}

// --- strategies
// -------------------------------------------------------------------------------------------------------

TEST(FineTune, BeatsScratchOnFewLabels) {
  auto source = toy_net(60, 1, 0.1);
  TrainOptions pretraining = quick(400);
  pretraining.batch_size = 64;
  pretraining.lr = 3e-3;
  train(*source, toy_set(60, 40), {}, pretraining);

  // Other glyphs, three labels each.
  data::Dataset all = data::make_strokes({.classes = 8, .images = 8 * 53, .seed = 99});
  const data::Dataset labelled = data::stratified_subset(all, 3, 1);
  std::vector<std::int64_t> rest;
  for (std::int64_t i = 8 * 3; i < all.size(); ++i) rest.push_back(i);
  const data::Dataset test = data::subset(all, rest);

  FineTuneOptions options;
  options.normalization = kNormalization;
  auto net = toy_net(8, 2, 0.1);
  copy_backbone(*source, *net);
  const double transferred = fine_tune(*net, labelled, test, options).accuracy;
  auto random = toy_net(8, 2, 0.1);
  const double untrained = fine_tune(*random, labelled, test, options).accuracy;
  EXPECT_GT(transferred, untrained + 0.05);
}

TEST(FineTune, FoldsTheFeatureScaleIntoTheHead) {
  auto net = toy_net(4, 3);
  const data::Dataset images = toy_set(4, 8), valid = toy_set(4, 8, 50);
  FineTuneOptions options;
  options.steps = 30;
  options.normalization = kNormalization;
  const TrainResult result = fine_tune(*net, images, valid, options);
  // The network as it is now gives what was measured on scaled features.
  EXPECT_DOUBLE_EQ(evaluate(*net, valid, kNormalization).accuracy, result.accuracy);
}

TEST(FineTune, HeadThenAllCountsBothPhases) {
  auto net = toy_net(4, 3);
  FineTuneOptions options;
  options.strategy = Strategy::head_then_all;
  options.steps = 10;
  options.normalization = kNormalization;
  const TrainResult result = fine_tune(*net, toy_set(4, 8), {}, options);
  EXPECT_EQ(result.steps, 210);
  EXPECT_EQ(result.curve.back().step, 210);
}

TEST(FineTune, StrategiesHaveNames) {
  for (const Strategy s : {Strategy::head_only, Strategy::all_layers, Strategy::head_then_all})
    EXPECT_EQ(parse_strategy(name(s)), s);
  EXPECT_THAT(error_of([] { parse_strategy("half"); }), HasSubstr("head_only, all_layers or head_then_all"));
}

TEST(FineTune, NeedsAHead) {
  Sequential net;
  net.append("fc", std::make_shared<Linear>(784, 4));
  EXPECT_THAT(error_of([&] { fine_tune(net, toy_set(4, 2), {}); }), HasSubstr("names no head"));
}

TEST(FineTune, TheReadmesTenLines) {
  auto source = models::strokes_net({.num_classes = 12});
  auto net = models::strokes_net({.num_classes = 4});
  const CopyReport copied = copy_backbone(*source, *net);
  EXPECT_TRUE(copied.complete());
  FineTuneOptions options;
  options.strategy = Strategy::all_layers;
  options.steps = 3;
  options.normalization = kNormalization;
  options.augment = data::AffineAugment::handwriting();
  const TrainResult result = fine_tune(*net, toy_set(4, 5), toy_set(4, 5, 9), options);
  EXPECT_EQ(result.steps, 3);
}

}  // namespace
}  // namespace graft::transfer
