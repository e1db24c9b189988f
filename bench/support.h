// What the benchmark suites share: registering a step with what it computes and moves.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <graft/core/tensor.h>

namespace graft::bench {

/// What one step does; zeros are not reported.
struct Work {
  double items = 0;  // "items_per_second": images, rows, or elements
  double bytes = 0;  // "bytes_per_second": what must be read and written at least
  double flops = 0;  // "FLOPS": multiplications and additions
};

using Step = std::function<void()>;

/// Registers a benchmark of the step that `prepare` makes; what it allocates lives as long as the benchmark runs. Wall
/// time.
void add(const std::string& name, const Work& work, std::function<Step()> prepare);

/// The size in bytes.
double bytes(const Tensor& t);

/// (n) random labels below `classes`.
Tensor random_labels(std::int64_t n, std::int64_t classes);

// One function a file, called by main.cpp.
void add_matmul();
void add_conv2d();
void add_elementwise();
void add_norm();
void add_pool();
void add_softmax();
void add_optim();
void add_autograd();
void add_data();
void add_io();
void add_layers();
void add_models();
void add_transfer();

}  // namespace graft::bench
