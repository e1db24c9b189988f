// Training whose step is captured and replayed against the same training run eagerly: the same bits, for every
// optimiser, strategy and mask; and what the host does meanwhile.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <graft/core/data/device_batches.h>
#include <graft/graft.h>

#include "device/device.h"
#include "device/training.h"

namespace graft {
namespace {

using test::Bytes;
using test::bytes_of;
using test::everything;
using test::expect_same_bits;
using test::gpu;
using test::kNormalization;
using test::pictures;
using test::small_mlp;
using test::small_strokes_net;

struct Outcome {
  std::vector<double> losses;
  Bytes bytes;
  transfer::TrainResult result;
  std::uint64_t draws = 0;  // that the default generator has made
};

class CapturedTraining : public test::DeviceTest {
 protected:
  data::Dataset set = pictures(22, 2), valid = pictures(8, 3);

  transfer::TrainOptions options(std::int64_t steps) const {
    transfer::TrainOptions o;
    o.steps = steps;
    o.batch_size = 6;
    o.seed = 5;
    o.normalization = kNormalization;
    return o;
  }

  using Train =
      std::function<transfer::TrainResult(Module&, bool capture, std::function<void(const transfer::Progress&)>)>;

  static Outcome run(const std::function<std::shared_ptr<Sequential>()>& make, const Train& train, bool capture) {
    manual_seed(12);
    const auto net = make();
    net->to(gpu);
    Outcome outcome;
    outcome.result = train(*net, capture, [&](const transfer::Progress& p) { outcome.losses.push_back(p.loss); });
    outcome.bytes = bytes_of(*net);
    outcome.draws = default_generator().offset();
    return outcome;
  }

