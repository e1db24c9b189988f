// A step of training that is captured once and replayed: the host gives the device whole steps at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include <graft/core/tensor.h>
#include <graft/kernels/api/export.h>

namespace graft {

/// Runs a step again and again. The first time it runs as it is written (eagerly), so that whatever is made once (an
/// optimiser's state) is there; then it is captured as a CUDA graph, and replayed from then on: several steps a launch,
/// without allocations and without waiting. Both ways give the same bits.
///
/// What is captured is the work on the device, with the host's numbers as they were. What must change from step to step
/// lies in device memory (LoadBatchArgs, OptimClock, FinishStepArgs read their counters there; random numbers do by
/// themselves).
class GRAFT_API StepGraph {
 public:
  struct Options {
    bool capture = true;            // false: every step is run eagerly
    std::int64_t most_steps = 64;   // in one graph
    std::int64_t most_nodes = 256;  // in one graph: beyond, one launch is little beside the work, and capturing much
    std::int64_t expected = 0;      // steps that all run() together will ask for; 0: not known
  };

  /// `counter`: an i64 scalar on the device, which `step` adds 1 to at its end. `fingerprint` (may be empty): a hash of
  /// what the host's side of the step depends on; it is asked before every run(), and a change captures anew.
  StepGraph(Tensor counter, std::function<void()> step, std::function<std::uint64_t()> fingerprint, Options options);
  ~StepGraph();
  StepGraph(const StepGraph&) = delete;
  StepGraph& operator=(const StepGraph&) = delete;

  /// The next `count` steps. Returns when they are given to the device. Throws Error when a step cannot be captured
  /// (it waits for the device, copies unpinned memory, draws numbers on the host): done() then tells which steps have
  /// run, and after stop_capturing() the others can, eagerly.
  void run(std::int64_t count);
  /// Steps given to the device since the beginning.
  std::int64_t done() const;
  /// Whether the last run() ended because a step could not be captured.
  bool refused_capture() const;
  void stop_capturing();

  struct Counts {
    std::int64_t eager = 0, replayed = 0;  // steps
    std::int64_t launches = 0;             // of graphs
    std::int64_t captures = 0;             // of graphs
    std::int64_t nodes = 0;                // of one step's graph: kernels, copies, fills
  };
  const Counts& counts() const;

 private:
  struct GRAFT_LOCAL Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace graft
