#include <cstdio>

#include <nlohmann/json.hpp>

#include <graft/apps/mnist_finetune/report.h>

namespace graft::demo {
namespace {

using nlohmann::json;

std::string hex(std::uint64_t value) {
  char text[19];
  std::snprintf(text, sizeof text, "0x%016llx", static_cast<unsigned long long>(value));
  return text;
}

json object(const std::vector<std::pair<std::string, std::string>>& pairs) {
  json all = json::object();
  for (const auto& [name, value] : pairs) all[name] = value;
  return all;
}

json source_of(const SourceTask& source) {
  json all = {
      {"task", "strokes-1000"},     {"classes", kSourceClasses}, {"images", source.images},
      {"steps", source.steps},      {"seconds", source.seconds}, {"images_per_second", source.images_per_second},
      {"reused", source.reused},    {"file", source.file},       {"held_out_images", held_out_images(source.images)},
      {"accuracy", source.accuracy}};
  if (source.accuracy < 0) all["accuracy"] = nullptr;
  return all;
}

json frozen_of(const FrozenCheck& frozen) {
  if (frozen.runs == 0) return nullptr;
  return {{"runs", frozen.runs},
          {"tensors", frozen.report.tensors},
          {"bytes", frozen.report.bytes},
          {"checksum_before", hex(frozen.report.checksum_before)},
          {"checksum_after", hex(frozen.report.checksum_after)},
          {"intact", frozen.intact}};
}

}  // namespace

std::string report_json(const Report& r) {
  json results = json::array(), summary = json::array(), rates = json::object();
  for (const Row& row : r.comparison.rows)
    results.push_back({{"labels_per_class", row.labels},
                       {"seed", row.seed},
                       {"method", key(row.method)},
                       {"accuracy", row.accuracy},
                       {"seconds", row.seconds}});
  for (const Cell& cell : summarize(r.comparison.rows))
    summary.push_back({{"labels_per_class", cell.labels},
                       {"method", key(cell.method)},
                       {"mean", cell.mean},
                       {"deviation", cell.deviation},
                       {"runs", cell.runs}});
  rates["pretraining"] = r.source.images_per_second;
  for (const auto& [method, rate] : r.comparison.images_per_second) rates[key(method)] = rate;
  const json report = {{"schema", 1},
                       {"device", r.device},
                       {"processor", r.processor},
                       {"threads", r.threads},
                       {"versions", object(r.versions)},
                       {"settings", object(r.settings)},
                       {"started", r.started},
                       {"seconds", r.seconds},
                       {"interrupted", r.interrupted},
                       {"train_images", r.train_images},
                       {"test_images", r.test_images},
                       {"source", source_of(r.source)},
                       {"images_per_second", rates},
                       {"frozen", frozen_of(r.comparison.frozen)},
                       {"results", results},
                       {"summary", summary},
                       {"files", r.comparison.files}};
  return report.dump(2) + "\n";
}

}  // namespace graft::demo
