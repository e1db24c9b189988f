// Whole training runs on the CUDA device against the same runs on the CPU: every optimiser, every strategy, frozen
// layers, the feature cache; and that the same run gives the same bits.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <graft/graft.h>
#include <graft/kernels/registry/registry.h>
#include <graft/kernels/runtime/memory_observer.h>

#include "device/device.h"
#include "device/training.h"

namespace graft {
namespace {

using test::Bytes;
using test::bytes_of;
using test::cpu;
using test::everything;
using test::expect_same_bits;
using test::gpu;
using test::kNormalization;
using test::pictures;
using test::small_mlp;
using test::small_strokes_net;

// Both backends compute in f32 and add in other orders: a sum of n products differs by about sqrt(n) 2^-24, here n <
// 1200, so an output by 2e-6 of its size, and a gradient likewise. An update carries the difference to the next step,
// where the optimiser's normalisation enlarges it most where a gradient is near zero (Adam steps by its sign), which is
// where the loss feels it least. Measured over these runs the losses differ by up to 3e-6; ten times that is allowed.
constexpr double kLossTolerance = 3e-5;

void expect_close(const std::vector<double>& got, const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size());
  ASSERT_FALSE(got.empty());
  for (std::size_t i = 0; i < got.size(); ++i)
    EXPECT_NEAR(got[i], want[i], kLossTolerance * std::max(1.0, want[i])) << "step " << i + 1;
}

// --- every optimiser ------------------------------------------------------------------------------------------------

struct OptimizerCase {
  std::string name;
  std::function<std::unique_ptr<optim::Optimizer>(std::vector<Tensor>)> make;
  double clip_norm = 0;
};
void PrintTo(const OptimizerCase& c, std::ostream* out) { *out << c.name; }

std::vector<OptimizerCase> optimizer_cases() {
  const auto sgd = [](optim::SgdOptions o) {
    return [o](std::vector<Tensor> p) { return std::make_unique<optim::Sgd>(std::move(p), o); };
  };
  const auto adam = [](optim::AdamOptions o) {
    return [o](std::vector<Tensor> p) { return std::make_unique<optim::Adam>(std::move(p), o); };
  };
  const auto adamw = [](optim::AdamOptions o) {
    return [o](std::vector<Tensor> p) { return std::make_unique<optim::AdamW>(std::move(p), o); };
  };
  return {{"sgd", sgd({.lr = 0.1})},
          {"sgd_decay", sgd({.lr = 0.1, .weight_decay = 0.01})},
          {"sgd_clipped", sgd({.lr = 0.1}), 0.5},
          {"momentum", sgd({.lr = 0.05, .momentum = 0.9, .dampening = 0.1, .weight_decay = 0.01})},
          {"nesterov", sgd({.lr = 0.05, .momentum = 0.9, .nesterov = true})},
          {"adam", adam({.lr = 0.01})},
          {"adam_decay", adam({.lr = 0.01, .weight_decay = 0.01})},
          {"adamw", adamw({.lr = 0.01, .weight_decay = 0.1})},
          {"adamw_clipped", adamw({.lr = 0.01, .weight_decay = 0.1}), 0.5}};
}

class DeviceOptimizers : public test::DeviceTest, public testing::WithParamInterface<OptimizerCase> {
 protected:
  struct Outcome {
    std::vector<double> losses;
    Bytes bytes;
  };

