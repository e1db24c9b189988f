#include <graft/transfer/train.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>

#include <graft/core/autograd/node.h>
#include <graft/core/cuda.h>
#include <graft/core/data/device_batches.h>
#include <graft/core/ops/math.h>
#include <graft/core/ops/nn.h>
#include <graft/layers/layers.h>
#include <graft/transfer/copy.h>
#include <graft/transfer/device_steps.h>
#include <graft/transfer/precision.h>
#include <graft/transfer/scoring.h>

namespace graft::transfer {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kMostBadSteps = 100;  // in a row: far more than the scale needs to come down to 1
constexpr std::int64_t kGroup = 64;          // steps given to the device before the host looks up, at least
constexpr std::int64_t kEpochNodes = 16384;  // in a graph of an epoch

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

void check_options(const data::Dataset& dataset, const TrainOptions& o) {
  dataset.validate();
  check(dataset.size() > 0, "train: the training set is empty");
  check((o.steps > 0) != (o.epochs > 0) && o.steps >= 0 && o.epochs >= 0,
        "train: exactly one of steps and epochs must be positive, got ", o.steps, " and ", o.epochs);
  check(o.batch_size >= 1, "train: batch_size must be 1 or more, got ", o.batch_size);
  check(std::isfinite(o.lr) && o.lr > 0 && std::isfinite(o.head_lr) && o.head_lr >= 0,
        "train: lr must be positive and head_lr 0 or more, got ", o.lr, " and ", o.head_lr);
  check(o.precision != DType::f16 || (o.loss_scale > 0 && std::isfinite(o.loss_scale)),
        "train: loss_scale must be a positive number, got ", o.loss_scale);
  check(o.weight_decay >= 0 && o.clip_norm >= 0 && o.feature_norm >= 0 && o.warmup >= 0 && o.evaluate_every >= 0 &&
            o.patience >= 0,
        "train: weight_decay, clip_norm, feature_norm, warmup, evaluate_every and patience must be 0 or more");
}

std::unique_ptr<optim::Optimizer> make_optimizer(const MaskScope& scope, const std::string& head,
                                                 const TrainOptions& o) {
  optim::ParamGroup below{.lr = o.lr, .weight_decay = o.weight_decay};
  optim::ParamGroup above{.lr = o.head_lr > 0 ? o.head_lr : o.lr, .weight_decay = o.weight_decay};
  for (const auto& [name, tensor] : scope.trainable())
    (belongs_to(name, head) ? above : below).params.push_back(tensor);
  std::vector<optim::ParamGroup> groups;
  for (auto* group : {&below, &above})
    if (!group->params.empty()) groups.push_back(std::move(*group));

  std::unique_ptr<optim::Optimizer> optimizer;
  switch (o.optimizer) {
    case OptimizerKind::sgd:
      optimizer = std::make_unique<optim::Sgd>(std::move(groups), optim::SgdOptions{.momentum = o.momentum});
      break;
    case OptimizerKind::adam:
      optimizer = std::make_unique<optim::Adam>(std::move(groups), optim::AdamOptions{});
      break;
    case OptimizerKind::adamw:
      optimizer = std::make_unique<optim::AdamW>(std::move(groups), optim::AdamOptions{});
      break;
  }
  scope.limit(*optimizer);
  return optimizer;
}

/// The network as a run sees it: what is left to compute for a batch that may already be features.
struct Forward {
  Module& module;
  Chain chain;
  std::size_t begin = 0;  // parts that the batch has behind it
  double scale = 1;       // of what enters the last part
  bool scaled = false;    // the batch's features have the scale in them

  Tensor operator()(const Tensor& x) const {
    if (scale == 1 && begin == 0) return module(x);
    const std::size_t last = chain.size() - 1;
    Tensor features = apply(chain, begin, last, x);
    if (scale != 1 && !scaled) features = mul(features, scale);
    return apply(chain, last, chain.size(), features);
  }
};

/// Mean 2-norm of the rows.
double mean_norm(const Tensor& features) {
  const Tensor rows = features.flatten(1);
  return mean(sqrt(sum(square(rows), {1}))).item();
}

/// Copies of tensors, to go back to.
struct Snapshot {
  std::vector<std::pair<Tensor, Tensor>> kept;
  void take(const NamedTensors& tensors) {
    kept.clear();
    for (const auto& [name, tensor] : tensors) kept.emplace_back(tensor, tensor.detach().clone());
  }
  void restore() {
    NoGrad no_grad;
    for (auto& [tensor, copy] : kept) tensor.copy_(copy);
  }
};

class Run {
 public:
  Run(Module& module, const data::Dataset& dataset, const data::Dataset& valid, const TrainOptions& options)
      : module_(module),
        dataset_(dataset),
        valid_(valid),
        o_(options),
        device_(module.device()),
        on_device_(device_.is_cuda() || options.precision != DType::f32),
        scope_(module, options.mask, options.batch_norm_inference),
        forward_{module, flat_chain(module)} {}

