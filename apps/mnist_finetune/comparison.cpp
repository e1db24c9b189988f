#include <graft/apps/mnist_finetune/comparison.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <graft/apps/mnist_finetune/source_task.h>
#include <graft/core/autograd/node.h>
#include <graft/core/io/safetensors.h>
#include <graft/core/ops/nn.h>
#include <graft/models/models.h>
#include <graft/transfer/copy.h>

namespace graft::demo {
namespace {

constexpr std::int64_t kDigits = 10;
constexpr std::int64_t kFewLabels = 5;  // a class, up to which the head also learns from augmented copies
constexpr std::int64_t kCurveImages = 1000;

/// A network with a frozen trunk, used for every subset, so that the test set's features are computed once.
struct Trunk {
  std::shared_ptr<Sequential> net;
  transfer::FeatureCache cache;
};

class Comparison {
 public:
  Comparison(const Sequential& source, const data::Dataset& train, const data::Dataset& test,
             const ComparisonOptions& options, Console& console)
      : source_(source), train_(train), test_(test), o_(options), console_(console) {
    // Spread over the whole set, whose first half is known to be the harder one.
    std::vector<std::int64_t> spread(static_cast<std::size_t>(std::min(kCurveImages, test.size())));
    const auto count = static_cast<std::int64_t>(spread.size());
    for (std::int64_t i = 0; i < count; ++i) spread[static_cast<std::size_t>(i)] = i * test.size() / count;
    curve_test_ = data::subset(test, spread);
    result_.focus.labels = nearest_labels(o_.labels, 10);
  }

  ComparisonResult go() {
    std::vector<Method> methods = {Method::scratch, Method::random_frozen};
    methods.insert(methods.end(), o_.strategies.begin(), o_.strategies.end());
    for (const std::int64_t labels : o_.labels) {
      console_.say(cat("  ", labels, labels == 1 ? " label a class" : " labels a class"));
      for (std::uint64_t seed = o_.seed; seed < o_.seed + static_cast<std::uint64_t>(o_.seeds); ++seed) {
        subset_ = data::stratified_subset(train_, labels, seed);
        for (const Method method : methods) {
          if (o_.stop && o_.stop()) result_.interrupted = true;
          if (result_.interrupted) return std::move(result_);
          run(method, labels, seed);
        }
      }
    }
    return std::move(result_);
  }

 private:
  void run(Method method, std::int64_t labels, std::uint64_t seed) {
    focused_ = labels == result_.focus.labels && seed == o_.seed;
    seed_ = seed;
    // Every run starts from its own seed, so that leaving one out does not change the others.
    manual_seed(Generator(seed).fork(static_cast<std::uint64_t>(method)).seed());
    std::shared_ptr<Sequential> net;
    transfer::TrainResult trained;
    if (method == Method::scratch) {
      net = models::strokes_net({.num_classes = kDigits});
      net->to(o_.device);
      trained = from_scratch(*net, labels);
    } else if (method == Method::random_frozen || method == Method::head_only) {
      Trunk& trunk = method == Method::head_only ? pretrained_trunk() : random_trunk();
      net = trunk.net;
      trained = head_only(trunk, labels);
    } else {
      net = copy_of_source();
      trained = all_layers(*net, method);
    }
    console_.clear();
    if (trained.interrupted) {
      result_.interrupted = true;
      return;
    }
    record(method, labels, net, trained);
  }

