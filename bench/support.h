// What the benchmark suites share: registering a step with what it computes and moves.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <graft/core/tensor.h>
#include <graft/kernels/registry/registry.h>

namespace benchmark {
class State;
}

namespace graft::bench {

/// Whether the GPU is the emulator, which manages small rows only; they show that rows work, not how fast.
bool emulated();

/// A benchmark of graft_bench.
struct Row {
  std::string name;
  std::function<void(benchmark::State&)> run;
  bool manual_time = false;   // `run` sets the time of its iterations
  bool milliseconds = false;  // the unit
};
/// Adds a row to those that main.cpp registers with Google Benchmark.
void add_row(Row row);
/// The rows added since the last call, in that order.
std::vector<Row> take_rows();
/// Frees what the row that ran last holds on a device.
void end_last_row();

/// The rows of a named list in order of importance, for runs that have little time (lists.cpp). "*" in place of a
/// backend stands for ours and the vendor's. Throws Error where there is no such list.
const std::vector<std::string>& list(const std::string& name);

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

/// Where a kernel's benchmark runs, and in which dtype.
struct Place {
  Device device;
  DType dtype = DType::f32;
  std::optional<kernels::BackendId> backend = {};  // the one that is measured; nothing: the CPU as users have it

  /// "matmul/256" on the CPU, "matmul/vendor/bf16/256" on a GPU.
  std::string name(const std::string& op, const std::string& what) const;
  /// Whether the backend has the op at all.
  template <class Args>
  bool has() const {
    return !backend || kernels::find_backend(*backend)->row<Args>().run != nullptr;
  }

  Tensor randn(const Shape& shape) const;
  /// Channels-last.
  Tensor random_images(const Shape& shape) const;
  Tensor empty_images(const Shape& shape, std::optional<DType> of = {}) const;
  /// Vectors of statistics, which stay f32 beside bf16 and f16.
  Tensor statistics(std::int64_t n, double value) const;
  double element() const { return static_cast<double>(size_of(dtype)); }
};

inline const Place kCpu{Device::cpu()};
/// Our own kernels (cuda) and the vendor's libraries (vendor), each in f32 and bf16, where there is a GPU that they can
/// use; else nothing. The vendor's may choose any engine that adds in float, the fastest that it has.
const std::vector<Place>& gpu_places();
/// The CPU and our own kernels on a GPU: what the vendor's libraries have no rows for is measured there.
std::vector<Place> own_places();
/// Why the vendor's libraries are not among them; "" when they are.
const std::string& why_no_vendor();

/// As the other add, at a place. On a GPU the time is the device's, from event to event around as many steps as take
/// about a millisecond, captured as one graph, as between launches of single kernels the device would wait for the host
/// (where a step cannot be captured it is launched so, and the row's label says why). A row that only moves bytes
/// (work.flops is 0) takes turns among as many sets of buffers as no L2 cache holds; the label "L2" marks the others
/// that read from that cache. A backend that refuses is reported as an error with its reason.
void add(const Place& place, const std::string& name, const Work& work, std::function<Step()> prepare);

/// The size in bytes.
double bytes(const Tensor& t);

/// (n) random labels below `classes`.
Tensor random_labels(std::int64_t n, std::int64_t classes);

// One function a file, called by main.cpp.
void add_matmul();
void add_conv2d();
void add_copy();
void add_graphs();
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
void add_train();
/// train/cuda rows of sizes that an emulated device manages.
void add_small_train();

}  // namespace graft::bench
