#include <graft/transfer/fine_tune.h>

#include <algorithm>

#include <graft/core/autograd/node.h>
#include <graft/layers/layers.h>
#include <graft/transfer/copy.h>

namespace graft::transfer {
namespace {

constexpr double kFeatureNorm = 8;         // the study's; the rates below go with it
constexpr std::int64_t kFewLabels = 5;     // images a class up to which the backbone moves slowly
constexpr std::int64_t kFullBatch = 4096;  // images up to which the head trains on all at once

TrainOptions shared_options(const FineTuneOptions& o) {
  TrainOptions t;
  t.normalization = o.normalization;
  t.augment = o.augment;
  t.seed = o.seed;
  t.label_smoothing = o.label_smoothing;
  t.clip_norm = o.clip_norm;
  t.loader_threads = o.loader_threads;
  t.precision = o.precision;
  t.capture = o.capture;
  t.use_cache = o.use_cache;
  t.cache = o.cache;
  t.evaluate_every = o.evaluate_every;
  t.patience = o.patience;
  t.restore_best = o.restore_best;
  t.progress = o.progress;
  t.log = o.log;
  t.stop = o.stop;
  t.mask = o.mask;
  t.batch_norm_inference = o.batch_norm_inference;
  return t;
}

/// The strategy's mask with the caller's rules behind it, so that the caller has the last word on the head.
GradientMask head_mask(const Module& module, const GradientMask& own) {
  GradientMask mask = GradientMask::head_only(module);
  mask.append(own);
  return mask;
}

TrainOptions head_options(const Module& module, const data::Dataset& dataset, const FineTuneOptions& o) {
  TrainOptions t = shared_options(o);
  t.phase = "head";
  t.mask = head_mask(module, o.mask);
  t.steps = o.steps > 0 && o.strategy == Strategy::head_only ? o.steps : 200;
  t.batch_size =
      o.batch_size > 0 && o.strategy == Strategy::head_only ? o.batch_size : std::min(dataset.size(), kFullBatch);
  t.optimizer = OptimizerKind::adam;
  t.lr = o.head_lr > 0 ? o.head_lr : 0.05;
  t.weight_decay = o.weight_decay >= 0 && o.strategy == Strategy::head_only ? o.weight_decay : 1e-3;
  // The scale can be folded into a Linear head that is the last part of a chain, and only when nothing else trains.
  const Chain chain = flat_chain(module);
  const bool linear_head = !chain.empty() && chain.back().first == module.head() &&
                           dynamic_cast<const Linear*>(chain.back().second.get()) != nullptr;
  t.feature_norm = linear_head && o.mask.empty() ? kFeatureNorm : 0;
  return t;
}

TrainOptions all_options(const data::Dataset& dataset, const FineTuneOptions& o) {
  TrainOptions t = shared_options(o);
  t.phase = "all layers";
  t.steps = o.steps > 0 ? o.steps : 400;
  t.batch_size = o.batch_size > 0 ? o.batch_size : std::min<std::int64_t>(50, dataset.size());
  t.optimizer = OptimizerKind::adamw;
  t.weight_decay = o.weight_decay >= 0 ? o.weight_decay : 0.01;
  t.warmup = std::min<std::int64_t>(20, t.steps / 10);
  const bool few = dataset.size() <= kFewLabels * dataset.classes;
  if (o.strategy == Strategy::all_layers) {
    t.lr = o.lr > 0 ? o.lr : 3e-4;
    t.head_lr = o.head_lr > 0 ? o.head_lr : 10 * t.lr;
  } else {
    t.lr = o.lr > 0 ? o.lr : (few ? 3e-4 : 1e-3);
  }
  return t;
}

void zero_head(Module& module) {
  NoGrad no_grad;
  for (auto& [name, tensor] : module.named_parameters())
    if (belongs_to(name, module.head())) tensor.zero_();
}

}  // namespace

const char* name(Strategy strategy) {
  constexpr const char* names[] = {"head_only", "all_layers", "head_then_all"};
  return names[static_cast<int>(strategy)];
}

Strategy parse_strategy(const std::string& text) {
  for (Strategy s : {Strategy::head_only, Strategy::all_layers, Strategy::head_then_all})
    if (text == name(s)) return s;
  fail("unknown strategy '", text, "', expected head_only, all_layers or head_then_all");
}

TrainResult fine_tune(Module& module, const data::Dataset& dataset, const data::Dataset& valid,
                      const FineTuneOptions& options) {
  check(!module.head().empty(), "fine_tune: the module names no head; call set_head(\"name of its last layer\")");
  dataset.validate();
  if (options.zero_head) zero_head(module);
  if (options.strategy == Strategy::head_only)
    return train(module, dataset, valid, head_options(module, dataset, options));
  if (options.strategy == Strategy::all_layers) return train(module, dataset, valid, all_options(dataset, options));

  TrainOptions first = head_options(module, dataset, options);
  first.augment = {};  // the head's start is fitted on the plain pictures, whose features are computed once
  const TrainResult head = train(module, dataset, {}, first);
  if (head.interrupted) return head;
  TrainResult all = train(module, dataset, valid, all_options(dataset, options));
  all.steps += head.steps;
  all.seconds += head.seconds;
  all.feature_seconds += head.feature_seconds;
  all.replayed += head.replayed;
  all.left_out += head.left_out;
  for (TrainPoint& point : all.curve) {
    point.step += head.steps;
    point.seconds += head.seconds;
  }
  all.curve.insert(all.curve.begin(), head.curve.begin(), head.curve.end());
  return all;
}

}  // namespace graft::transfer