  static Outcome compare(const std::function<std::shared_ptr<Sequential>()>& make, const Train& train) {
    const Outcome captured = run(make, train, true), eager = run(make, train, false);
    EXPECT_GT(captured.result.replayed, 0);
    EXPECT_EQ(eager.result.replayed, 0);
    EXPECT_EQ(captured.losses, eager.losses);
    EXPECT_EQ(captured.losses.size(), static_cast<std::size_t>(captured.result.steps));
    EXPECT_EQ(captured.result.steps, eager.result.steps);
    EXPECT_EQ(captured.draws, eager.draws) << "the generator stands where eager steps leave it";
    expect_same_bits(captured.bytes, eager.bytes, everything);
    return captured;
  }
};

TEST_F(CapturedTraining, GivesTheBitsOfEagerStepsForEveryOptimizer) {
  for (const auto kind : {transfer::OptimizerKind::sgd, transfer::OptimizerKind::adam, transfer::OptimizerKind::adamw})
    for (const double clip : {0.0, 0.3}) {
      SCOPED_TRACE(testing::Message() << "optimizer " << static_cast<int>(kind) << ", clip " << clip);
      compare(small_mlp, [&](Module& net, bool capture, auto progress) {
        transfer::TrainOptions o = options(9);
        o.optimizer = kind;
        o.lr = 0.01;
        o.clip_norm = clip;
        o.label_smoothing = 0.1;
        o.warmup = 3;
        o.augment = data::AffineAugment::handwriting();
        o.capture = capture;
        o.progress = progress;
        return transfer::train(net, set, {}, o);
      });
    }
}

TEST_F(CapturedTraining, GivesTheBitsOfEagerStepsForAConvolutionalNetwork) {
  compare(small_strokes_net, [&](Module& net, bool capture, auto progress) {
    transfer::TrainOptions o = options(5);
    o.evaluate_every = 2;
    o.restore_best = true;
    o.capture = capture;
    o.progress = progress;
    return transfer::train(net, set, valid, o);
  });
}

TEST_F(CapturedTraining, GivesTheBitsOfEagerStepsForEveryStrategy) {
  for (const auto strategy :
       {transfer::Strategy::head_only, transfer::Strategy::all_layers, transfer::Strategy::head_then_all})
    for (const std::int64_t batch : {0, 5}) {
      SCOPED_TRACE(testing::Message() << transfer::name(strategy) << ", batch " << batch);
      compare(small_mlp, [&](Module& net, bool capture, auto progress) {
        transfer::FineTuneOptions o;
        o.strategy = strategy;
        o.steps = 7;
        o.batch_size = batch;
        o.normalization = kNormalization;
        o.capture = capture;
        o.progress = progress;
        return transfer::fine_tune(net, set, valid, o);
      });
    }
}

TEST_F(CapturedTraining, GivesTheBitsOfEagerStepsUnderMasks) {
  const auto masked = [&](const std::function<void(transfer::GradientMask&)>& rules) {
    return compare(small_mlp, [&](Module& net, bool capture, auto progress) {
      transfer::TrainOptions o = options(6);
      rules(o.mask);
      o.capture = capture;
      o.progress = progress;
      return transfer::train(net, set, {}, o);
    });
  };
  masked([](transfer::GradientMask& mask) { mask.set("*", 0.5); });
  const Outcome frozen = masked([](transfer::GradientMask& mask) { mask.freeze("*").set("head", 1); });
  EXPECT_TRUE(frozen.result.frozen.intact());
  EXPECT_GT(frozen.result.frozen.tensors, 0);
  masked([](transfer::GradientMask& mask) {
    Tensor rows = Tensor::zeros({test::kClasses, 24}, DType::u8);
    slice(rows, 0, 0, 2).fill_(1);
    mask.set_elements("head.weight", rows.to(gpu));
  });
}

// Long enough for graphs of several steps.
TEST_F(CapturedTraining, ReplaysSeveralStepsALaunch) {
  const cuda::Activity before = cuda::device_activity();
  const Outcome outcome = run(
      small_mlp,
      [&](Module& net, bool capture, auto progress) {
        transfer::FineTuneOptions o;
        o.strategy = transfer::Strategy::head_only;
        o.steps = 256;
        o.batch_size = 6;
        o.normalization = kNormalization;
        o.capture = capture;
        o.progress = progress;
        return transfer::fine_tune(net, set, {}, o);
      },
      true);
  const cuda::Activity after = cuda::device_activity();
  EXPECT_EQ(outcome.result.replayed, 255);
  // 21 epochs of 3 batches are 63 steps: the first and 62 single ones, three graphs of 63 steps, 4 more.
  EXPECT_EQ(after.graph_launches - before.graph_launches, 62u + 3u + 4u);
  EXPECT_LT(outcome.losses.back(), outcome.losses.front());
}

// 22 pictures in batches of 2: 11 steps an epoch, 55 in five epochs (the most below 64).
TEST_F(CapturedTraining, AnEpochOfACachedHeadIsOneGraph) {
  const auto train = [&](std::int64_t evaluate_every) {
    return [&, evaluate_every](Module& net, bool capture, auto progress) {
      transfer::FineTuneOptions o;
      o.strategy = transfer::Strategy::head_only;
      o.steps = 5 * 55;
      o.batch_size = 2;
      o.evaluate_every = evaluate_every;
      o.normalization = kNormalization;
      o.capture = capture;
      o.progress = progress;
      return transfer::fine_tune(net, set, evaluate_every > 0 ? valid : data::Dataset{}, o);
    };
  };
  cuda::Activity before = cuda::device_activity();
  const Outcome whole = run(small_mlp, train(0), true);
  EXPECT_EQ(whole.result.replayed, 5 * 55 - 1);
  EXPECT_EQ(cuda::device_activity().graph_launches - before.graph_launches, 54u + 4u) << "the first step is not captured";
  // An evaluation every 20 steps leaves no more to a launch: 19 single ones after the first, 12 full groups, 15 steps.
  before = cuda::device_activity();
  const Outcome evaluated = run(small_mlp, train(20), true);
  EXPECT_EQ(cuda::device_activity().graph_launches - before.graph_launches, 19u + 12u + 15u);
  EXPECT_EQ(evaluated.losses, whole.losses);
  const Outcome eager = run(small_mlp, train(0), false);
  EXPECT_EQ(eager.losses, whole.losses);
  expect_same_bits(eager.bytes, whole.bytes, everything);
}

// What a step costs the host once it is captured: one launch, nothing allocated, nothing waited for.
TEST_F(CapturedTraining, TheHostNeitherAllocatesNorWaits) {
  const auto net = small_strokes_net();
  net->to(gpu);
  net->train();
  optim::AdamW optimizer(net->parameters(), {.lr = 0.001});
  const data::DeviceBatches batches(set, {.batch_size = 6, .seed = 4, .normalization = kNormalization, .device = gpu});
  optim::StepState state({.lr_factor = std::vector<double>(20, 1), .clip_norm = 1}, gpu);
  optimizer.follow(state.clock());
  StepGraph steps(state.step(),
                  [&] {
                    const data::Batch batch = batches.load(state.step());
                    const Tensor loss = cross_entropy((*net)(batch.x), batch.y);
                    loss.backward();
                    state.scale_gradients(net->parameters());
                    optimizer.step();
                    optimizer.zero_grad();
                    state.finish(loss);
                  },
                  {}, {});
  steps.run(4);
  const cuda::Activity before = cuda::device_activity();
  const cuda::MemoryStats memory = cuda::memory_stats();
  for (int i = 0; i < 5; ++i) steps.run(1);
  const cuda::Activity after = cuda::device_activity();
  EXPECT_EQ(after.graph_launches - before.graph_launches, 5u);
  EXPECT_EQ(after.launches, before.launches);
  EXPECT_EQ(after.copies, before.copies);
  EXPECT_EQ(after.waits, before.waits);
  EXPECT_EQ(after.allocations, before.allocations);
  EXPECT_EQ(cuda::memory_stats().in_use, memory.in_use);
  EXPECT_EQ(cuda::memory_stats().system_calls, memory.system_calls);
  EXPECT_EQ(steps.counts().eager, 1);
  EXPECT_EQ(steps.counts().replayed, 8);
  std::printf("strokes network at 8x8, AdamW with clipping: %lld nodes a step\n",
              static_cast<long long>(steps.counts().nodes));
  optimizer.unfollow();
  const std::vector<double> losses = state.losses().to_vector<double>();
  for (int i = 0; i < 9; ++i) EXPECT_GT(losses[static_cast<std::size_t>(i)], 0) << i;
  EXPECT_EQ(losses[9], 0) << "not run yet";
}

// Kernels, copies and fills of one step at the sizes of the study. The step that is counted is captured and never run: a
// small one before it makes the optimiser's state.
TEST_F(CapturedTraining, AStepOfTheStrokesNetworkHasFewNodes) {
  const auto loaded = [&](std::int64_t count) {
    const data::Dataset images{.images = Tensor::zeros({count, 1, 28, 28}, DType::u8),
                               .labels = Tensor::zeros({count}, DType::i64),
                               .classes = 1000,
                               .class_names = {}};
    return data::DeviceBatches(
        images, {.batch_size = count, .seed = 4, .normalization = kNormalization, .device = gpu});
  };
  const auto net = models::strokes_net({.num_classes = 1000});
  net->to(gpu);
  net->train();
  optim::AdamW optimizer(net->parameters(), {.lr = 0.001});
  optim::StepState state({.lr_factor = std::vector<double>(20, 1)}, gpu);
  optimizer.follow(state.clock());
  const auto step = [&](const data::DeviceBatches& batches) {
    const data::Batch batch = batches.load(state.step());
    const Tensor loss = cross_entropy((*net)(batch.x), batch.y);
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
    state.finish(loss);
  };
  const data::DeviceBatches few = loaded(2), many = loaded(128);
  step(few);
  cuda::synchronize();
  const cuda::Stream stream(0);
  cuda::Graph graph;
  {
    cuda::GraphCapture capture(graph, stream);
    step(many);
    capture.finish();
  }
  std::printf("strokes network at 28x28, batches of 128, AdamW: %lld nodes a step\n",
              static_cast<long long>(graph.node_count()));
  EXPECT_LE(graph.node_count(), 45);
}

// An eager run waits as little: the host looks at losses when they have come.
TEST_F(CapturedTraining, EpochsRunWithoutWaiting) {
  std::uint64_t waits[2] = {};
  for (const int epochs : {32, 64}) {
    const auto net = small_mlp();
    net->to(gpu);
    transfer::TrainOptions o = options(0);
    o.epochs = epochs;
    const cuda::Activity before = cuda::device_activity();
    transfer::train(*net, set, {}, o);
    waits[epochs == 64] = cuda::device_activity().waits - before.waits;
  }
  EXPECT_EQ(waits[0], waits[1]) << "waits before and after training only, whatever its length";
}

TEST_F(CapturedTraining, CapturesAnewWhenTheMaskChanges) {
  const auto train = [&](bool capture) {
    manual_seed(12);
    const auto net = small_mlp();
    net->to(gpu);
    net->train();
    optim::Adam optimizer(net->parameters(), {.lr = 0.01});
    const data::DeviceBatches batches(set,
                                      {.batch_size = 6, .seed = 4, .normalization = kNormalization, .device = gpu});
    optim::StepState state({.lr_factor = std::vector<double>(20, 1)}, gpu);
    optimizer.follow(state.clock());
    std::uint64_t version = 0;
    StepGraph steps(
        state.step(),
        [&] {
          const data::Batch batch = batches.load(state.step());
          const Tensor loss = cross_entropy((*net)(batch.x), batch.y);
          loss.backward();
          optimizer.step();
          optimizer.zero_grad();
          state.finish(loss);
        },
        [&] { return version; }, {.capture = capture});
    const Tensor body = net->parameters().front(), head = net->parameter("head.weight");
    steps.run(3);
    EXPECT_EQ(steps.counts().captures, capture ? 1 : 0);
    {
      transfer::MaskScope scope(*net, transfer::GradientMask::head_only(*net), false);
      ++version;
      const auto body_before = body.to_vector<float>(), head_before = head.to_vector<float>();
      steps.run(3);
      EXPECT_EQ(body.to_vector<float>(), body_before) << "frozen means frozen";
      EXPECT_NE(head.to_vector<float>(), head_before);
      EXPECT_EQ(steps.counts().captures, capture ? 2 : 0);
      EXPECT_EQ(steps.counts().eager, capture ? 2 : 6);
    }
    {
      transfer::GradientMask half;
      half.set("*", 0.5);
      transfer::MaskScope scope(*net, half, false);
      scope.limit(optimizer);
      ++version;
      steps.run(2);
      EXPECT_EQ(steps.counts().captures, capture ? 3 : 0);
    }
    net->train();
    ++version;
    const auto before = body.to_vector<float>();
    steps.run(2);
    EXPECT_NE(body.to_vector<float>(), before);
    EXPECT_EQ(steps.counts().captures, capture ? 4 : 0);
    optimizer.unfollow();
    return std::make_pair(bytes_of(*net), state.losses().to_vector<double>());
  };
  const auto captured = train(true), eager = train(false);
  EXPECT_EQ(captured.second, eager.second);
  expect_same_bits(captured.first, eager.first, everything);
}

/// A layer that looks at its input on the host: it cannot be captured.
class Looking final : public Module {
 public:
  Tensor forward(const Tensor& x) override {
    largest = max(x.flatten(), 0).item();
    return x;
  }
  std::string describe() const override { return "Looking()"; }
  double largest = 0;
};

TEST_F(CapturedTraining, AModuleThatWaitsIsTrainedEagerlyAndTheLogSaysSo) {
  const auto make = [] {
    auto net = std::make_shared<Sequential>();
    net->append("flatten", std::make_shared<Flatten>());
    net->append("body", std::make_shared<Linear>(64, 16));  // trained, so that no cache spares the look
    net->append("look", std::make_shared<Looking>());
    net->append("head", std::make_shared<Linear>(16, test::kClasses));
    net->set_head("head");
    return net;
  };
  std::vector<std::string> lines;
  const auto train = [&](Module& net, bool capture, auto progress) {
    transfer::TrainOptions o = options(4);
    o.capture = capture;
    o.progress = progress;
    o.log = [&](const std::string& line) { lines.push_back(line); };
    return transfer::train(net, set, {}, o);
  };
  const Outcome tried = run(make, train, true);
  std::string all;
  for (const std::string& line : lines) all += line + "\n";
  EXPECT_NE(all.find("captured steps: off"), std::string::npos) << all;
  const Outcome eager = run(make, train, false);
  EXPECT_EQ(tried.result.replayed, 0);
  EXPECT_EQ(tried.losses, eager.losses);
  expect_same_bits(tried.bytes, eager.bytes, everything);
}

TEST_F(CapturedTraining, ALossThatIsNotFiniteIsAnErrorThatNamesTheStep) {
  const auto net = small_mlp();
  net->to(gpu);
  transfer::TrainOptions o = options(30);
  o.lr = 1e30;
  o.optimizer = transfer::OptimizerKind::sgd;
  try {
    transfer::train(*net, set, {}, o);
    FAIL() << "a rate of 1e30 went unnoticed";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("at step"), std::string::npos) << error.what();
  }
}

TEST_F(CapturedTraining, StopsWhenAsked) {
  const auto net = small_mlp();
  net->to(gpu);
  transfer::TrainOptions o = options(1000);
  int asked = 0;
  o.stop = [&] { return ++asked > 2; };
  const transfer::TrainResult result = transfer::train(*net, set, {}, o);
  EXPECT_TRUE(result.interrupted);
  EXPECT_EQ(result.steps, 126) << "two groups of 21 epochs (flattened pictures are cached)";
  EXPECT_EQ(result.curve.back().step, 126);
}

// --- batches --------------------------------------------------------------------------------------------------------

TEST_F(CapturedTraining, BatchesOfTheDeviceAreTheLoaders) {
  for (const bool augmented : {false, true}) {
    data::LoaderOptions options{.batch_size = 6, .drop_last = true, .seed = 3, .normalization = kNormalization};
    if (augmented) options.augment = data::AffineAugment::handwriting();
    data::Loader loader(set, options);
    options.device = gpu;
    const data::DeviceBatches batches(set, options);
    ASSERT_EQ(batches.batches(), loader.batches());
    std::int64_t step = 0;
    for (std::uint64_t epoch = 0; epoch < 3; ++epoch) {
      loader.start(epoch);
      for (data::Batch here; loader.next(here); ++step) {
        const data::Batch there = batches.load(Tensor::from<std::int64_t>({step}, {}, gpu));
        EXPECT_EQ(there.y.to_vector<std::int64_t>(), here.y.to_vector<std::int64_t>()) << "step " << step;
        const auto got = there.x.to_vector<float>(), want = here.x.to_vector<float>();
        ASSERT_EQ(got.size(), want.size());
        // The loader normalises before it warps, the device afterwards: some roundings of numbers up to 255 / 70.
        for (std::size_t i = 0; i < got.size(); ++i)
          ASSERT_NEAR(got[i], want[i], augmented ? 2e-5 : 0) << "step " << step << ", element " << i;
      }
    }
    const data::Batch part = batches.slice(3, 4);
    EXPECT_EQ(part.x.to_vector<float>(), data::normalized(set.images, kNormalization, {3, 4, 5, 6}).to_vector<float>());
  }
}

// --- mixed precision ------------------------------------------------------------------------------------------------

class MixedPrecision : public CapturedTraining, public testing::WithParamInterface<DType> {};

TEST_P(MixedPrecision, FollowsTheLossesOfFloat) {
  for (const auto& make : {small_mlp, small_strokes_net}) {
    const auto train = [&](DType precision) {
      return [&, precision](Module& net, bool capture, auto progress) {
        transfer::TrainOptions o = options(8);
        o.lr = 2e-3;
        o.clip_norm = 1;
        o.precision = precision;
        o.loss_scale = 1024;  // small enough that no step is left out
        o.capture = capture;
        o.progress = progress;
        const transfer::TrainResult result = transfer::train(net, set, valid, o);
        for (const auto& [name, tensor] : net.state_dict())
          EXPECT_TRUE(!is_floating(tensor.dtype()) || tensor.dtype() == DType::f32) << name << " is " << to_string(tensor);
        return result;
      };
    };
    const Outcome wide = run(make, train(DType::f32), true), narrow = compare(make, train(GetParam()));
    ASSERT_EQ(narrow.losses.size(), wide.losses.size());
    // A product of some hundred rounded terms errs by a few 2^-9 (bf16) or 2^-12 (f16) of its size, a logit of about 1
    // likewise; over eight steps the updates, of which Adam keeps the sign where a gradient is small, move apart.
    const double tolerance = GetParam() == DType::bf16 ? 0.06 : 0.02;
    for (std::size_t i = 0; i < wide.losses.size(); ++i)
      EXPECT_NEAR(narrow.losses[i], wide.losses[i], tolerance) << "step " << i + 1;
    EXPECT_EQ(narrow.result.left_out, 0);
  }
}

TEST_P(MixedPrecision, LeavesFrozenBytesAsTheyWere) {
  manual_seed(3);
  const auto net = small_mlp();
  net->to(gpu);
  const Bytes before = bytes_of(*net);
  transfer::FineTuneOptions o;
  o.strategy = transfer::Strategy::head_only;
  o.steps = 4;
  o.normalization = kNormalization;
  o.precision = GetParam();
  const transfer::TrainResult result = transfer::fine_tune(*net, set, valid, o);
  EXPECT_TRUE(result.frozen.intact());
  expect_same_bits(before, bytes_of(*net), [](const std::string& name) { return !name.starts_with("head"); });
}

// Steps so small that a rounded weight would not move by one of them.
TEST_P(MixedPrecision, SmallStepsAddUpInTheMasters) {
  const auto moved = [&](DType precision) {
    manual_seed(3);
    const auto net = small_mlp();
    net->to(gpu);
    const auto before = net->parameters().front().to_vector<float>();
    transfer::TrainOptions o = options(8);
    o.lr = 1e-6;
    o.schedule = optim::constant();
    o.weight_decay = 0;
    o.precision = precision;
    transfer::train(*net, set, {}, o);
    const auto after = net->parameters().front().to_vector<float>();
    double sum = 0;
    for (std::size_t i = 0; i < after.size(); ++i) sum += std::abs(static_cast<double>(after[i]) - before[i]);
    return sum;
  };
  const double wide = moved(DType::f32);
  EXPECT_GT(wide, 0);
  EXPECT_NEAR(moved(GetParam()), wide, 0.2 * wide) << "signs of small gradients may differ, but not many";
}

INSTANTIATE_TEST_SUITE_P(Types, MixedPrecision, testing::Values(DType::bf16, DType::f16),
                         [](const auto& type) { return std::string(name(type.param)); });

TEST_F(CapturedTraining, TheLossScaleOfF16ComesDownFromWhatOverflows) {
  const auto net = small_mlp();
  net->to(gpu);
  optim::StepState state({.lr_factor = std::vector<double>(10, 1), .loss_scale = 1024}, gpu);
  const Tensor p = net->parameters().front();
  Tensor gradient = p.zeros_like();
  gradient.fill_(std::numeric_limits<double>::infinity());
  optim::Sgd optimizer(net->parameters(), {.lr = 0.1});
  optimizer.follow(state.clock());
  const auto before = p.to_vector<float>();
  Tensor parameter = p;
  parameter.set_grad(gradient);
  state.scale_gradients(net->parameters());
  optimizer.step();
  state.finish(Tensor::zeros({}, DType::f32, gpu));
  EXPECT_EQ(state.loss_scale().item(), 512);
  EXPECT_EQ(p.to_vector<float>(), before) << "the step is left out";
  EXPECT_EQ(state.left_out(), 1);
  gradient.fill_(512);
  state.scale_gradients(net->parameters());
  optimizer.step();
  state.finish(Tensor::zeros({}, DType::f32, gpu));
  const auto after = p.to_vector<float>();
  for (std::size_t i = 0; i < after.size(); ++i) ASSERT_NEAR(after[i], before[i] - 0.1f, 1e-6) << "512 / 512 times 0.1";
}

}  // namespace
}  // namespace graft
