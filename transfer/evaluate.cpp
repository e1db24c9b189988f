#include <graft/transfer/evaluate.h>

#include <algorithm>
#include <chrono>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/math.h>
#include <graft/core/ops/nn.h>
#include <graft/core/ops/view.h>
#include <graft/transfer/scoring.h>

namespace graft::transfer {

WholeSet::WholeSet(const data::Dataset& dataset, data::LoaderOptions options) : batch_size_(options.batch_size) {
  options.shuffle = false;
  options.drop_last = false;
  options.validate(dataset);
  if (data::DeviceBatches::fits(dataset, options)) {
    options.batch_size = std::min(options.batch_size, dataset.size());
    resident_ = std::make_unique<data::DeviceBatches>(dataset, options);
  } else {
    loader_ = std::make_unique<data::Loader>(dataset, options);
  }
}

BatchSource WholeSet::batches() {
  if (loader_) {
    loader_->start(0);
    return [this](data::Batch& batch) { return loader_->next(batch); };
  }
  return [this, done = std::int64_t{0}](data::Batch& batch) mutable {
    const std::int64_t count = std::min(batch_size_, resident_->size() - done);
    if (count == 0) return false;
    batch = resident_->slice(done, count);
    done += count;
    return true;
  };
}

Evaluation score(const std::function<Tensor(const Tensor&)>& forward, const data::Dataset& dataset,
                 const BatchSource& source) {
  const auto begin = std::chrono::steady_clock::now();
  NoGrad no_grad;
  const std::int64_t size = dataset.size();
  Tensor predicted, confidence, losses;
  std::int64_t done = 0;
  for (data::Batch batch; source(batch);) {
    const Tensor logits = forward(batch.x);
    const std::int64_t count = batch.y.numel();
    check(logits.dim() == 2 && logits.size(0) == count, "evaluate: the module gave ", logits, " for a batch of ", count,
          " images, expected (N, classes)");
    check(logits.size(1) >= dataset.classes, "evaluate: the module has ", logits.size(1), " outputs, the dataset ",
          dataset.classes, " classes");
    if (!predicted.defined()) {
      predicted = Tensor::empty({size}, DType::i64, logits.device());
      confidence = Tensor::empty({size}, DType::f32, logits.device());
      losses = Tensor::empty({size}, DType::f32, logits.device());
    }
    slice(losses, 0, done, done + count).copy_(cross_entropy(logits, batch.y, {.reduction = Reduction::none}));
    slice(predicted, 0, done, done + count).copy_(argmax(logits, 1));
    slice(confidence, 0, done, done + count).copy_(max(softmax(logits, 1), 1));
    done += count;
  }
  check(done == size, "evaluate: ", done, " pictures came of a set of ", size);

  Evaluation result;
  result.predictions = predicted.to_vector<std::int64_t>();
  result.confidences = confidence.to_vector<float>();
  double loss = 0;
  for (const float part : losses.to_vector<float>()) loss += part;
  const std::int64_t* truth = dataset.labels.data<std::int64_t>();
  std::int64_t right = 0;
  for (std::size_t i = 0; i < result.predictions.size(); ++i) right += result.predictions[i] == truth[i];
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
  WholeSet set(dataset, {.batch_size = batch_size, .normalization = normalization, .device = module.device()});
  const auto restore = [&] {
    for (const auto& [m, training] : modes) m->train(training);  // parents first, so children have the last word
  };
  try {
    Evaluation result = score([&](const Tensor& x) { return module(x); }, dataset, set.batches());
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
