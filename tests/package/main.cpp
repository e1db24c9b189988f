// Trains a small network with the installed package and fine-tunes a copy of it; fails unless it learns.
#include <graft/graft.h>

#include <cstdio>

int main() {
  using namespace graft;
  try {
    manual_seed(1);
    const data::Normalization normalization{33.3, 78.6};
    const data::Dataset many = data::make_strokes({.classes = 10, .images = 800, .seed = 3});
    const data::Dataset few = data::make_strokes({.classes = 4, .images = 40, .seed = 4});
    const data::Dataset test = data::make_strokes({.classes = 4, .images = 200, .seed = 4, .first_index = 10});

    auto source = models::mlp({.hidden = {64}, .num_classes = 10});
    transfer::TrainOptions pretraining;
    pretraining.epochs = 10;
    pretraining.batch_size = 50;
    pretraining.normalization = normalization;
    transfer::train(*source, many, {}, pretraining);

    auto net = models::mlp({.hidden = {64}, .num_classes = 4});
    std::puts(transfer::copy_backbone(*source, *net).summary().c_str());
    transfer::FineTuneOptions options;
    options.normalization = normalization;
    const transfer::TrainResult result = transfer::fine_tune(*net, few, test, options);
    std::printf("accuracy %.3f after %lld steps\n", result.accuracy, static_cast<long long>(result.steps));
    return result.accuracy > 0.6 && result.frozen.intact() ? 0 : 1;  // chance is 0.25
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