  void record(Method method, std::int64_t labels, const std::shared_ptr<Sequential>& net,
              const transfer::TrainResult& trained) {
    const bool frozen = method == Method::head_only || method == Method::random_frozen;
    const bool inspected = focused_ && method == o_.strategies.back();
    double accuracy = trained.accuracy;
    // A frozen trunk was scored on cached features of the whole test set, unless its curve was drawn from a part of it.
    if (!frozen || focused_) {
      transfer::Evaluation evaluation = transfer::evaluate(*net, test_, kNormalization);
      accuracy = evaluation.accuracy;
      if (inspected) {
        result_.focus.method = method;
        result_.focus.net = clone(*net);
        result_.focus.evaluation = std::move(evaluation);
      }
    }
    const double seconds = trained.seconds + trained.feature_seconds;
    result_.rows.push_back({labels, seed_, method, accuracy, seconds});
    if (!frozen) result_.images_per_second[method] = trained.images_per_second;
    if (focused_) result_.focus.curves.push_back({method, trained.curve});
    if (method == Method::head_only) {
      result_.frozen.report = trained.frozen;
      result_.frozen.intact = result_.frozen.intact && trained.frozen.intact();
      ++result_.frozen.runs;
    }
    if (seed_ == o_.seed && method != Method::scratch && method != Method::random_frozen)
      keep_weights(method, labels, *net, accuracy);

    char line[128];
    std::snprintf(line, sizeof line, "    %-26s %5.1f%%   %s", title(method), 100 * accuracy,
                  format_duration(seconds).c_str());
    console_.say(o_.seeds > 1 ? cat(line, "   seed ", seed_) : line);
  }

  void keep_weights(Method method, std::int64_t labels, const Sequential& net, double accuracy) {
    const std::string path = cat(o_.folder, "/", key(method), "-", labels, "-labels.safetensors");
    io::write_safetensors(path, net.state_dict(),
                          {{"method", key(method)},
                           {"labels_per_class", std::to_string(labels)},
                           {"seed", std::to_string(seed_)},
                           {"accuracy", std::to_string(accuracy)}});
    result_.files.push_back(path);
  }

  static std::shared_ptr<Sequential> clone(const Sequential& net) {
    auto copy = models::strokes_net({.num_classes = kDigits});
    copy->load_state_dict(net.state_dict());
    copy->eval();
    return copy;
  }

  std::shared_ptr<Sequential> copy_of_source() {
    auto net = models::strokes_net({.num_classes = kDigits});
    const std::string summary = transfer::copy_backbone(source_, *net).summary();
    if (result_.copied.empty()) result_.copied = summary;
    net->to(o_.device);
    return net;
  }

  Trunk& pretrained_trunk() {
    if (!pretrained_.net) pretrained_.net = copy_of_source();
    return pretrained_;
  }

  /// An untrained network's running statistics (mean 0, variance 1) fit no activations; they settle on unlabelled
  /// drawings of the source task first, so that the control is as good as random features get.
  Trunk& random_trunk() {
    Trunk& trunk = random_[seed_];
    if (!trunk.net) {
      trunk.net = models::strokes_net({.num_classes = kDigits});
      trunk.net->to(o_.device);
      calibrate_batch_norm(*trunk.net, held_out_strokes(seed_, 2048));
    }
    return trunk;
  }

  std::function<void(const transfer::Progress&)> shower(Method method) {
    return [this, method](const transfer::Progress& p) {
      console_.progress({cat("    ", title(method)), p.step, p.steps, p.seconds, p.images_per_second});
    };
  }

  transfer::TrainResult from_scratch(Sequential& net, std::int64_t labels) {
    transfer::TrainOptions t;
    t.phase = "from scratch";
    t.steps = o_.steps > 0 ? o_.steps : 400;
    t.batch_size = std::min<std::int64_t>(50, subset_.size());
    t.lr = labels <= 10 ? 1e-3 : 3e-3;
    t.weight_decay = 0.01;
    t.warmup = std::min<std::int64_t>(20, t.steps / 10);
    t.seed = seed_;
    t.normalization = kNormalization;
    t.augment = data::AffineAugment::handwriting();
    t.precision = o_.precision;
    t.evaluate_every = curve_every(t.steps);
    t.progress = shower(Method::scratch);
    t.stop = o_.stop;
    return transfer::train(net, subset_, curve_test(), t);
  }

