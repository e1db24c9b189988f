#include <graft/transfer/evaluate.h>

#include <chrono>

#include <graft/core/autograd/node.h>
#include <graft/core/data/loader.h>
#include <graft/core/ops/math.h>
#include <graft/core/ops/nn.h>
#include <graft/transfer/scoring.h>

namespace graft::transfer {

Evaluation score(const std::function<Tensor(const Tensor&)>& forward, data::Loader& loader) {
  const auto begin = std::chrono::steady_clock::now();
  NoGrad no_grad;
  Evaluation result;
  const std::int64_t size = loader.dataset().size();
  result.predictions.reserve(static_cast<std::size_t>(size));
  result.confidences.reserve(static_cast<std::size_t>(size));
  const std::int64_t* truth = loader.dataset().labels.data<std::int64_t>();
  double loss = 0;
  std::int64_t right = 0;
  loader.start(0);
  for (data::Batch batch; loader.next(batch);) {
    const Tensor logits = forward(batch.x);
    check(logits.dim() == 2 && logits.size(0) == batch.y.numel(), "evaluate: the module gave ", logits,
          " for a batch of ", batch.y.numel(), " images, expected (N, classes)");
    check(logits.size(1) >= loader.dataset().classes, "evaluate: the module has ", logits.size(1),
          " outputs, the dataset ", loader.dataset().classes, " classes");
    loss += cross_entropy(logits, batch.y, {.reduction = Reduction::sum}).item();
    const auto probabilities = max(softmax(logits, 1), 1).to_vector<float>();
    const auto predicted = argmax(logits, 1).to_vector<std::int64_t>();
    for (std::size_t i = 0; i < predicted.size(); ++i) right += predicted[i] == truth[batch.positions[i]];
    result.predictions.insert(result.predictions.end(), predicted.begin(), predicted.end());
    result.confidences.insert(result.confidences.end(), probabilities.begin(), probabilities.end());
  }
  result.images = size;
  result.accuracy = static_cast<double>(right) / static_cast<double>(size);
  result.loss = loss / static_cast<double>(size);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

Evaluation evaluate(Module& module, const data::Dataset& dataset, const data::Normalization& normalization,
                    std::int64_t batch_size) {
  std::vector<std::pair<Module*, bool>> modes;
  for (const auto& [name, m] : module.named_modules()) modes.emplace_back(m, m->is_training());
  module.eval();
  data::Loader loader(
      dataset, {.batch_size = batch_size, .shuffle = false, .normalization = normalization, .device = module.device()});
  const auto restore = [&] {
    for (const auto& [m, training] : modes) m->train(training);  // parents first, so children have the last word
  };
  try {
    Evaluation result = score([&](const Tensor& x) { return module(x); }, loader);
    restore();
    return result;
  } catch (...) {
    restore();
    throw;
  }
}

std::vector<std::int64_t> confusion_matrix(const Evaluation& evaluation, const data::Dataset& dataset) {
  check(static_cast<std::int64_t>(evaluation.predictions.size()) == dataset.size(),
        "confusion_matrix: ", evaluation.predictions.size(), " predictions for ", dataset.size(), " images");
  std::vector<std::int64_t> counts(static_cast<std::size_t>(dataset.classes * dataset.classes), 0);
  const auto truth = dataset.labels.to_vector<std::int64_t>();
  for (std::size_t i = 0; i < truth.size(); ++i)
    if (evaluation.predictions[i] < dataset.classes)  // outputs beyond the classes are nobody's label
      ++counts[static_cast<std::size_t>(truth[i] * dataset.classes + evaluation.predictions[i])];
  return counts;
}

}  // namespace graft::transfer