  TrainResult go() {
    result_.frozen.tensors = static_cast<std::int64_t>(scope_.frozen().size());
    for (const auto& [name, tensor] : scope_.frozen())
      result_.frozen.bytes += tensor.numel() * static_cast<std::int64_t>(size_of(tensor.dtype()));
    result_.frozen.checksum_before = checksum(scope_.frozen());
    prepare_features();
    prepare_batches();
    precision_.emplace(module_, o_.precision);
    optimizer_ = make_optimizer(scope_, module_.head(), o_);
    precision_->give_masters(*optimizer_);
    if (on_device_)
      train_on_device();
    else
      train_on_host();
    finish();
    return std::move(result_);
  }

 private:
  void log(const std::string& line) const {
    if (o_.log) o_.log(line);
  }

  // --- the frozen prefix
  // ------------------------------------------------------------------------------------------------

  void prepare_features() {
    const auto begin = Clock::now();
    std::string reason;
    const std::size_t prefix = frozen_prefix(forward_.chain, &reason);
    if (o_.use_cache && prefix > 0 && !o_.augment.enabled()) {
      features_ = cache().get(forward_.chain, prefix, dataset_, o_.normalization);
      if (features_.defined() && valid_.size() > 0)
        valid_features_ = cache().get(forward_.chain, prefix, valid_, o_.normalization);
      if (!features_.defined() || (valid_.size() > 0 && !valid_features_.defined())) {
        features_ = valid_features_ = {};
        log("feature cache: off, the features would take more memory than its limit, or more than half of what the device has free");
      }
    } else if (prefix == 0) {
      log(cat("feature cache: off, ", reason));
    } else {
      log(o_.use_cache ? "feature cache: off, augmentation changes the pictures at every step"
                       : "feature cache: off, as asked");
    }
    if (features_.defined()) {
      result_.cached = true;
      result_.cached_parts = prefix;
      forward_.begin = prefix;
      log(cat("feature cache: on, the first ", prefix, " of ", forward_.chain.size(),
              " parts are frozen and deterministic (", reason, "); their output ", to_string(features_.shape()),
              " is computed once"));
    }
    if (o_.feature_norm > 0) scale_features(prefix);
    result_.feature_seconds = seconds_since(begin);
  }

  FeatureCache& cache() { return o_.cache != nullptr ? *o_.cache : own_cache_; }

