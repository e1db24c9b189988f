// Trains every method on every labelled subset, and keeps what the report shows.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <graft/apps/mnist_finetune/methods.h>
#include <graft/apps/mnist_finetune/progress.h>
#include <graft/apps/mnist_finetune/results.h>
#include <graft/core/data/dataset.h>
#include <graft/layers/layers.h>
#include <graft/transfer/evaluate.h>
#include <graft/transfer/fine_tune.h>

namespace graft::demo {

struct ComparisonOptions {
  std::vector<std::int64_t> labels;
  std::int64_t seeds = 1;
  std::uint64_t seed = 1;
  std::vector<Method> strategies;
  std::int64_t steps = 0;  // 0: the recipe's
  std::string folder;      // for the fine-tuned weights, of the first seed
  Device device = Device::cpu();
  DType precision = DType::f32;
  std::function<bool()> stop{};
};

struct MethodCurve {
  Method method;
  std::vector<transfer::TrainPoint> points;
};

/// What all runs of option 1 proved.
struct FrozenCheck {
  transfer::FrozenReport report;  // of the last one
  std::int64_t runs = 0;
  bool intact = true;
};

/// The run that the report looks into: the label count nearest to ten, the first seed, the last strategy.
struct Focus {
  std::int64_t labels = 0;
  std::optional<Method> method;     // of the network; none when that run did not end
  std::shared_ptr<Sequential> net;  // on the CPU
  transfer::Evaluation evaluation;
  std::vector<MethodCurve> curves;
};

struct ComparisonResult {
  std::vector<Row> rows;
  std::map<Method, double> images_per_second;  // of the last run that computes every layer at every step
  std::string copied;                          // what copy_backbone said
  FrozenCheck frozen;
  Focus focus;
  std::vector<std::string> files;
  bool interrupted = false;
};

/// `source`: the pretrained network, on the CPU. Networks are trained on options.device, in options.precision. Throws
/// Error when a class has fewer than the labels asked for.
ComparisonResult compare(const Sequential& source, const data::Dataset& train, const data::Dataset& test,
                         const ComparisonOptions& options, Console& console);

/// The images and `copies` augmented ones of each, as pixels: a training set whose features can be cached, where
/// augmentation at every step could not be.
data::Dataset with_augmented_copies(const data::Dataset& dataset, std::int64_t copies, std::uint64_t seed);

/// Lets BatchNorm's running statistics settle on these images, weights untouched.
void calibrate_batch_norm(Module& module, const data::Dataset& images);

}  // namespace graft::demo
