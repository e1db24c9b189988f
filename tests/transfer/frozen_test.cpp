// Frozen means frozen, shown for every strategy, optimiser and mask: bytes, kernels and optimiser state.
#include "transfer/toy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <graft/kernels/registry/registry.h>

#include <map>

namespace graft::transfer {
namespace {

using test::bytes_of;
using test::kNormalization;
using test::toy_net;
using test::toy_set;

std::map<std::string, std::vector<std::uint8_t>> map_of(const Module& module) {
  const auto all = bytes_of(module);
  return {all.begin(), all.end()};
}

struct FrozenCase {
  const char* name;
  OptimizerKind optimizer;
  std::vector<const char*> freeze;  // patterns
};

class FrozenBytes : public ::testing::TestWithParam<FrozenCase> {};

// Weight decay, momentum, BatchNorm and dropout are all on, and each would move a frozen layer that was only given a
// zero gradient.
TEST_P(FrozenBytes, StayTheSame) {
  auto net = toy_net(4, 3);
  const data::Dataset images = toy_set(4, 8);
  TrainOptions options;
  options.steps = 6;
  options.batch_size = 16;
  options.optimizer = GetParam().optimizer;
  options.lr = 0.05;
  options.weight_decay = 0.1;
  options.normalization = kNormalization;
  for (const char* pattern : GetParam().freeze) options.mask.freeze(pattern);
  // Statistics that are not at their initial values, so that a drift would show.
  net->forward(data::normalized(images.images, kNormalization));
  const auto before = map_of(*net);
  const TrainResult result = train(*net, images, {}, options);
  const auto after = map_of(*net);

  std::int64_t same = 0;
  for (const auto& [name, bytes] : before) {
    const std::string layer = name.substr(0, name.find('.'));
    if (options.mask.multiplier(layer) == 0) {
      EXPECT_EQ(after.at(name), bytes) << name;
      ++same;
    } else {
      EXPECT_NE(after.at(name), bytes) << name << " was to be trained";
    }
  }
  EXPECT_EQ(result.frozen.tensors, same);
  EXPECT_TRUE(result.frozen.intact());
}

INSTANTIATE_TEST_SUITE_P(
    Masks, FrozenBytes,
    ::testing::Values(FrozenCase{"head_only_sgd", OptimizerKind::sgd, {"conv1", "bn1", "fc1", "bn2"}},
                      FrozenCase{"head_only_adam", OptimizerKind::adam, {"conv1", "bn1", "fc1", "bn2"}},
                      FrozenCase{"head_only_adamw", OptimizerKind::adamw, {"conv1", "bn1", "fc1", "bn2"}},
                      FrozenCase{"conv_block_sgd", OptimizerKind::sgd, {"conv1", "bn1"}},
                      FrozenCase{"conv_block_adamw", OptimizerKind::adamw, {"conv1", "bn1"}},
                      FrozenCase{"middle_sgd", OptimizerKind::sgd, {"fc1"}},
                      FrozenCase{"middle_adam", OptimizerKind::adam, {"fc1", "bn2"}},
                      FrozenCase{"batch_norms", OptimizerKind::sgd, {"bn*"}},
                      FrozenCase{"first_and_head", OptimizerKind::adamw, {"conv1", "fc"}},
                      FrozenCase{"nothing", OptimizerKind::sgd, {}}),
    [](const auto& test) { return std::string(test.param.name); });

class FrozenStrategy : public ::testing::TestWithParam<Strategy> {};

TEST_P(FrozenStrategy, KeepsItsPromise) {
  auto net = toy_net(4, 3);
  const data::Dataset images = toy_set(4, 8);
  net->forward(data::normalized(images.images, kNormalization));
  const auto before = map_of(*net);
  FineTuneOptions options;
  options.strategy = GetParam();
  options.steps = 5;
  options.normalization = kNormalization;
  const TrainResult result = fine_tune(*net, images, {}, options);
  EXPECT_TRUE(result.frozen.intact());
  const auto after = map_of(*net);
  for (const auto& [name, bytes] : before) {
    const bool statistics = name.find("running_") != std::string::npos || name.find("num_batches") != std::string::npos;
    const bool still = statistics || (GetParam() == Strategy::head_only && !belongs_to(name, "fc"));
    if (still)
      EXPECT_EQ(after.at(name), bytes) << name;
    else
      EXPECT_NE(after.at(name), bytes) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, FrozenStrategy,
                         ::testing::Values(Strategy::head_only, Strategy::all_layers, Strategy::head_then_all),
                         [](const auto& test) { return std::string(name(test.param)); });

TEST(Frozen, MaskedElementsKeepTheirBytesUnderDecayAndMomentum) {
  for (const OptimizerKind kind : {OptimizerKind::sgd, OptimizerKind::adam, OptimizerKind::adamw}) {
    auto net = toy_net(4, 3);
    const data::Dataset images = toy_set(4, 8);
    // The first four filters of conv1 stay.
    Tensor mask = Tensor::zeros({8, 1, 3, 3}, DType::boolean);
    for (int i = 4 * 9; i < 8 * 9; ++i) mask.data<bool>()[i] = true;
    TrainOptions options;
    options.steps = 4;
    options.optimizer = kind;
    options.lr = 0.05;
    options.weight_decay = 0.1;
    options.normalization = kNormalization;
    options.mask.set_elements("conv1.weight", mask);
    const auto before = net->parameter("conv1.weight").to_vector<float>();
    train(*net, images, {}, options);
    const auto after = net->parameter("conv1.weight").to_vector<float>();
    for (std::size_t i = 0; i < 36; ++i) EXPECT_EQ(after[i], before[i]) << i;
    for (std::size_t i = 36; i < 72; ++i) EXPECT_NE(after[i], before[i]) << i;
  }
}

TEST(Frozen, AMultiplierScalesTheStepOfAdam) {
  // Adam's first step is lr in size whatever the gradient's scale, so a multiplier that only scaled gradients would do
  // nothing.
  const data::Dataset images = toy_set(4, 8);
  std::vector<std::vector<float>> moved;
  for (const double multiplier : {1.0, 0.25}) {
    auto net = toy_net(4, 3, 0);
    const auto before = net->parameter("fc1.weight").to_vector<float>();
    TrainOptions options;
    options.steps = 1;
    options.optimizer = OptimizerKind::adam;
    options.weight_decay = 0;
    options.lr = 0.01;
    options.normalization = kNormalization;
    options.mask.set("fc1.weight", multiplier);
    train(*net, images, {}, options);
    auto after = net->parameter("fc1.weight").to_vector<float>();
    for (std::size_t i = 0; i < after.size(); ++i) after[i] -= before[i];
    moved.push_back(after);
  }
  // The subtraction from weights of about 0.05 leaves an absolute error of a few 2^-29.
  for (std::size_t i = 0; i < moved[0].size(); ++i) EXPECT_NEAR(moved[1][i], 0.25f * moved[0][i], 2e-8f) << i;
}

// --- work that nobody needs is not done
// -------------------------------------------------------------------------------

TEST(FrozenWork, BackwardComputesNothingBelowTheLowestTrainableLayer) {
  auto net = toy_net(4, 3);
  const data::Dataset images = toy_set(4, 8);
  TrainOptions options;
  options.steps = 3;
  options.normalization = kNormalization;
  options.mask.freeze("conv1").freeze("bn1").freeze("fc1").freeze("bn2");
  options.use_cache = false;
  kernels::reset_kernel_counts();
  train(*net, images, {}, options);
  for (const char* op :
       {"conv2d_backward_weight", "conv2d_backward_data", "batch_norm_backward", "max_pool_backward", "unary_backward"})
    EXPECT_EQ(kernels::kernel_calls(op), 0u) << op;
  // A step of the head: its product, its weight's gradient; the frozen linear layer: its product.
  EXPECT_EQ(kernels::kernel_calls("matmul"), 3u * 3u);
  EXPECT_EQ(kernels::kernel_calls("conv2d_forward"), 3u);
}

TEST(FrozenWork, AFrozenMiddleLayerPassesGradientsButMakesNone) {
  auto net = toy_net(4, 3);
  const data::Dataset images = toy_set(4, 8);
  TrainOptions options;
  options.steps = 2;
  options.normalization = kNormalization;
  options.mask.freeze("fc1");
  kernels::reset_kernel_counts();
  train(*net, images, {}, options);
  EXPECT_EQ(kernels::kernel_calls("conv2d_backward_weight"), 2u);
  // The picture itself needs no gradient.
  EXPECT_EQ(kernels::kernel_calls("conv2d_backward_data"), 0u);
  // Head: forward, weight, input. fc1: forward, input only.
  EXPECT_EQ(kernels::kernel_calls("matmul"), 2u * 5u);
}

TEST(FrozenWork, TheOptimiserHoldsStateForTheHeadOnly) {
  auto net = toy_net(4, 3);
  const data::Dataset images = toy_set(4, 8);
  FineTuneOptions options;
  options.steps = 2;
  options.normalization = kNormalization;
  const TrainResult result = fine_tune(*net, images, {}, options);
  EXPECT_EQ(result.frozen.optimizer_state_bytes, 2 * sizeof(float) * (32 * 4 + 4));  // Adam: two moments
}

TEST(FrozenWork, TheClipNormHasNoShareOfFrozenLayers) {
  auto net = toy_net(4, 3);
  // A gradient left on a layer that is frozen afterwards must not enter the norm.
  Tensor weight = net->parameter("conv1.weight");
  weight.set_grad(Tensor::full(weight.shape(), 1e6).contiguous(MemoryFormat::channels_last));
  const data::Dataset images = toy_set(4, 8);
  TrainOptions options;
  options.steps = 1;
  options.optimizer = OptimizerKind::sgd;
  options.momentum = 0;
  options.weight_decay = 0;
  options.lr = 0.1;
  options.clip_norm = 1;
  options.normalization = kNormalization;
  options.mask = GradientMask::head_only(*net);
  const auto before = net->parameter("fc.weight").to_vector<float>();
  train(*net, images, {}, options);
  const auto after = net->parameter("fc.weight").to_vector<float>();
  double moved = 0;
  for (std::size_t i = 0; i < after.size(); ++i) moved += std::abs(after[i] - before[i]);
  EXPECT_GT(moved, 1e-3);  // a share of 1e6 would have left nothing
}

}  // namespace
}  // namespace graft::transfer
