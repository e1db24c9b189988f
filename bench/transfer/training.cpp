#include <transfer/training.h>

#include <chrono>

#include <graft/core/random.h>
#include <graft/models/models.h>

namespace graft::bench {
namespace {

using Layers = TrainingTask::Layers;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::vector<TrainingTask> tasks_of(std::int64_t size, std::int64_t source_classes, std::vector<std::int64_t> hidden) {
  const Shape image{1, size, size};
  const auto strokes = [size](std::int64_t classes) {
    return [=] { return models::strokes_net({.num_classes = classes, .image_size = size}); };
  };
  return {
      {"strokes_pretrain", strokes(source_classes), image, source_classes, Layers::from_scratch},
      {"strokes_head_only", strokes(10), image, 10, Layers::head},
      {"strokes_head_uncached", strokes(10), image, 10, Layers::head_and_trunk},
      {"strokes_all_layers", strokes(10), image, 10, Layers::all_fine_tuned},
      {"lenet5", [] { return models::lenet5(); }, {1, 28, 28}, 10, Layers::from_scratch},
      {"mlp", [=] { return models::mlp({.in_features = size * size, .hidden = hidden}); }, image, 10,
       Layers::from_scratch},
  };
}

data::Dataset random_pictures(std::int64_t count, const Shape& image, std::int64_t classes) {
  Generator generator(7);
  data::Dataset set{.images = Tensor::empty({count, image[0], image[1], image[2]}, DType::u8),
                    .labels = Tensor::empty({count}, DType::i64),
                    .classes = classes,
                    .class_names = {}};
  auto* pixel = set.images.data<std::uint8_t>();
  for (std::int64_t i = 0; i < set.images.numel(); ++i) pixel[i] = static_cast<std::uint8_t>(generator.below(256));
  auto* label = set.labels.data<std::int64_t>();
  for (std::int64_t i = 0; i < count; ++i)
    label[i] = static_cast<std::int64_t>(generator.below(static_cast<std::uint64_t>(classes)));
  return set;
}

}  // namespace

const std::vector<TrainingTask>& training_tasks() {
  static const std::vector<TrainingTask> tasks = tasks_of(28, 1000, {256, 128});
  return tasks;
}

const std::vector<TrainingTask>& small_training_tasks() {
  static const std::vector<TrainingTask> tasks = tasks_of(8, 20, {24});
  return tasks;
}

const TrainingTask& training_task(const std::string& name) {
  std::string names;
  for (const TrainingTask& task : training_tasks()) {
    if (task.name == name) return task;
    names += " " + task.name;
  }
  fail("no training task '", name, "'; there are:", names);
}

cuda::Activity operator-(const cuda::Activity& b, const cuda::Activity& a) {
  return {b.launches - a.launches, b.graph_launches - a.graph_launches, b.copies - a.copies, b.waits - a.waits,
          b.allocations - a.allocations};
}

Training::Training(const TrainingTask& task, const TrainingRun& run)
    : task_(task), run_(run), net_(task.network()), dataset_(random_pictures(run.images, task.image, task.classes)) {
  net_->to(run.device);
}

transfer::TrainOptions Training::options(std::int64_t steps) {
  transfer::TrainOptions o;
  o.phase = task_.name;
  o.steps = steps;
  o.batch_size = run_.batch;
  o.lr = 1e-4;  // random labels are learnt by heart without ever diverging
  o.schedule = optim::constant();
  o.normalization = {.mean = 127.5, .deviation = 73.9};  // of the uniform distribution of bytes
  o.precision = run_.precision;
  o.capture = run_.capture;
  o.cache = &cache_;
  o.use_cache = task_.layers == Layers::head;
  if (task_.head_only()) {
    o.mask = transfer::GradientMask::head_only(*net_);
    o.optimizer = transfer::OptimizerKind::adam;
  }
  o.batch_norm_inference = task_.layers != Layers::from_scratch;
  if (task_.layers == Layers::all_fine_tuned) o.head_lr = 10 * o.lr;
  return o;
}

Training::Steady Training::run(const std::function<bool(std::int64_t)>& go_on, std::int64_t at_most,
                               std::int64_t warm_up) {
  const std::int64_t group = run_.device.is_cuda() ? 64 : 1;  // TrainOptions::stop
  Steady steady;
  cuda::Activity before;
  double begin = 0;
  std::int64_t given = 0;
  std::string said;
  transfer::TrainOptions o = options(at_most);
  o.log = [&](const std::string& line) { said += (said.empty() ? "" : "; ") + line; };
  o.stop = [&] {
    if (given < warm_up) {
      given += group;
      return false;
    }
    if (begin == 0) {
      if (run_.device.is_cuda()) cuda::synchronize(run_.device);
      before = cuda::device_activity();
      begin = now();
    }
    if (go_on(group)) {
      given += group;
      steady.steps += group;
      return false;
    }
    steady.activity = cuda::device_activity() - before;
    if (run_.device.is_cuda()) cuda::synchronize(run_.device);
    steady.seconds = now() - begin;
    return true;
  };
  const transfer::TrainResult result = transfer::train(*net_, dataset_, {}, o);
  check(result.interrupted && steady.steps > 0, task_.name, ": ", at_most, " steps were too few to measure");
  check(result.steps == given, task_.name, ": ", result.steps, " steps were run, ", given, " were counted");
  check(!run_.device.is_cuda() || (result.replayed > 0) == run_.capture, task_.name, ": ", result.replayed, " of ",
        result.steps, " steps were replayed with capture ", run_.capture ? "on" : "off", ": ", said);
  return steady;
}

cuda::Activity Training::one_step() {
  const auto of = [&](std::int64_t steps) {
    transfer::TrainOptions o = options(steps);
    o.capture = false;
    const cuda::Activity before = cuda::device_activity();
    transfer::train(*net_, dataset_, {}, o);
    return cuda::device_activity() - before;
  };
  of(1);  // features
  const cuda::Activity one = of(1);
  return of(2) - one;
}

}  // namespace graft::bench
