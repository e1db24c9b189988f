#include <support.h>

#include <algorithm>
#include <utility>

#include <benchmark/benchmark.h>

#include <graft/core/cuda.h>
#include <graft/core/ops/raw.h>
#include <graft/core/random.h>
#ifdef GRAFT_WITH_VENDOR
#include <graft/kernels/vendor/vendor.h>
#endif

namespace graft::bench {
namespace {

void report(benchmark::State& state, const Work& work) {
  const auto rate = [](double amount) {
    return benchmark::Counter(amount, benchmark::Counter::kIsIterationInvariantRate);
  };
  if (work.items > 0) state.counters["items_per_second"] = rate(work.items);
  if (work.bytes > 0) state.counters["bytes_per_second"] = rate(work.bytes);
  if (work.flops > 0) state.counters["FLOPS"] = rate(work.flops);
}

// Milliseconds of the device.
float run_on_device(const Step& steps, const graft::Stream& stream, cuda::Event& begin, cuda::Event& end) {
  begin.record(stream);
  steps();
  end.record(stream);
  end.synchronize();
  return end.elapsed_ms(begin);
}

void run_gpu(benchmark::State& state, const Place& place, const Work& work, const std::function<Step()>& prepare) {
  try {
    const cuda::Stream stream(place.device.index);
    const cuda::StreamScope on(stream);
    const Step step = prepare();
    std::optional<kernels::BackendScope> scope;
    if (place.backend) scope.emplace(*place.backend);
    cuda::Event begin(place.device.index, true), end(place.device.index, true);
    step();  // loads code; the vendor's libraries tune
    const float once = std::max(run_on_device(step, stream, begin, end), 1e-4f);
    const auto count = static_cast<std::int64_t>(std::clamp(1 / once, 1.0f, 1000.0f));
    cuda::Graph graph;
    try {
      cuda::GraphCapture capture(graph, stream);
      for (std::int64_t i = 0; i < count; ++i) step();
      capture.finish();
    } catch (const Error& error) {
      state.SetLabel(cat("eager: ", error.what()));
    }
    const Step steps = [&] {
      if (graph.defined()) return graph.launch(stream);
      for (std::int64_t i = 0; i < count; ++i) step();
    };
    run_on_device(steps, stream, begin, end);
    while (state.KeepRunningBatch(count))
      state.SetIterationTime(static_cast<double>(run_on_device(steps, stream, begin, end)) * 1e-3);
    report(state, work);
  } catch (const Error& error) {
    state.SkipWithError(error.what());
  }
}

struct Vendor {
  std::string why_not = "this build has no graft::vendor";
  Vendor() {
#ifdef GRAFT_WITH_VENDOR
    why_not = vendor::enable({.engines = vendor::Engines::fastest}).reason;
#endif
  }
};

}  // namespace

void add(const std::string& name, const Work& work, std::function<Step()> prepare) {
  benchmark::RegisterBenchmark(name.c_str(), [work, prepare = std::move(prepare)](benchmark::State& state) {
    const Step step = prepare();
    step();  // builds what oneDNN and the allocator keep
    for ([[maybe_unused]] auto _ : state) step();
    report(state, work);
  })->UseRealTime();
}

void add(const Place& place, const std::string& name, const Work& work, std::function<Step()> prepare) {
  if (place.device.is_cpu()) return add(name, work, std::move(prepare));
  benchmark::RegisterBenchmark(name.c_str(), [place, work, prepare = std::move(prepare)](benchmark::State& state) {
    run_gpu(state, place, work, prepare);
  })->UseManualTime();
}

const std::string& why_no_vendor() {
  static const Vendor vendor;
  return vendor.why_not;
}

const std::vector<Place>& gpu_places() {
  static const std::vector<Place> places = [] {
    std::vector<Place> all;
    if (!cuda::is_available()) return all;
    for (const kernels::BackendId backend : {kernels::BackendId::cuda, kernels::BackendId::vendor}) {
      if (backend == kernels::BackendId::vendor && !why_no_vendor().empty()) continue;
      for (const DType dtype : {DType::f32, DType::bf16}) all.push_back({Device::cuda(), dtype, backend});
    }
    return all;
  }();
  return places;
}

std::vector<Place> own_places() {
  std::vector<Place> own = {kCpu};
  for (const Place& place : gpu_places())
    if (place.backend == kernels::BackendId::cuda) own.push_back(place);
  return own;
}

std::string Place::name(const std::string& op, const std::string& what) const {
  if (!backend) return cat(op, "/", what);
  return cat(op, "/", kernels::name(*backend), "/", graft::name(dtype), "/", what);
}

Tensor Place::randn(const Shape& shape) const { return graft::randn(shape, default_generator(), dtype, device); }

Tensor Place::random_images(const Shape& shape) const { return randn(shape).contiguous(MemoryFormat::channels_last); }

Tensor Place::empty_images(const Shape& shape, std::optional<DType> of) const {
  return Tensor::empty(shape, of.value_or(dtype), device, MemoryFormat::channels_last);
}

Tensor Place::statistics(std::int64_t n, double value) const { return Tensor::full({n}, value, DType::f32, device); }

double bytes(const Tensor& t) { return static_cast<double>(t.numel()) * static_cast<double>(size_of(t.dtype())); }

Tensor random_labels(std::int64_t n, std::int64_t classes) {
  Generator generator(7);
  Tensor labels = Tensor::empty({n}, DType::i64);
  for (std::int64_t i = 0; i < n; ++i)
    labels.data<std::int64_t>()[i] = static_cast<std::int64_t>(generator.below(static_cast<std::uint64_t>(classes)));
  return labels;
}

}  // namespace graft::bench
