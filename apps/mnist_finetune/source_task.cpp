#include <graft/apps/mnist_finetune/source_task.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>

#include <nlohmann/json.hpp>

#include <graft/core/data/strokes.h>
#include <graft/core/io/safetensors.h>
#include <graft/models/models.h>
#include <graft/transfer/evaluate.h>
#include <graft/transfer/mask.h>

namespace graft::demo {
namespace {

constexpr std::int64_t kBatch = 128;
constexpr double kPeakRate = 3e-3, kWeightDecay = 0.01;
// The study: 100,000 pictures are enough, and more passes gain nothing once the network has seen that many.
constexpr std::int64_t kLeastPictures = 150'000;
// Sample indices of drawings to test on begin behind those that any allowed --pretrain-images reaches.
constexpr std::int64_t kHeldOutIndex = 1'000'000;

std::int64_t source_steps(std::int64_t images) {
  return std::max(images, std::min(kLeastPictures, 2 * images)) / kBatch;
}

std::string hex(std::uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

data::Dataset draw(const SourceOptions& options, Console& console) {
  const auto begin = std::chrono::steady_clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(); };
  const data::Dataset drawings = data::make_strokes(
      {.classes = kSourceClasses, .images = options.images, .seed = options.seed}, [&](std::int64_t done) {
        const double now = seconds();
        console.progress({"  drawing", done, options.images, now, static_cast<double>(done) / std::max(now, 1e-9)});
      });
  console.say(cat("  drew ", with_thousands(options.images), " pictures of ", with_thousands(kSourceClasses),
                  " made-up glyphs in ", format_duration(seconds())));
  return drawings;
}

}  // namespace

std::string source_file(const SourceOptions& o) {
  const std::string precision = o.precision == DType::f32 ? "" : cat("-", name(o.precision));
  return cat(o.folder, "/strokes1000-", o.images, "-seed", o.seed, precision, "-v2.safetensors");
}

std::map<std::string, std::string> source_settings(const SourceOptions& o) {
  return {{"task", "strokes-1000"},
          {"images", std::to_string(o.images)},
          {"seed", std::to_string(o.seed)},
          {"steps", std::to_string(source_steps(o.images))},
          {"recipe", cat("adamw, rate ", kPeakRate, ", decay ", kWeightDecay, ", batch ", kBatch)},
          {"precision", name(o.precision)},
          {"normalization", cat("(pixel - ", kNormalization.mean, ") / ", kNormalization.deviation)}};
}

std::string read_source(const SourceOptions& options, SourceTask& task) {
  const std::string path = source_file(options);
  if (!std::filesystem::exists(path)) return cat("there is no ", path, " yet");
  try {
    const io::SafetensorsFile file = io::read_safetensors(path);
    for (const auto& [name, value] : source_settings(options)) {
      const auto found = file.metadata.find(name);
      if (found == file.metadata.end() || found->second != value)
        return cat(path, " was made with other settings (", name, ": ",
                   found == file.metadata.end() ? "none" : found->second, ", expected ", value, ")");
    }
    auto net = models::strokes_net({.num_classes = kSourceClasses});
    net->load_state_dict(file.tensors);
    if (file.metadata.at("checksum") != hex(transfer::checksum(net->state_dict())))
      return cat(path, " is damaged: its weights do not match its checksum");

    const auto about = nlohmann::json::parse(file.metadata.at("training"));
    task.accuracy = about.at("accuracy").get<double>();
    task.seconds = about.at("seconds").get<double>();
    task.images_per_second = about.at("images_per_second").get<double>();
    for (const auto& point : about.at("curve"))
      task.curve.push_back({.step = point.at(0).get<std::int64_t>(), .loss = point.at(1).get<double>()});
    net->eval();
    task.net = net;
    task.images = options.images;
    task.steps = source_steps(options.images);
    task.reused = true;
    task.file = path;
    return "";
  } catch (const std::exception& error) {
    return cat(path, " cannot be used: ", error.what());
  }
}

void write_source(const SourceOptions& options, const SourceTask& task) {
  nlohmann::json curve = nlohmann::json::array();
  for (const transfer::TrainPoint& point : task.curve) curve.push_back({point.step, point.loss});
  auto metadata = source_settings(options);
  metadata["training"] = nlohmann::json{
      {"accuracy", task.accuracy},
      {"seconds", task.seconds},
      {"images_per_second", task.images_per_second},
      {"curve", curve}}.dump();
  metadata["checksum"] = hex(transfer::checksum(task.net->state_dict()));
  std::filesystem::create_directories(options.folder);
  io::write_safetensors(source_file(options), task.net->state_dict(), metadata);
}

std::int64_t held_out_images(std::int64_t images) { return std::min(images, kMostHeldOutImages); }

data::Dataset held_out_strokes(std::uint64_t seed, std::int64_t images) {
  return data::make_strokes({.classes = kSourceClasses, .images = images, .seed = seed, .first_index = kHeldOutIndex});
}

SourceTask learn_source(const SourceOptions& options, Console& console) {
  SourceTask task;
  if (options.repretrain) {
    console.say("  pretraining anew, as asked");
  } else {
    const std::string reason = read_source(options, task);
    if (reason.empty()) {
      console.say(cat("  reusing ", task.file, " (--repretrain makes it anew)"));
      return task;
    }
    console.say("  pretraining: " + reason);
  }

  task = {};
  task.images = options.images;
  const data::Dataset drawings = draw(options, console);
  if (options.stop && options.stop()) {
    task.interrupted = true;
    return task;
  }
  manual_seed(options.seed);
  task.net = models::strokes_net({.num_classes = kSourceClasses});
  task.net->to(options.device);

  transfer::TrainOptions train;
  train.phase = "pretraining";
  train.steps = source_steps(options.images);
  train.batch_size = kBatch;
  train.lr = kPeakRate;
  train.weight_decay = kWeightDecay;
  train.warmup = std::min<std::int64_t>(200, train.steps / 10);
  train.seed = options.seed;
  train.normalization = kNormalization;
  train.precision = options.precision;
  train.stop = options.stop;
  train.progress = [&](const transfer::Progress& p) {
    char loss[32];
    std::snprintf(loss, sizeof loss, "loss %.2f", p.loss);
    console.progress({"  pretraining", p.step, p.steps, p.seconds, p.images_per_second, "images", loss});
  };
  const transfer::TrainResult result = transfer::train(*task.net, drawings, {}, train);
  console.clear();
  task.steps = result.steps;
  task.seconds = result.seconds;
  task.images_per_second = result.images_per_second;
  task.curve = result.curve;
  task.interrupted = result.interrupted;
  if (!task.interrupted)
    task.accuracy =
        transfer::evaluate(*task.net, held_out_strokes(options.seed, held_out_images(options.images)), kNormalization)
            .accuracy;
  task.net->to(Device::cpu());
  if (task.interrupted) return task;

  write_source(options, task);
  task.file = source_file(options);
  console.say(cat("  trained ", with_thousands(task.steps), " steps in ", format_duration(task.seconds), " (",
                  format_rate(task.images_per_second, "images"), "), kept in ", task.file));
  return task;
}

}  // namespace graft::demo
