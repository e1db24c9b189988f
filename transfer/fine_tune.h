// Fine-tuning a network whose backbone was copied from another.
#pragma once

#include <graft/kernels/api/export.h>
#include <graft/transfer/train.h>

namespace graft::transfer {

enum class Strategy : std::uint8_t {
  head_only,      // option 1: everything below the head stays as it is
  all_layers,     // option 2: every layer moves, the backbone at a lower rate
  head_then_all,  // the head first, then every layer
};

GRAFT_API const char* name(Strategy strategy);
/// "head_only", "all_layers", "head_then_all"; throws Error listing them otherwise.
GRAFT_API Strategy parse_strategy(const std::string& text);

/// Zeros mean "the strategy's own value"; those are the recipe of the strokes study.
struct GRAFT_API FineTuneOptions {
  Strategy strategy = Strategy::head_only;
  std::int64_t steps = 0;       // head_only 200, all_layers 400, head_then_all 200 + 400
  std::int64_t batch_size = 0;  // head_only: all images up to 4096; otherwise min(50, images)
  double lr = 0;       // of the backbone: all_layers 3e-4; head_then_all 3e-4 for 5 images a class or fewer, else 1e-3
  double head_lr = 0;  // head_only 0.05 (on scaled features), all_layers 3e-3, head_then_all 0.05, then lr
  double weight_decay = -1;          // negative: head_only 1e-3 (L2), otherwise 0.01 (decoupled)
  bool zero_head = true;             // start from a head of zeros (head_only, all_layers)
  bool batch_norm_inference = true;  // BatchNorm keeps its running statistics while it trains
  GradientMask mask{};               // on top of the strategy's own
  data::Normalization normalization{};
  data::AffineAugment augment{};  // with head_only any augmentation rules the feature cache out
  std::uint64_t seed = 0;
  double label_smoothing = 0;
  double clip_norm = 0;
  int loader_threads = 1;
  DType precision = DType::f32;  // as TrainOptions
  bool capture = true;           // as TrainOptions
  bool use_cache = true;
  FeatureCache* cache = nullptr;
  std::int64_t evaluate_every = 0;
  std::int64_t patience = 0;
  bool restore_best = false;
  std::function<void(const Progress&)> progress{};
  std::function<void(const std::string&)> log{};
  std::function<bool()> stop{};
};

/// Throws Error when the module names no head, and whatever train() throws.
GRAFT_API TrainResult fine_tune(Module& module, const data::Dataset& dataset, const data::Dataset& valid,
                                const FineTuneOptions& options = {});

}  // namespace graft::transfer
