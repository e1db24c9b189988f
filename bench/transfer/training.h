// Training runs whose steady state is measured, shared by graft_bench, graft_throughput and graft_step_counts.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <graft/core/cuda.h>
#include <graft/core/data/dataset.h>
#include <graft/layers/module.h>
#include <graft/transfer/train.h>

namespace graft::bench {

/// What is trained, and how far down.
struct TrainingTask {
  std::string name;
  std::function<std::shared_ptr<Module>()> network;
  Shape image;  // (C, H, W)
  std::int64_t classes = 10;
  enum class Layers : std::uint8_t {
    from_scratch,    // all layers, BatchNorm with the batch's statistics: pretraining
    head,            // option 1: the frozen trunk's features are computed once
    head_and_trunk,  // option 1 without the cache: the frozen trunk is run at every step
    all_fine_tuned,  // option 2: all layers, BatchNorm with its running statistics
  } layers = Layers::from_scratch;

  bool head_only() const { return layers == Layers::head || layers == Layers::head_and_trunk; }
};

/// strokes_pretrain (1000 classes), strokes_head_only, strokes_head_uncached, strokes_all_layers, lenet5 and mlp, as
/// users have them: 28 x 28.
const std::vector<TrainingTask>& training_tasks();
/// The same on pictures and layers that the emulated device manages within seconds.
const std::vector<TrainingTask>& small_training_tasks();
/// Throws Error listing the names there are.
const TrainingTask& training_task(const std::string& name);

struct TrainingRun {
  Device device;
  DType precision = DType::f32;
  bool capture = true;
  std::int64_t batch = 128;
  std::int64_t images = 8192;  // random ones, with random labels; 64 batches, as many as train() gives away at once
};

/// A task with its network and data, which can be run several times. What is measured is transfer::train() itself: the
/// batch's making, forward, backward, optimiser, schedule, and the host's looks at the losses.
class Training {
 public:
  Training(const TrainingTask& task, const TrainingRun& run);

  struct Steady {
    std::int64_t steps = 0;
    double seconds = 0;       // wall time from a device that has nothing to do to one that has done everything
    cuda::Activity activity;  // what the host did for these steps
  };
  /// Trains for `warm_up` steps or more, and then as long as `go_on(n)` holds, which is asked before every n steps (64
  /// on a CUDA device, 1 on the CPU), `at_most` steps in all. The first steps, which run eagerly and are captured, are
  /// part of the warm-up. Throws Error when a step could not be captured although it should, or `at_most` came first.
  Steady run(const std::function<bool(std::int64_t)>& go_on, std::int64_t at_most, std::int64_t warm_up = 1);

  /// Launches, copies, waits and allocations of one step run eagerly: launches and copies are the nodes of its graph.
  cuda::Activity one_step();

 private:
  transfer::TrainOptions options(std::int64_t steps);

  TrainingTask task_;
  TrainingRun run_;
  std::shared_ptr<Module> net_;
  data::Dataset dataset_;
  transfer::FeatureCache cache_;
};

/// b - a, field by field.
cuda::Activity operator-(const cuda::Activity& b, const cuda::Activity& a);

}  // namespace graft::bench
