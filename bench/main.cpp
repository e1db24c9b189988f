// graft_bench: the benchmark suites of all folders. Google Benchmark's options, GRAFT_NUM_THREADS, and
//   --list=core    only the rows of this list (lists.cpp), the most important first
//   --seconds=S    rows that have not begun by then are not run, and reported as errors that say so
// graft_bench_emulated: the same over the emulated device, with small rows; they show that the rows work, not how fast.
#include <chrono>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <benchmark/benchmark.h>
#include <support.h>

#include <graft/apps/support/number.h>
#include <graft/apps/support/start.h>
#include <graft/core/cuda.h>
#include <graft/core/random.h>
#include <graft/kernels/runtime/parallel.h>
#include <graft/version.h>
#ifdef GRAFT_WITH_ONEDNN
#include <graft/kernels/cpu/simd/kernels.h>
#endif

namespace {

const char* vector_isa() {
#ifdef GRAFT_WITH_ONEDNN
  return graft::kernels::cpu::vector_kernels().name;
#else
  return "none: reference backend only";
#endif
}

void add_suites() {
  using namespace graft::bench;
  if (emulated()) add_small_train();
  add_copy();
  add_graphs();
  add_matmul();
  add_conv2d();
  add_elementwise();
  add_norm();
  add_pool();
  add_softmax();
  add_optim();
  add_autograd();
  add_data();
  add_io();
  add_layers();
  add_models();
  add_transfer();
  add_train();
}

struct Options {
  std::string list;     // the name of a list of rows
  double seconds = -1;  // no row is begun later
};

// Takes our own options out of the command line.
Options parse(int& argc, char** argv) {
  Options options;
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const auto value = [&](std::string_view flag) { return std::string(argument.substr(flag.size())); };
    if (argument.starts_with("--list="))
      options.list = value("--list=");
    else if (argument.starts_with("--seconds="))
      options.seconds = graft::program::seconds("--seconds", value("--seconds="));
    else
      argv[kept++] = argv[i];
  }
  argc = kept;
  return options;
}

// The rows of the list in its order; "*" in a name stands for a backend. Ours that are not there are a mistake in the
// list; the vendor's are left out, as it does not have every op.
std::vector<graft::bench::Row> chosen(const std::string& list, const std::vector<graft::bench::Row>& all) {
  std::map<std::string, const graft::bench::Row*> by_name;
  for (const auto& row : all) by_name[row.name] = &row;
  std::vector<graft::bench::Row> rows;
  for (const std::string& name : graft::bench::list(list)) {
    const std::size_t star = name.find('*');
    for (const char* backend : {"cuda", "vendor"}) {
      if (star == std::string::npos && backend[0] == 'v') continue;
      std::string full = name;
      if (star != std::string::npos) full.replace(star, 1, backend);
      const auto found = by_name.find(full);
      const bool vendors = full.find("/vendor/") != std::string::npos;
      graft::check(found != by_name.end() || vendors || !graft::cuda::is_available(), "graft_bench: the list '", list,
                   "' names a row that is not there: ", full);
      if (found != by_name.end()) rows.push_back(*found->second);
    }
  }
  return rows;
}

void register_rows(const Options& options) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + std::chrono::duration<double>(options.seconds);
  std::vector<graft::bench::Row> rows = graft::bench::take_rows();
  if (!options.list.empty()) rows = chosen(options.list, rows);
  for (const graft::bench::Row& row : rows) {
    const auto timed = [run = row.run, deadline, limited = options.seconds >= 0, begun = false](
                           benchmark::State& state) mutable {  // the library calls a row several times
      if (limited && !begun && Clock::now() > deadline) return state.SkipWithError("not run: the time is used up");
      begun = true;
      run(state);
    };
    auto* registered = benchmark::RegisterBenchmark(row.name.c_str(), timed);
    row.manual_time ? registered->UseManualTime() : registered->UseRealTime();
    if (row.milliseconds) registered->Unit(benchmark::kMillisecond);
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace graft::bench;
  graft::program::limit_spinning("graft_bench", argv);
  Options options;
  try {
    graft::program::check_setup("graft_bench");
    options = parse(argc, argv);
    graft::manual_seed(1);
    add_suites();
    register_rows(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  benchmark::AddCustomContext("graft_version", GRAFT_VERSION);
  benchmark::AddCustomContext("graft_build_type", GRAFT_BUILD_TYPE);
  benchmark::AddCustomContext("graft_threads", std::to_string(graft::num_threads()));
  benchmark::AddCustomContext("graft_vector_isa", vector_isa());
  const std::string why_no_gpu = graft::cuda::why_not();
  benchmark::AddCustomContext("graft_gpu", why_no_gpu.empty() ? graft::cuda::device_name() : "none: " + why_no_gpu);
  if (why_no_gpu.empty())
    benchmark::AddCustomContext("graft_vendor", why_no_vendor().empty() ? "yes" : "none: " + why_no_vendor());
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  const std::size_t run = benchmark::RunSpecifiedBenchmarks();
  end_last_row();
  benchmark::Shutdown();
  return run > 0 ? 0 : 1;  // a filter that matches nothing measures nothing
}
