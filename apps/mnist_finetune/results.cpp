#include <graft/apps/mnist_finetune/results.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include <graft/kernels/api/error.h>

namespace graft::demo {
namespace {

std::string percent(double fraction) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", 100 * fraction);
  return text;
}

std::string padded(const std::string& text, std::size_t width) {
  return std::string(width > text.size() ? width - text.size() : 0, ' ') + text;
}

template <class T, class Get>
std::vector<T> distinct(const std::vector<Cell>& cells, Get get) {
  std::vector<T> values;
  for (const Cell& cell : cells) values.push_back(get(cell));
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  return values;
}

}  // namespace

std::vector<Cell> summarize(const std::vector<Row>& rows) {
  std::map<std::pair<std::int64_t, Method>, std::vector<Row>> groups;
  for (const Row& row : rows) groups[{row.labels, row.method}].push_back(row);
  std::vector<Cell> cells;
  for (const auto& [which, group] : groups) {
    Cell cell{.labels = which.first, .method = which.second, .runs = static_cast<std::int64_t>(group.size())};
    const auto n = static_cast<double>(group.size());
    for (const Row& row : group) {
      cell.mean += row.accuracy / n;
      cell.seconds += row.seconds / n;
    }
    double squares = 0;
    for (const Row& row : group) squares += (row.accuracy - cell.mean) * (row.accuracy - cell.mean);
    if (group.size() > 1) cell.deviation = std::sqrt(squares / (n - 1));
    cells.push_back(cell);
  }
  return cells;
}

const Cell* find(const std::vector<Cell>& cells, std::int64_t labels, Method method) {
  for (const Cell& cell : cells)
    if (cell.labels == labels && cell.method == method) return &cell;
  return nullptr;
}

std::vector<std::int64_t> labels_of(const std::vector<Cell>& cells) {
  return distinct<std::int64_t>(cells, [](const Cell& cell) { return cell.labels; });
}

std::vector<Method> methods_of(const std::vector<Cell>& cells) {
  return distinct<Method>(cells, [](const Cell& cell) { return cell.method; });
}

std::string format_accuracy(const Cell& cell, const char* plus_minus) {
  return cell.runs > 1 ? percent(cell.mean) + plus_minus + percent(cell.deviation) : percent(cell.mean);
}

std::string format_table(const std::vector<Row>& rows) {
  const std::vector<Cell> cells = summarize(rows);
  const std::vector<Method> methods = methods_of(cells);
  std::string text = "labels a class";
  const std::size_t first = text.size();
  for (const Method method : methods) text += "  " + padded(title(method), 20);
  text += "\n";
  for (const std::int64_t labels : labels_of(cells)) {
    text += padded(std::to_string(labels), first);
    for (const Method method : methods) {
      const Cell* cell = find(cells, labels, method);
      text += "  " + padded(cell != nullptr ? format_accuracy(*cell) : "-", 20);
    }
    text += "\n";
  }
  return text;
}

std::int64_t nearest_labels(const std::vector<std::int64_t>& labels, std::int64_t wanted) {
  // Near in ratio: 5 is as far from 10 as 20 is.
  const auto distance = [&](std::int64_t n) {
    return std::abs(std::log(static_cast<double>(n)) - std::log(static_cast<double>(wanted)));
  };
  std::int64_t best = 0;
  for (const std::int64_t n : labels)
    if (best == 0 || distance(n) < distance(best)) best = n;
  return best;
}

std::string headline(const std::vector<Row>& rows) {
  const std::vector<Cell> cells = summarize(rows);
  const std::int64_t labels = nearest_labels(labels_of(cells), 10);
  const Cell* best = nullptr;
  for (const Method method : {Method::head_only, Method::all_layers, Method::head_then_all})
    if (const Cell* cell = find(cells, labels, method); cell != nullptr && (best == nullptr || cell->mean > best->mean))
      best = cell;
  if (best == nullptr) return "";
  std::string text = cat("From ", labels, labels == 1 ? " labelled digit" : " labelled digits",
                         " a class, a network pretrained on made-up pen strokes reads ", percent(best->mean),
                         "% of MNIST's test digits");
  if (const Cell* scratch = find(cells, labels, Method::scratch))
    text += "; the same network from scratch reads " + percent(scratch->mean) + "%";
  return text + ".";
}

}  // namespace graft::demo
