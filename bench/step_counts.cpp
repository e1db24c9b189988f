// graft_step_counts: what one training step asks of a device, counted and not timed: launches (the nodes of its graph),
// and what it must compute and move at least. Over the emulated device it needs no GPU, only patience: about a minute a
// row for whole networks, with SIMT_CHECK=0.
#include <cstdio>
#include <exception>
#include <string>

#include <graft/apps/support/number.h>
#include <graft/apps/support/start.h>
#include <graft/core/random.h>
#include <transfer/step_cost.h>
#include <transfer/training.h>

namespace {

using namespace graft;

constexpr const char* kUsage =
    "usage: graft_step_counts [--task NAME] [--precision f32|bf16] [--batch N] [--no-device]\n"
    "Without --task all of them. --no-device leaves the counts out that need one.\n";

constexpr std::int64_t kMostImages = 1 << 20;  // of a batch

struct Options {
  std::string task;
  DType precision = DType::f32;
  std::int64_t batch = 128;
  bool device = true;
};

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--no-device") {
      o.device = false;
      continue;
    }
    check(i + 1 < argc, "graft_step_counts: ", flag, " needs a value\n", kUsage);
    const std::string value = argv[++i];
    if (flag == "--task")
      o.task = bench::training_task(value).name;
    else if (flag == "--precision" && (value == "f32" || value == "bf16"))
      o.precision = value == "f32" ? DType::f32 : DType::bf16;
    else if (flag == "--batch")
      o.batch = program::number(flag, value, 2, kMostImages);
    else
      fail("graft_step_counts: unknown option ", flag, " ", value, "\n", kUsage);
  }
  return o;
}

void print(const bench::TrainingTask& task, const Options& o) {
  const bench::StepCost cost = bench::step_cost(task, o.precision, o.batch);
  std::string launches = "-", copies = "-", allocations = "-";
  if (o.device) {
    bench::Training training(task,
                             {.device = Device::cuda(), .precision = o.precision, .batch = o.batch, .images = o.batch});
    const cuda::Activity step = training.one_step();
    launches = std::to_string(step.launches);
    copies = std::to_string(step.copies);
    allocations = std::to_string(step.allocations);
  }
  std::printf("%-22s %-5s %6lld %9s %7s %12s %10.1f %10.2f\n", task.name.c_str(), name(o.precision),
              static_cast<long long>(o.batch), launches.c_str(), copies.c_str(), allocations.c_str(), cost.flops * 1e-6,
              cost.bytes * 1e-6);
  std::fflush(stdout);
}

void run(const Options& o) {
  manual_seed(1);
  if (o.device)
    check(cuda::is_available(), "graft_step_counts: ", cuda::why_not(),
          "; --no-device leaves the counts out that need one");
  std::printf("%-22s %-5s %6s %9s %7s %12s %10s %10s\n", "task", "dtype", "batch", "launches", "copies", "allocations",
              "MFLOP", "MB");
  for (const bench::TrainingTask& task : bench::training_tasks())
    if (o.task.empty() || o.task == task.name) print(task, o);
}

}  // namespace

int main(int argc, char** argv) {
  program::limit_spinning("graft_step_counts", argv);
  try {
    const Options options = parse(argc, argv);
    program::check_setup("graft_step_counts");
    run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
