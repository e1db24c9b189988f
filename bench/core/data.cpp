// The strokes generator, the loader and augmentation: images a second.
#include <support.h>

#include <graft/core/data/loader.h>
#include <graft/core/data/strokes.h>
#include <graft/core/ops/nn.h>

namespace graft::bench {
namespace {

const data::Dataset& strokes() {
  static const data::Dataset dataset = data::make_strokes({.classes = 100, .images = 6400});
  return dataset;
}

/// One batch a step, epoch after epoch.
Step next_batch(data::LoaderOptions options) {
  struct State {
    data::Loader loader;
    data::Batch batch;
    std::uint64_t epoch = 0;
    explicit State(const data::LoaderOptions& o) : loader(strokes(), o) { loader.start(epoch++); }
  };
  auto state = std::make_shared<State>(options);
  return [state] {
    if (state->loader.next(state->batch)) return;
    state->loader.start(state->epoch++);
    state->loader.next(state->batch);
  };
}

}  // namespace

void add_data() {
  add("strokes/draw", {.items = 1}, [] {
    auto pixels = std::make_shared<std::vector<std::uint8_t>>(data::kStrokesSide * data::kStrokesSide);
    auto index = std::make_shared<std::int64_t>(0);
    return [=] {
      const std::int64_t i = (*index)++;
      data::draw_stroke_glyph(1, i % 1000, i / 1000, pixels->data());
    };
  });
  add("strokes/make/10000", {.items = 10000},
      [] { return [] { data::make_strokes({.classes = 1000, .images = 10000}); }; });
  add("normalized/128", {.items = 128}, [] {
    std::vector<std::int64_t> positions;
    for (std::int64_t i = 0; i < 128; ++i) positions.push_back(i * 49);
    return [=] { data::normalized(strokes().images, {.mean = 33, .deviation = 79}, positions); };
  });
  for (const int threads : {0, 1}) {
    const std::string suffix = "/128/threads:" + std::to_string(threads);
    add("loader/plain" + suffix, {.items = 128}, [=] { return next_batch({.threads = threads}); });
    add("loader/augmented" + suffix, {.items = 128},
        [=] { return next_batch({.augment = data::AffineAugment::handwriting(), .threads = threads}); });
  }
  add("loader/features/128", {.items = 128}, [] {
    return next_batch({.features = Tensor::ones({strokes().size(), 256}), .threads = 0});
  });
}

}  // namespace graft::bench
