// What the comparison finds: one row a run, and their means.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <graft/apps/mnist_finetune/methods.h>

namespace graft::demo {

struct Row {
  std::int64_t labels = 0;  // a class
  std::uint64_t seed = 0;
  Method method = Method::scratch;
  double accuracy = 0;  // 0 to 1
  double seconds = 0;   // of training, features of a frozen trunk included
};

struct Cell {
  std::int64_t labels = 0;
  Method method = Method::scratch;
  double mean = 0;
  double deviation = 0;  // between seeds (n - 1); 0 for a single one
  double seconds = 0;    // mean
  std::int64_t runs = 0;
};

/// One cell for each pair of label count and method that occurs: label counts ascending, methods as declared.
std::vector<Cell> summarize(const std::vector<Row>& rows);
const Cell* find(const std::vector<Cell>& cells, std::int64_t labels, Method method);
/// Those that occur, in the same orders.
std::vector<std::int64_t> labels_of(const std::vector<Cell>& cells);
std::vector<Method> methods_of(const std::vector<Cell>& cells);

/// "96.4", or "96.4 +- 0.4" with several runs.
std::string format_accuracy(const Cell& cell, const char* plus_minus = " +- ");
/// Label counts down, methods across, for a terminal.
std::string format_table(const std::vector<Row>& rows);
/// What was found, in one sentence, for the label count nearest to ten; "" without rows of a pretrained network.
std::string headline(const std::vector<Row>& rows);
/// The label count nearest to `wanted` among those of the rows; 0 without rows.
std::int64_t nearest_labels(const std::vector<std::int64_t>& labels, std::int64_t wanted);

}  // namespace graft::demo