  /// Six steps of the MLP, its last layer limited: a share of the step, and half of its elements fixed.
  Outcome run(Device device) const {
    const data::Dataset set = pictures(16, 1);
    manual_seed(11);
    const auto net = small_mlp();
    net->to(device);
    const Tensor x = data::normalized(set.images, kNormalization).to(device), y = set.labels.to(device);
    const auto optimizer = GetParam().make(net->parameters());
    const Tensor head = net->parameter("head.weight");
    Tensor mask = Tensor::zeros(head.shape(), DType::u8, device);
    slice(mask, 1, 0, 12).fill_(1);
    optimizer->limit(head, {.multiplier = 0.5, .mask = mask});
    Outcome outcome;
    for (int step = 0; step < 6; ++step) {
      const Tensor loss = cross_entropy((*net)(x), y, {.label_smoothing = 0.1});
      outcome.losses.push_back(loss.item());
      loss.backward();
      const double clip = GetParam().clip_norm;
      optimizer->step(clip > 0 ? optim::clip_factor(net->parameters(), clip) : 1);
      optimizer->zero_grad();
    }
    for (const Tensor& p : net->parameters()) EXPECT_EQ(p.device(), device);
    outcome.bytes = bytes_of(*net);
    return outcome;
  }
};

TEST_P(DeviceOptimizers, TrainAsOnTheCpu) {
  const Outcome there = run(gpu), again = run(gpu), here = run(cpu);
  expect_close(there.losses, here.losses);
  EXPECT_LT(there.losses.back(), there.losses.front());
  EXPECT_EQ(there.losses, again.losses);
  expect_same_bits(there.bytes, again.bytes, everything);
}

INSTANTIATE_TEST_SUITE_P(Each, DeviceOptimizers, testing::ValuesIn(optimizer_cases()),
                         [](const auto& row) { return row.param.name; });

// --- every strategy -------------------------------------------------------------------------------------------------

class DeviceTraining : public test::DeviceTest {
 protected:
  struct Outcome {
    std::vector<double> losses;
    Bytes before, after;
    transfer::TrainResult result;
    Tensor head_weight;
  };
  using Train = std::function<transfer::TrainResult(Module&, std::function<void(const transfer::Progress&)>)>;

  Outcome run(Device device, const std::function<std::shared_ptr<Sequential>()>& make, const Train& train) const {
    manual_seed(12);
    const auto net = make();
    net->to(device);
    Outcome outcome;
    outcome.before = bytes_of(*net);
    outcome.result = train(*net, [&](const transfer::Progress& p) { outcome.losses.push_back(p.loss); });
    outcome.after = bytes_of(*net);
    EXPECT_EQ(net->device(), device);
    EXPECT_TRUE(outcome.result.frozen.intact());
    return outcome;
  }

  /// On both devices, and twice on this one. `frozen`: tensors that may not change by a bit.
  void compare(const std::function<std::shared_ptr<Sequential>()>& make, const Train& train,
               const std::function<bool(const std::string&)>& frozen = {}) const {
    const Outcome there = run(gpu, make, train), again = run(gpu, make, train), here = run(cpu, make, train);
    expect_close(there.losses, here.losses);
    EXPECT_EQ(there.losses, again.losses);
    expect_same_bits(there.after, again.after, everything);
    EXPECT_EQ(there.result.cached, here.result.cached);
    EXPECT_EQ(there.result.frozen.tensors, here.result.frozen.tensors);
    EXPECT_EQ(there.result.frozen.checksum_before, here.result.frozen.checksum_before) << "the same bytes on both";
    EXPECT_EQ(there.result.accuracy, here.result.accuracy);
    if (frozen) expect_same_bits(there.before, there.after, frozen);
  }

  // 14 pictures of 4 classes: in a balanced batch the gradient of a head of zeros sums to exactly nothing in its bias,
  // and Adam, which steps by the gradient's sign, would step by that of the rounding.
  data::Dataset set = pictures(14, 2), valid = pictures(8, 3);

  transfer::TrainOptions options(std::int64_t steps, std::function<void(const transfer::Progress&)> progress) const {
    transfer::TrainOptions o;
    o.steps = steps;
    o.batch_size = 6;
    o.seed = 5;
    o.normalization = kNormalization;
    o.progress = std::move(progress);
    return o;
  }