  transfer::TrainResult head_only(Trunk& trunk, std::int64_t labels) {
    const bool pretrained = &trunk == &pretrained_;
    const data::Dataset images = labels <= kFewLabels ? with_augmented_copies(subset_, 20 / labels, seed_) : subset_;
    transfer::FineTuneOptions t = shared(pretrained ? Method::head_only : Method::random_frozen);
    t.strategy = transfer::Strategy::head_only;
    t.cache = &trunk.cache;
    t.evaluate_every = focused_ ? 5 : 0;
    return transfer::fine_tune(*trunk.net, images, focused_ ? curve_test_ : test_, t);
  }

  transfer::TrainResult all_layers(Sequential& net, Method method) {
    transfer::FineTuneOptions t = shared(method);
    t.strategy = method == Method::all_layers ? transfer::Strategy::all_layers : transfer::Strategy::head_then_all;
    t.steps = o_.steps;
    t.augment = data::AffineAugment::handwriting();
    t.evaluate_every = curve_every(o_.steps > 0 ? o_.steps : 400);
    return transfer::fine_tune(net, subset_, curve_test(), t);
  }

  transfer::FineTuneOptions shared(Method method) {
    transfer::FineTuneOptions t;
    t.normalization = kNormalization;
    t.seed = seed_;
    t.precision = o_.precision;
    t.progress = shower(method);
    t.stop = o_.stop;
    return t;
  }

  /// Only the run in focus is followed: what the curves show of it is used for nothing else.
  std::int64_t curve_every(std::int64_t steps) const { return focused_ ? std::max<std::int64_t>(1, steps / 16) : 0; }
  data::Dataset curve_test() const { return focused_ ? curve_test_ : data::Dataset{}; }

  const Sequential& source_;
  const data::Dataset &train_, &test_;
  const ComparisonOptions& o_;
  Console& console_;
  data::Dataset curve_test_, subset_;
  Trunk pretrained_;
  std::map<std::uint64_t, Trunk> random_;
  bool focused_ = false;
  std::uint64_t seed_ = 0;
  ComparisonResult result_;
};

}  // namespace

data::Dataset with_augmented_copies(const data::Dataset& dataset, std::int64_t copies, std::uint64_t seed) {
  std::vector<std::int64_t> positions, all;
  for (std::int64_t copy = 0; copy <= copies; ++copy)
    for (std::int64_t i = 0; i < dataset.size(); ++i) positions.push_back(i);
  data::Dataset many = data::subset(dataset, positions);
  const std::int64_t first = dataset.size(), count = many.size() - first;
  if (count == 0) return many;

  std::vector<std::int64_t> copied(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < copied.size(); ++i) copied[i] = first + static_cast<std::int64_t>(i);
  const Tensor theta = data::affine_matrices(data::AffineAugment::handwriting(), seed, 0, copied);
  const Tensor warped = affine_warp(data::normalized(many.images, {}, copied), theta).contiguous();
  const auto* from = warped.data<float>();
  std::uint8_t* to = many.images.data<std::uint8_t>() + first * (many.images.numel() / many.size());
  for (std::int64_t i = 0; i < warped.numel(); ++i)
    to[i] = static_cast<std::uint8_t>(std::lround(std::clamp(from[i], 0.F, 255.F)));
  return many;
}

void calibrate_batch_norm(Module& module, const data::Dataset& images) {
  constexpr std::int64_t kBatch = 64;
  const NoGrad no_grad;
  const Device device = module.parameters().front().device();
  module.train();
  // Running averages forget a tenth a batch: after 32 of them 3% of the start is left.
  for (std::int64_t first = 0; first + kBatch <= images.size(); first += kBatch) {
    std::vector<std::int64_t> positions(kBatch);
    for (std::int64_t i = 0; i < kBatch; ++i) positions[static_cast<std::size_t>(i)] = first + i;
    module(data::normalized(images.images, kNormalization, positions).to(device));
  }
  module.eval();
}

ComparisonResult compare(const Sequential& source, const data::Dataset& train, const data::Dataset& test,
                         const ComparisonOptions& options, Console& console) {
  return Comparison(source, train, test, options, console).go();
}

}  // namespace graft::demo
