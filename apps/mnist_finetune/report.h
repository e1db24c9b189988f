// What a run leaves behind: report.json and report.html.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <graft/apps/mnist_finetune/comparison.h>
#include <graft/apps/mnist_finetune/png.h>
#include <graft/apps/mnist_finetune/source_task.h>

namespace graft::demo {

struct Mistake {
  Picture picture;
  std::int64_t truth = 0, predicted = 0;
  double confidence = 0;
};

/// First-layer filters of the network before (the pretrained one) and after fine-tuning, row-major.
struct Filters {
  std::int64_t count = 0, side = 0;
  std::vector<float> before, after;
};

struct Report {
  std::string device, processor, started;  // "2026-01-31 12:00:00 UTC"
  int threads = 0;
  std::vector<std::pair<std::string, std::string>> versions, settings;
  double seconds = 0;
  bool interrupted = false;
  std::int64_t train_images = 0, test_images = 0;
  SourceTask source;
  ComparisonResult comparison;

  // For the page only; empty where the run in focus did not end.
  std::vector<std::int64_t> confusion;  // truth * 10 + prediction
  std::vector<Mistake> mistakes;
  Filters filters;
  Picture source_samples, target_samples;
};

/// The wrong answers that the network was surest of, surest first.
std::vector<Mistake> surest_mistakes(const transfer::Evaluation& evaluation, const data::Dataset& dataset,
                                     std::size_t most);
/// The weights of both networks' "conv1", one input channel.
Filters first_filters(const Module& before, const Module& after);
/// The images at these positions as a sheet, `columns` across, a black gap between them.
Picture sheet(const data::Dataset& dataset, const std::vector<std::int64_t>& positions, int columns);

std::string report_json(const Report& report);
std::string report_html(const Report& report);

}  // namespace graft::demo
