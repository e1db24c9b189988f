// graft_bench: the benchmark suites of all folders. Google Benchmark's options, and GRAFT_NUM_THREADS.
// graft_bench_emulated: small training rows and the optimisers over the emulated device; they show that the rows work,
// not how fast.
#include <string>

#include <benchmark/benchmark.h>
#include <support.h>

#include <graft/core/cuda.h>
#include <graft/core/random.h>
#include <graft/kernels/runtime/parallel.h>
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
#ifdef GRAFT_BENCH_EMULATED
  add_small_train();
  add_elementwise();
  add_optim();
#else
  add_matmul();
  add_conv2d();
  add_copy();
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
#endif
}

}  // namespace

int main(int argc, char** argv) {
  using namespace graft::bench;
  graft::manual_seed(1);
  add_suites();
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
  benchmark::Shutdown();
  return run > 0 ? 0 : 1;  // a filter that matches nothing measures nothing
}
