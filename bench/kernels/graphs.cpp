// graph_nodes/1000: a graph of so many kernels that do next to nothing (fill one element), each waiting for the one
// before; its time by 1000, or 1 / items_per_second, is what a node costs at least.
// graph_making/<nodes>: the wall time from the end of a capture to a graph that can be launched without further ado
// (instantiated and uploaded). capture_ms is the time to capture it, first_launch_ms the first launch's, waited for.
// graph_making/adamw/<nodes>: the same of optimiser updates, whose parameters are large.
#include <support.h>

#include <chrono>
#include <memory>

#include <benchmark/benchmark.h>

#include <graft/core/cuda.h>
#include <graft/core/optim/optimizer.h>
#include <graft/core/ops/raw.h>
#include <graft/kernels/api/elementwise.h>

namespace graft::bench {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

Step fill_one() {
  const Tensor y = Tensor::empty({1}, DType::f32, Device::cuda());
  return [y] { raw::run(kernels::FillArgs{1, y.ref()}, y); };
}

Step update() {
  std::vector<Tensor> parameters;
  for (int i = 0; i < 16; ++i) {
    parameters.push_back(Tensor::zeros({16}, DType::f32, Device::cuda()));
    parameters.back().requires_grad_();
    parameters.back().set_grad(Tensor::zeros({16}, DType::f32, Device::cuda()));
  }
  auto optimizer = std::make_shared<optim::AdamW>(parameters, optim::AdamOptions{});
  return [optimizer] { optimizer->step(); };
}

void make_graphs(benchmark::State& state, int nodes, Step (*prepare)()) {
  const cuda::Stream stream(0);
  const cuda::StreamScope on(stream);
  const Step step = prepare();
  step();
  stream.synchronize();
  double capturing = 0, launching = 0;
  for ([[maybe_unused]] auto _ : state) {
    cuda::Graph graph;
    const double begin = now();
    cuda::GraphCapture capture(graph, stream);
    for (int i = 0; i < nodes; ++i) step();
    const double captured = now();
    capture.finish();
    stream.synchronize();  // the upload
    const double made = now();
    graph.launch(stream);
    stream.synchronize();
    launching += now() - made;
    capturing += captured - begin;
    state.SetIterationTime(made - captured);
  }
  state.counters["capture_ms"] = benchmark::Counter(capturing * 1e3, benchmark::Counter::kAvgIterations);
  state.counters["first_launch_ms"] = benchmark::Counter(launching * 1e3, benchmark::Counter::kAvgIterations);
}

void add_making(const std::string& name, int nodes, Step (*prepare)()) {
  add_row({"graph_making/" + name,
           [nodes, prepare](benchmark::State& state) {
             try {
               make_graphs(state, nodes, prepare);
             } catch (const Error& error) {
               state.SkipWithError(error.what());
             }
           },
           true, true});
}

}  // namespace

void add_graphs() {
  if (!cuda::is_available()) return;
  constexpr int kNodes = 1000;
  add({Device::cuda()}, "graph_nodes/1000", {.items = kNodes}, [] {
    return [step = fill_one()] {
      for (int i = 0; i < kNodes; ++i) step();
    };
  });
  for (const int nodes : {222, 640, 16000}) add_making(std::to_string(nodes), nodes, fill_one);
  for (const int nodes : {8, 640}) add_making(cat("adamw/", nodes), nodes, update);
}

}  // namespace graft::bench
