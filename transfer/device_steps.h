// The steps of a training run whose data set, counters and losses lie on the device: the host gives them away and looks
// at the losses when they have come, without waiting. Internal to transfer.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <graft/core/data/dataset.h>
#include <graft/core/optim/step_state.h>
#include <graft/core/step_graph.h>
#include <graft/kernels/runtime/streams.h>

namespace graft::transfer {

class DeviceSteps {
 public:
  struct Setup {
    std::function<data::Batch(const Tensor& step)> batch;
    std::function<Tensor(const Tensor& x)> forward;  // logits
    optim::Optimizer* optimizer = nullptr;
    std::vector<Tensor> parameters;  // that it trains
    std::vector<Tensor> changing;    // all that a step writes to: those, masters, running statistics
    double label_smoothing = 0;
    optim::StepState::Options state{};
    std::function<std::uint64_t()> fingerprint{};  // see StepGraph
    StepGraph::Options graph{};
    std::function<void(const std::string&)> log{};  // one line, where a step cannot be captured
  };
  DeviceSteps(Setup setup, Device device);
  ~DeviceSteps();
  DeviceSteps(const DeviceSteps&) = delete;
  DeviceSteps& operator=(const DeviceSteps&) = delete;

  /// Gives `count` more steps to the device. Waits only where the device is more than kAhead steps behind.
  void run(std::int64_t count);
  /// The losses of the steps that are done and were not asked for yet; with `wait` of all that were given.
  std::span<const double> new_losses(bool wait);
  /// Waits for all steps; the optimiser counts by itself again.
  void finish();

  const StepGraph::Counts& counts() const { return graph_.counts(); }
  const optim::StepState& state() const { return state_; }

  static constexpr std::int64_t kAhead = 1024;

 private:
  void step();
  void fetch(std::int64_t begin, std::int64_t end);

  struct Arrival {
    std::int64_t end;  // losses up to here
    std::unique_ptr<runtime::Event> event;
  };

  Setup setup_;
  Device device_;
  optim::StepState state_;
  StepGraph graph_;
  std::shared_ptr<double> host_losses_;  // pinned; none on the CPU, whose losses are read where they lie
  std::deque<Arrival> arriving_;
  std::int64_t given_ = 0, arrived_ = 0, told_ = 0;  // steps
};

}  // namespace graft::transfer
