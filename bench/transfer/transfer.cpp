// Fine-tuning as users call it: fine_tune() for a fixed number of steps, its preparation inside the measured time but
// for cached features, which a caller's cache already holds. items_per_second are images.
#include <support.h>

#include <graft/core/data/strokes.h>
#include <graft/models/models.h>
#include <graft/transfer/fine_tune.h>

namespace graft::bench {
namespace {

const data::Dataset& images() {
  static const data::Dataset dataset = data::make_strokes({.classes = 10, .images = 6400});
  return dataset;
}

void add_fine_tune(const std::string& name, transfer::Strategy strategy, bool cached, std::int64_t steps) {
  constexpr std::int64_t kBatch = 128;
  add("fine_tune/" + name + "/128", {.items = static_cast<double>(kBatch * steps)}, [=] {
    const auto net = models::strokes_net({.num_classes = 10});
    auto cache = std::make_shared<transfer::FeatureCache>();
    return [=] {
      transfer::fine_tune(*net, images(), {},
                          {.strategy = strategy,
                           .steps = steps,
                           .batch_size = kBatch,
                           .normalization = {.mean = 33.3, .deviation = 78.6},
                           .use_cache = cached,
                           .cache = cache.get()});
    };
  });
}

}  // namespace

void add_transfer() {
  add_fine_tune("head_only_cached", transfer::Strategy::head_only, true, 2000);
  add_fine_tune("head_only_uncached", transfer::Strategy::head_only, false, 20);
  add_fine_tune("all_layers", transfer::Strategy::all_layers, false, 20);
  add("feature_extraction/strokes_net/6400", {.items = 6400}, [] {
    const auto net = models::strokes_net({.num_classes = 10});
    net->eval();
    for (auto& [name, parameter] : net->named_parameters()) parameter.requires_grad_(name.starts_with("fc."));
    return [=] {
      const transfer::Chain chain = transfer::flat_chain(*net);
      transfer::FeatureCache().get(chain, transfer::frozen_prefix(chain), images(), {.mean = 33.3, .deviation = 78.6});
    };
  });
}

}  // namespace graft::bench