  transfer::FineTuneOptions tuning(transfer::Strategy strategy, std::int64_t steps,
                                   std::function<void(const transfer::Progress&)> progress) const {
    transfer::FineTuneOptions o;
    o.strategy = strategy;
    o.steps = steps;
    o.batch_size = 6;
    o.seed = 5;
    o.normalization = kNormalization;
    o.progress = std::move(progress);
    return o;
  }
};

bool below_the_head(const std::string& name) {
  return !transfer::belongs_to(name, "fc") && !transfer::belongs_to(name, "head");
}

TEST_F(DeviceTraining, PretrainingFromScratch) {
  compare(small_strokes_net, [&](Module& net, auto progress) {
    transfer::TrainOptions o = options(3, progress);
    o.clip_norm = 1;
    // Batch norm over six pictures leaves gradients near zero, and Adam's first step goes by their signs: at a rate of 1e-3
    // the CPU's own instruction sets differ by 2.4e-5 in the second loss.
    o.lr = 2e-4;
    return transfer::train(net, set, valid, o);
  });
}

TEST_F(DeviceTraining, PretrainingWithAugmentationAndDropout) {
  compare(small_mlp, [&](Module& net, auto progress) {
    transfer::TrainOptions o = options(0, progress);
    o.epochs = 4;
    o.optimizer = transfer::OptimizerKind::sgd;
    o.lr = 0.05;
    o.augment = data::AffineAugment::handwriting();
    o.evaluate_every = 2;
    o.restore_best = true;
    return transfer::train(net, set, valid, o);
  });
}

TEST_F(DeviceTraining, HeadOnlyFromCachedFeatures) {
  for (const bool full_batch : {false, true}) {
    SCOPED_TRACE(full_batch ? "all pictures at once" : "batches");
    compare(
        small_strokes_net,
        [&](Module& net, auto progress) {
          transfer::FineTuneOptions o = tuning(transfer::Strategy::head_only, 5, progress);
          if (full_batch) o.batch_size = 0;
          kernels::reset_kernel_counts();
          const transfer::TrainResult result = transfer::fine_tune(net, set, valid, o);
          EXPECT_TRUE(result.cached);
          EXPECT_EQ(kernels::kernel_calls("conv2d_forward"), 6u)
              << "three convolutions over each of the two sets, once";
          EXPECT_EQ(kernels::kernel_calls("conv2d_backward_weight"), 0u);
          return result;
        },
        below_the_head);
  }
}

TEST_F(DeviceTraining, HeadOnlyWithoutTheCache) {
  compare(
      small_strokes_net,
      [&](Module& net, auto progress) {
        transfer::FineTuneOptions o = tuning(transfer::Strategy::head_only, 3, progress);
        o.use_cache = false;
        const transfer::TrainResult result = transfer::fine_tune(net, set, {}, o);
        EXPECT_FALSE(result.cached);
        return result;
      },
      below_the_head);
}

TEST_F(DeviceTraining, AllLayers) {
  compare(small_strokes_net, [&](Module& net, auto progress) {
    return transfer::fine_tune(net, set, {}, tuning(transfer::Strategy::all_layers, 3, progress));
  });
}

TEST_F(DeviceTraining, PartlyFrozen) {
  const auto frozen = [](const std::string& name) { return name.starts_with("conv") || name.starts_with("bn"); };
  compare(
      small_strokes_net,
      [&](Module& net, auto progress) {
        transfer::FineTuneOptions o = tuning(transfer::Strategy::all_layers, 4, progress);
        o.mask.freeze("conv*").freeze("bn*").set("fc1.weight", 0.5);
        const transfer::TrainResult result = transfer::fine_tune(net, set, valid, o);
        EXPECT_TRUE(result.cached);
        return result;
      },
      frozen);
}

// At the usual rate the 200 steps of the head bring the loss to 4e-4, where the gradient p - 1 of a target has lost all
// but its first digits on either device, and Adam's first steps over all layers go by such signs.
TEST_F(DeviceTraining, HeadThenAllLayersOfAnMlp) {
  compare(small_mlp, [&](Module& net, auto progress) {
    transfer::FineTuneOptions o = tuning(transfer::Strategy::head_then_all, 4, progress);
    o.head_lr = 0.005;
    return transfer::fine_tune(net, set, valid, o);
  });
}

// --- what surrounds training ----------------------------------------------------------------------------------------

TEST_F(DeviceTraining, ABackboneIsCopiedAcrossDevices) {
  manual_seed(1);
  const auto source = small_strokes_net();
  const auto target = small_strokes_net();
  target->to(gpu);
  const transfer::CopyReport report = transfer::copy_backbone(*source, *target);
  EXPECT_TRUE(report.complete());
  expect_same_bits(bytes_of(*source), bytes_of(*target), below_the_head);
}

TEST_F(DeviceTraining, EvaluationFollowsTheModule) {
  manual_seed(2);
  const auto net = small_mlp();
  const transfer::Evaluation here = transfer::evaluate(*net, set, kNormalization, 5);
  net->to(gpu);
  const transfer::Evaluation there = transfer::evaluate(*net, set, kNormalization, 5);
  EXPECT_EQ(there.predictions, here.predictions);
  EXPECT_EQ(there.accuracy, here.accuracy);
  EXPECT_NEAR(there.loss, here.loss, kLossTolerance);
  ASSERT_EQ(there.confidences.size(), here.confidences.size());
  for (std::size_t i = 0; i < here.confidences.size(); ++i)
    EXPECT_NEAR(there.confidences[i], here.confidences[i], 1e-5);
}

TEST_F(DeviceTraining, TheLoadersBatchesLieWhereTheyAreWanted) {
  data::Loader loader(set, {.batch_size = 5, .seed = 3, .normalization = kNormalization, .device = gpu, .threads = 2});
  data::Loader plain(set, {.batch_size = 5, .seed = 3, .normalization = kNormalization, .threads = 0});
  loader.start(1);
  plain.start(1);
  data::Batch there, here;
  int batches = 0;
  while (plain.next(here)) {
    ASSERT_TRUE(loader.next(there));
    ++batches;
    EXPECT_EQ(there.x.device(), gpu);
    EXPECT_EQ(there.y.device(), gpu);
    EXPECT_EQ(there.positions, here.positions);
    EXPECT_EQ(there.x.to_vector<float>(), here.x.to_vector<float>());
    EXPECT_EQ(there.y.to_vector<std::int64_t>(), here.y.to_vector<std::int64_t>());
  }
  EXPECT_FALSE(loader.next(there));
  EXPECT_EQ(batches, 3);
}

TEST_F(DeviceTraining, FeaturesStayOnTheDevice) {
  manual_seed(4);
  const auto net = small_strokes_net();
  net->eval();
  net->to(gpu);
  const transfer::Chain chain = transfer::flat_chain(*net);
  transfer::FeatureCache cache;
  const Tensor features = cache.get(chain, chain.size() - 1, set, kNormalization, 8);
  EXPECT_EQ(features.device(), gpu);
  EXPECT_EQ(features.size(0), set.size());
  cache.get(chain, chain.size() - 1, set, kNormalization, 8);
  EXPECT_EQ(cache.hits(), 1u);
  {
    const NoGrad no_grad;
    net->parameter("conv1.weight").mul_(1.5);
  }
  cache.get(chain, chain.size() - 1, set, kNormalization, 8);
  EXPECT_EQ(cache.misses(), 2u) << "a change of a weight on the device is noticed";
}

TEST_F(DeviceTraining, OptimiserStateLiesBesideItsParameter) {
  Tensor p = Tensor::ones({300}, DType::f32, gpu);
  p.requires_grad_();
  optim::Adam adam({p}, {});
  // Steps of 512 bytes, and the red zone of whoever watches the memory.
  const std::size_t moment = (1200 + runtime::memory_observer().red_zone + 511) / 512 * 512;
  const std::size_t before = cuda::memory_stats().in_use;
  sum(square(p)).backward();
  adam.step();
  adam.zero_grad();
  EXPECT_EQ(cuda::memory_stats().in_use, before + 2 * moment) << "two moments of 300 floats";
  EXPECT_EQ(adam.state_bytes(), 2400u);
}

TEST_F(DeviceTraining, AModuleAndABatchThatLieApartAreRefused) {
  const auto net = small_mlp();
  net->to(gpu);
  std::string text;
  try {
    (*net)(Tensor::zeros({2, 1, 8, 8}));
  } catch (const Error& error) {
    text = error.what();
  }
  for (const char* part : {"different devices", "on cpu", "on cuda:0"})
    EXPECT_NE(text.find(part), std::string::npos) << text;
}

}  // namespace
}  // namespace graft