  void scale_features(std::size_t prefix) {
    check(!forward_.chain.empty() && prefix + 1 == forward_.chain.size() && head_layer() != nullptr,
          "train: feature_norm needs a chain of parts that ends in a Linear head with everything below it frozen");
    // Without the cache the norm is measured on the first pictures only; with it the same rows are there already.
    constexpr std::int64_t kRows = 2048;
    NoGrad no_grad;
    Tensor rows;
    if (features_.defined()) {
      rows =
          features_.as_strided(leading(features_.shape(), std::min(kRows, features_.size(0))), features_.strides(), 0);
    } else {
      std::vector<std::int64_t> positions(static_cast<std::size_t>(std::min(kRows, dataset_.size())));
      for (std::size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<std::int64_t>(i);
      const Tensor pictures = data::normalized(dataset_.images, o_.normalization, positions);
      rows = apply(forward_.chain, 0, prefix, pictures.to(device_));
    }
    const double norm = mean_norm(rows);
    if (!(norm > 0) || !std::isfinite(norm)) return;  // features of zeros or NaN are for the loss to report
    forward_.scale = o_.feature_norm / norm;
    if (!features_.defined()) return;
    features_ = mul(features_, forward_.scale);
    if (valid_features_.defined()) valid_features_ = mul(valid_features_, forward_.scale);
    forward_.scaled = true;
  }

  static Shape leading(Shape shape, std::int64_t rows) {
    shape[0] = rows;
    return shape;
  }

  Linear* head_layer() const {
    return forward_.chain.empty() ? nullptr : dynamic_cast<Linear*>(forward_.chain.back().second.get());
  }

  /// The scale moves from the features into the head's weights: the network as it is computes what was trained.
  void fold_scale() {
    if (forward_.scale == 1) return;
    NoGrad no_grad;
    head_layer()->weight.mul_(forward_.scale);
    forward_.scale = 1;
  }

  // --- batches
  // ----------------------------------------------------------------------------------------------------------

  void prepare_batches() {
    data::LoaderOptions options;
    options.batch_size = std::min(o_.batch_size, dataset_.size());
    options.shuffle = options.batch_size < dataset_.size();  // a full batch has no order
    options.drop_last = true;
    options.seed = o_.seed;
    options.normalization = o_.normalization;
    options.augment = o_.augment;
    options.features = features_;
    options.device = device_;
    // A batch of features is one small copy: handing it between threads would cost more.
    options.threads = features_.defined() ? 0 : o_.loader_threads;
    batch_size_ = options.batch_size;
    const std::int64_t batches = dataset_.size() / batch_size_;
    steps_ = o_.steps > 0 ? o_.steps : o_.epochs * batches;
    if (features_.defined() && batch_size_ == dataset_.size()) {  // the same batch at every step
      whole_ = {features_.to(o_.precision), dataset_.labels.to(device_), {}};
    } else if (on_device_ && data::DeviceBatches::fits(dataset_, options)) {
      resident_.emplace(dataset_, options, o_.precision);
    } else {
      if (device_.is_cuda()) log("data set: on the host, it would take more than half of the device's free memory");
      loader_.emplace(dataset_, options);
    }
    if (valid_.size() > 0)
      valid_set_.emplace(
          valid_,
          data::LoaderOptions{
              .batch_size = 256, .normalization = o_.normalization, .features = valid_features_, .device = device_});
  }

  /// `step`: the counter of a run on the device.
  data::Batch next_batch(const Tensor& step = {}) {
    if (whole_.x.defined()) return whole_;
    if (resident_) return resident_->load(step);
    data::Batch batch;
    bool there = epoch_ > 0 && loader_->next(batch);
    if (!there) {
      loader_->start(epoch_++);
      there = loader_->next(batch);
    }
    check(there, "train: the loader gave no batch");
    batch.x = batch.x.to(o_.precision);
    return batch;
  }

  // --- steps
  // ------------------------------------------------------------------------------------------------------------

  optim::Schedule schedule() const {
    if (o_.schedule) return o_.schedule;
    const std::int64_t warmup = std::min(o_.warmup, steps_);
    const optim::Schedule cosine = optim::cosine(std::max<std::int64_t>(1, steps_ - warmup));
    return warmup > 0 ? optim::warm_up(warmup, cosine) : cosine;
  }

  std::vector<Tensor> trained() const {
    std::vector<Tensor> parameters;
    for (const auto& [name, tensor] : scope_.trainable()) parameters.push_back(tensor);
    return parameters;
  }

  bool asked_to_stop() {
    result_.interrupted = o_.stop && o_.stop();
    return result_.interrupted;
  }

  void train_on_host() {
    const optim::Schedule factor_at = schedule();
    std::vector<double> rates;
    for (const optim::ParamGroup& group : optimizer_->groups()) rates.push_back(group.lr);
    const std::vector<Tensor> parameters = trained();
    resumed_ = Clock::now();
    while (result_.steps < steps_ && !asked_to_stop()) {
      const data::Batch batch = next_batch();
      const Tensor loss = cross_entropy(forward_(batch.x), batch.y, {.label_smoothing = o_.label_smoothing});
      const double value = loss.item();
      check_loss(value);
      loss.backward();
      const double factor = factor_at(result_.steps);
      for (std::size_t i = 0; i < rates.size(); ++i) optimizer_->groups()[i].lr = rates[i] * factor;
      optimizer_->step(o_.clip_norm > 0 ? optim::clip_factor(parameters, o_.clip_norm) : 1);
      optimizer_->zero_grad();
      count_step(value, rates.back() * factor);
      if (is_evaluation(result_.steps) && evaluate_and_ask_to_end()) break;
    }
    end_of_steps();
  }

  /// As on the host, but that the host looks at a loss when it has come: the steps' results are the same.
  void train_on_device() {
    const optim::Schedule factor_at = schedule();
    DeviceSteps::Setup setup;
    setup.batch = [this](const Tensor& step) { return next_batch(step); };
    setup.forward = [this](const Tensor& x) { return forward_(x); };
    setup.optimizer = optimizer_.get();
    setup.parameters = trained();
    setup.label_smoothing = o_.label_smoothing;
    for (std::int64_t step = 0; step < steps_; ++step) setup.state.lr_factor.push_back(factor_at(step));
    const std::vector<double> factors = setup.state.lr_factor;
    setup.state.clip_norm = o_.clip_norm;
    setup.state.loss_scale = o_.precision == DType::f16 ? o_.loss_scale : 0;
    for (const auto& [name, tensor] : changing()) setup.changing.push_back(tensor);
    for (const Tensor& tensor : trained()) setup.changing.push_back(tensor);
    setup.fingerprint = [this] { return fingerprint(); };
    const bool timed = device_.is_cuda() && cuda::profiling();
    if (timed && o_.capture) log("captured steps: off, each kernel is timed by itself (GRAFT_PROFILE)");
    setup.graph.capture = o_.capture && !loader_ && !timed;
    setup.graph.expected = steps_;
    const std::int64_t group = steps_a_group();
    if (features_.defined()) {
      setup.graph.most_steps = group;
      setup.graph.most_nodes = kEpochNodes;
    }
    setup.log = [this](const std::string& line) { log(line); };
    DeviceSteps steps(std::move(setup), device_);
    const double rate = optimizer_->groups().back().lr;

    resumed_ = Clock::now();
    std::int64_t given = 0;
    const auto take_losses = [&](bool wait) {
      for (const double loss : steps.new_losses(wait)) {
        if (o_.precision == DType::f16) {
          check(std::isfinite(loss) || ++bad_in_a_row_ < kMostBadSteps, o_.phase, ": the loss was not finite in ",
                kMostBadSteps, " steps in a row, up to step ", result_.steps + 1, "; lower the rate, or train in bf16");
          if (std::isfinite(loss)) bad_in_a_row_ = 0;
        } else {
          check_loss(loss);
        }
        count_step(loss, rate * factors[static_cast<std::size_t>(result_.steps)]);
      }
    };
    while (given < steps_ && !asked_to_stop()) {
      std::int64_t next = std::min(steps_, given + group);
      if (o_.evaluate_every > 0) next = std::min(next, (given / o_.evaluate_every + 1) * o_.evaluate_every);
      steps.run(next - given);
      given = next;
      take_losses(is_evaluation(given));
      if (is_evaluation(given) && evaluate_and_ask_to_end()) break;
    }
    take_losses(true);
    end_of_steps();
    steps.finish();
    result_.replayed = steps.counts().replayed;
    result_.left_out = steps.state().left_out();
  }

  /// Of a head on its cache whole epochs, each one graph: next to launches of their own its steps are nothing.
  std::int64_t steps_a_group() const {
    if (!features_.defined()) return kGroup;
    const std::int64_t epoch = dataset_.size() / batch_size_;
    const std::int64_t epochs = epoch * std::max<std::int64_t>(1, kGroup / epoch);
    return o_.evaluate_every > 0 ? std::min(epochs, o_.evaluate_every) : epochs;
  }

  /// What a captured step depends on beside memory: it is captured anew when any of it changes.
  std::uint64_t fingerprint() {
    std::uint64_t h = 0xCBF29CE484222325ull;
    const auto mix = [&h](std::uint64_t word) { h = (h ^ word) * 0x100000001B3ull; };
    for (const auto& [name, tensor] : module_.state_dict()) {
      mix(reinterpret_cast<std::uintptr_t>(tensor.ref().data));
      mix(tensor.requires_grad());
    }
    for (const auto& [name, m] : module_.named_modules()) mix(m->is_training());
    for (const optim::ParamGroup& group : optimizer_->groups()) {
      mix(std::bit_cast<std::uint64_t>(group.lr));
      mix(std::bit_cast<std::uint64_t>(group.weight_decay));
    }
    return h;
  }

  void check_loss(double loss) const {
    check(std::isfinite(loss), o_.phase, ": the loss is ", loss, " at step ", result_.steps + 1,
          "; lower the rate, clip the gradients (clip_norm), or look for NaN in the data");
  }

  bool is_evaluation(std::int64_t steps) const {
    return o_.evaluate_every > 0 && steps % o_.evaluate_every == 0 && steps < steps_;
  }

  void count_step(double loss, double lr) {
    if (std::isfinite(loss)) {
      loss_sum_ += loss;
      ++loss_count_;
    }
    ++result_.steps;
    const double seconds = result_.seconds + seconds_since(resumed_);
    if (result_.steps % point_every() == 0 && result_.steps < steps_ && !is_evaluation(result_.steps))
      add_point(seconds);
    if (!o_.progress) return;
    const auto images = static_cast<double>(result_.steps * batch_size_);
    o_.progress({o_.phase, result_.steps, steps_, loss, lr, seconds > 0 ? images / seconds : 0, seconds});
  }

  void add_point(double seconds) {
    const double loss = loss_count_ > 0 ? loss_sum_ / static_cast<double>(loss_count_) : 0;
    result_.curve.push_back({result_.steps, loss, -1, seconds});
    loss_sum_ = 0;
    loss_count_ = 0;
  }

  /// The clock stands still during an evaluation. True when patience has run out.
  bool evaluate_and_ask_to_end() {
    result_.seconds += seconds_since(resumed_);
    add_point(result_.seconds);
    result_.stopped_early = evaluate_point(result_.curve.back());
    resumed_ = Clock::now();
    return result_.stopped_early;
  }

  void end_of_steps() {
    result_.seconds += seconds_since(resumed_);
    if (result_.steps > 0 && (result_.curve.empty() || result_.curve.back().step != result_.steps))
      add_point(result_.seconds);
  }

  /// Enough points for a smooth curve, few enough to keep.
  std::int64_t point_every() const { return std::max<std::int64_t>(1, steps_ / 100); }

  /// Evaluates on the validation set; true when patience has run out.
  bool evaluate_point(TrainPoint& point) {
    if (valid_.size() == 0) return false;
    point.accuracy = accuracy();
    if (point.accuracy > best_accuracy_) {
      best_accuracy_ = point.accuracy;
      without_gain_ = 0;
      if (o_.restore_best) best_.take(changing());
      return false;
    }
    return o_.patience > 0 && ++without_gain_ >= o_.patience;
  }

  double accuracy() {
    module_.eval();
    // The network computes in what its parameters are now; the set lies in f32.
    const DType dtype = precision_->active() ? o_.precision : DType::f32;
    const Evaluation evaluation =
        score([&](const Tensor& x) { return forward_(x.to(dtype)); }, valid_, valid_set_->batches());
    scope_.set_modes();
    return evaluation.accuracy;
  }

  /// What training moves: trainable parameters (their f32 values) and the buffers that are not frozen.
  NamedTensors changing() const {
    NamedTensors all;
    for (const auto& [name, tensor] : scope_.trainable()) all.emplace_back(name, precision_->master(tensor));
    for (const auto& [name, buffer] : module_.named_buffers()) {
      const bool frozen = std::any_of(scope_.frozen().begin(), scope_.frozen().end(),
                                      [&, &b = buffer](const auto& f) { return f.second.is_same(b); });
      if (!frozen) all.emplace_back(name, buffer);
    }
    return all;
  }

  void finish() {
    precision_->restore();
    if (valid_.size() > 0) {
      result_.accuracy = accuracy();
      if (o_.restore_best && best_accuracy_ > result_.accuracy) {
        best_.restore();
        result_.accuracy = best_accuracy_;
      }
      if (!result_.curve.empty()) result_.curve.back().accuracy = result_.accuracy;
    }
    fold_scale();
    result_.images_per_second =
        result_.seconds > 0 ? static_cast<double>(result_.steps * batch_size_) / result_.seconds : 0;
    result_.frozen.checksum_after = checksum(scope_.frozen());
    result_.frozen.optimizer_state_bytes = optimizer_->state_bytes();
    for (const auto& [name, tensor] : scope_.frozen())
      check(!optimizer_->has_state(tensor), "train: the optimiser holds state for the frozen tensor '", name, "'");
    check(result_.frozen.intact(), "train: frozen tensors were changed during ", o_.phase,
          "; something outside this run wrote to the network");
    module_.zero_grad();
  }

  Module& module_;
  const data::Dataset& dataset_;
  const data::Dataset& valid_;
  const TrainOptions& o_;
  const Device device_;   // the module's: everything follows it
  const bool on_device_;  // counters, losses and the data set lie there, and the host does not wait
  MaskScope scope_;
  Forward forward_;
  FeatureCache own_cache_;
  Tensor features_, valid_features_;
  // Where batches come from: one of three.
  data::Batch whole_;
  std::optional<data::DeviceBatches> resident_;
  std::optional<data::Loader> loader_;
  std::optional<WholeSet> valid_set_;
  std::optional<PrecisionScope> precision_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  std::int64_t batch_size_ = 0, steps_ = 0, without_gain_ = 0, loss_count_ = 0, bad_in_a_row_ = 0;
  std::uint64_t epoch_ = 0;
  Clock::time_point resumed_;
  double loss_sum_ = 0;
  double best_accuracy_ = -1;
  Snapshot best_;
  TrainResult result_;
};

}  // namespace

TrainResult train(Module& module, const data::Dataset& dataset, const data::Dataset& valid,
                  const TrainOptions& options) {
  check_options(dataset, options);
  return Run(module, dataset, valid, options).go();
}

}  // namespace graft::transfer
