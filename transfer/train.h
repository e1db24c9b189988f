// The supervised training loop: what pretraining and fine-tuning share.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <graft/core/data/loader.h>
#include <graft/core/optim/schedule.h>
#include <graft/kernels/api/export.h>
#include <graft/transfer/evaluate.h>
#include <graft/transfer/feature_cache.h>
#include <graft/transfer/mask.h>

namespace graft::transfer {

enum class OptimizerKind : std::uint8_t { sgd, adam, adamw };

/// Where a run stands, told after every step.
struct GRAFT_API Progress {
  std::string phase;
  std::int64_t step = 0, steps = 0;  // done, in all
  double loss = 0;                   // of the last step whose loss was looked at
  double lr = 0;
  double images_per_second = 0;
  double seconds = 0;
};

struct GRAFT_API TrainOptions {
  std::string phase = "train";
  std::int64_t steps = 0;  // exactly one of steps and epochs is positive
  std::int64_t epochs = 0;
  std::int64_t batch_size = 128;  // at most the dataset's size is used
  OptimizerKind optimizer = OptimizerKind::adamw;
  double lr = 1e-3;
  double head_lr = 0;  // for the parameters below the head; 0: lr
  double weight_decay = 0.01;
  double momentum = 0.9;       // SGD
  std::int64_t warmup = 0;     // steps; then a cosine to 0, unless `schedule` is given
  optim::Schedule schedule{};  // factor on lr by step
  double clip_norm = 0;        // 0: no clipping
  double label_smoothing = 0;
  std::uint64_t seed = 0;  // of order and augmentation
  data::Normalization normalization{};
  data::AffineAugment augment{};
  int loader_threads = 1;

  GradientMask mask{};
  bool batch_norm_inference = false;  // see MaskScope
  /// Scale what enters the head so that its mean norm over the training set is this, and fold the scale into the head's
  /// weights afterwards, so that one rate suits any features. 0: off. Needs everything below a Linear head frozen.
  double feature_norm = 0;
  /// What the network computes in. bf16, f16: parameters, activations and gradients; the values that are trained,
  /// BatchNorm and the optimiser's state stay f32, and f32 is what the module is left in.
  DType precision = DType::f32;
  /// f16 only: what the loss is multiplied by at first, so that small gradients do not become 0 (the default is that of
  /// PyTorch's GradScaler). The scale is dynamic: a step whose gradients are not finite is left out and halves it.
  double loss_scale = 65536;
  /// On a CUDA device a step is captured as a CUDA graph and replayed, several steps a launch, with the same results to
  /// the bit. false: every step is run as it is written. Where a module cannot be captured, `log` says why.
  bool capture = true;

  bool use_cache = true;          // cache the features of a frozen prefix where that gives the same result
  FeatureCache* cache = nullptr;  // kept by the caller between runs; null: one for this run

  std::int64_t evaluate_every = 0;  // steps between evaluations on the validation set; 0: only at the end
  std::int64_t patience = 0;        // stop after so many evaluations without a better accuracy; 0: never
  bool restore_best = false;        // end with the weights of the best evaluation

  /// Once a step; on a CUDA device in groups, when their losses have come.
  std::function<void(const Progress&)> progress{};
  std::function<void(const std::string&)> log{};  // one line
  /// Asked before every step, on a CUDA device before each group (up to 64 steps; of a head on cached features as many
  /// whole epochs as 64 steps hold, at least one); true ends the run cleanly.
  std::function<bool()> stop{};
};

struct GRAFT_API TrainPoint {
  std::int64_t step = 0;  // steps done
  double loss = 0;        // training loss since the last point
  double accuracy = -1;   // on the validation set; -1 when not evaluated
  double seconds = 0;
};

/// The proof that frozen means frozen.
struct GRAFT_API FrozenReport {
  std::int64_t tensors = 0, bytes = 0;
  std::uint64_t checksum_before = 0, checksum_after = 0;
  std::size_t optimizer_state_bytes = 0;  // for the trainable ones; frozen ones have none
  bool intact() const { return checksum_before == checksum_after; }
};

struct GRAFT_API TrainResult {
  std::int64_t steps = 0;
  double seconds = 0;  // training alone, evaluations and feature extraction left out
  double feature_seconds = 0;
  double images_per_second = 0;
  double accuracy = -1;  // of the weights the module ends with; -1 without a validation set
  std::vector<TrainPoint> curve;
  bool stopped_early = false;  // by patience
  bool interrupted = false;    // by `stop`
  bool cached = false;
  std::size_t cached_parts = 0;
  std::int64_t replayed = 0;  // steps that were replays of a captured one
  std::int64_t left_out = 0;  // updates left out for gradients that were not finite (f16's loss scale answers those)
  FrozenReport frozen;
};

/// Trains with cross-entropy, on the device that the module lies on. On a CUDA device the data set lies there too
/// (where it takes no more than half of its free memory), and the host waits only for evaluations and at the end. The module
/// is left in inference. `valid` may be empty (default-constructed). Throws Error for options out of range, labels the
/// network has no output for, or a loss that is not finite.
GRAFT_API TrainResult train(Module& module, const data::Dataset& dataset, const data::Dataset& valid,
                            const TrainOptions& options);

}  // namespace graft::transfer
