// The source task: a network that has learnt strokes-1000, trained now or read from the file of an earlier run.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <graft/apps/mnist_finetune/progress.h>
#include <graft/core/data/dataset.h>
#include <graft/layers/layers.h>
#include <graft/transfer/train.h>

namespace graft::demo {

/// Pixels of both tasks become (pixel - 33.3) / 78.6.
inline constexpr data::Normalization kNormalization{33.3, 78.6};
inline constexpr std::int64_t kSourceClasses = 1000;
inline constexpr std::int64_t kMostHeldOutImages = 5000;

struct SourceTask {
  std::shared_ptr<Sequential> net;  // on the CPU, wherever it was trained
  std::int64_t images = 0, steps = 0;
  double accuracy = -1;  // on held_out_images() drawings that were not trained on
  double seconds = 0;    // of training
  double images_per_second = 0;
  std::vector<transfer::TrainPoint> curve;
  bool reused = false;
  bool interrupted = false;  // then the network is unfinished, and there is no file
  std::string file;
};

struct SourceOptions {
  std::int64_t images = 100'000;
  std::uint64_t seed = 1;
  bool repretrain = false;
  std::string folder;  // where the file is kept
  Device device = Device::cpu();
  DType precision = DType::f32;
  std::function<bool()> stop{};
};

/// "<folder>/strokes1000-100000-seed1-v2.safetensors".
std::string source_file(const SourceOptions& options);

/// What the weights depend on; a file that says anything else is not used.
std::map<std::string, std::string> source_settings(const SourceOptions& options);

/// Reads the file; returns why not, or "" when `task` is complete.
std::string read_source(const SourceOptions& options, SourceTask& task);
void write_source(const SourceOptions& options, const SourceTask& task);

/// Reads the file, or draws, trains, scores and writes it.
SourceTask learn_source(const SourceOptions& options, Console& console);

/// How many drawings a network that was trained on `images` is scored on: as many, up to kMostHeldOutImages.
std::int64_t held_out_images(std::int64_t images);

/// Drawings that pretraining never sees.
data::Dataset held_out_strokes(std::uint64_t seed, std::int64_t images);

}  // namespace graft::demo
