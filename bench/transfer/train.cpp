// train/cpu/f32/<task>/<batch> and train/cuda/{captured,eager}/{f32,bf16}/<task>/<batch>: the steady state of
// transfer::train(), data set on the device. An iteration is a step; the time is the wall's, the wait for the last step
// included. items_per_second are images; FLOPS and bytes_per_second are step_cost()'s. On cuda also, of the host and a
// step: launches (of kernels and graphs; a graph holds up to 64 steps), copies, allocations, waits.
#include <transfer/step_cost.h>
#include <transfer/training.h>

#include <algorithm>
#include <memory>

#include <benchmark/benchmark.h>
#include <support.h>

namespace graft::bench {
namespace {

constexpr std::int64_t kGroup = 64;  // the most steps that train() gives to a device at once

void run_training(benchmark::State& state, Training& training, const TrainingRun& run, const StepCost& cost) {
  const std::int64_t planned = static_cast<std::int64_t>(state.max_iterations);
  const Training::Steady steady = training.run([&](std::int64_t steps) { return state.KeepRunningBatch(steps); },
                                               planned + 4 * kGroup, std::min(2 * kGroup, planned));
  state.SetIterationTime(steady.seconds);
  const auto rate = [&](double amount) { return static_cast<double>(steady.steps) * amount / steady.seconds; };
  state.counters["items_per_second"] = rate(static_cast<double>(run.batch));
  state.counters["FLOPS"] = rate(cost.flops);
  state.counters["bytes_per_second"] = rate(cost.bytes);
  if (run.device.is_cpu()) return;
  const auto a_step = [&](std::uint64_t count) {
    return static_cast<double>(count) / static_cast<double>(steady.steps);
  };
  state.counters["launches"] = a_step(steady.activity.launches + steady.activity.graph_launches);
  state.counters["copies"] = a_step(steady.activity.copies);
  state.counters["allocations"] = a_step(steady.activity.allocations);
  state.counters["waits"] = a_step(steady.activity.waits);
}

void add_training(const TrainingTask& task, const TrainingRun& run) {
  const std::string how = run.device.is_cpu() ? cat("cpu/", name(run.precision))
                                              : cat("cuda/", run.capture ? "captured/" : "eager/", name(run.precision));
  // One network and data set for the times that the library runs a row until it is long enough.
  auto training = std::make_shared<std::unique_ptr<Training>>();
  bench::add_row({cat("train/", how, "/", task.name, "/", run.batch),
                  [&task, run, training](benchmark::State& state) {
                    try {
                      if (!*training) *training = std::make_unique<Training>(task, run);
                      run_training(state, **training, run, step_cost(task, run.precision, run.batch));
                    } catch (const Error& error) {
                      state.SkipWithError(error.what());
                    }
                  },
                  true, true});
}

void add_cuda_rows(const TrainingTask& task, TrainingRun run) {
  for (const bool capture : {true, false})
    for (const DType precision : {DType::f32, DType::bf16}) {
      run.capture = capture;
      run.precision = precision;
      add_training(task, run);
    }
}

}  // namespace

void add_train() {
  for (const TrainingTask& task : training_tasks()) add_training(task, {.device = Device::cpu()});
  if (!cuda::is_available()) return;
  for (const TrainingTask& task : training_tasks()) add_cuda_rows(task, {.device = Device::cuda()});
}

void add_small_train() {
  if (!cuda::is_available()) return;
  for (const TrainingTask& task : small_training_tasks())
    add_cuda_rows(task, {.device = Device::cuda(), .batch = 4, .images = 16});
}

}  // namespace graft::bench
