#include <support.h>

#include <algorithm>
#include <memory>
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

std::vector<Row>& all_rows() {
  static std::vector<Row> all;
  return all;
}

// Milliseconds of the device.
float run_on_device(const Step& steps, const graft::Stream& stream, cuda::Event& begin, cuda::Event& end) {
  begin.record(stream);
  steps();
  end.record(stream);
  end.synchronize();
  return end.elapsed_ms(begin);
}

// No GPU's L2 cache holds half as much (an H100's: 50 MB).
double beyond_caches() { return emulated() ? 1 << 20 : 128 << 20; }  // bytes
std::int64_t most_sets() { return emulated() ? 3 : 256; }

// A row's buffers and its graph. The library calls a row several times, with more iterations each time: they are made
// once, and freed when the next row comes.
class DeviceRow {
 public:
  DeviceRow(const Place& place, const Work& work, const std::function<Step()>& prepare)
      : place_(place), stream_(place.device.index), begin_(place.device.index, true), end_(place.device.index, true) {
    const cuda::StreamScope on(stream_);
    std::int64_t sets = 1;
    if (work.bytes > 0 && work.flops == 0)
      sets = std::clamp(static_cast<std::int64_t>(beyond_caches() / work.bytes) + 1, std::int64_t{1}, most_sets());
    for (std::int64_t i = 0; i < sets; ++i) sets_.push_back(prepare());
    const auto backend = only_its_backend();
    for (const Step& step : sets_) step();  // loads code; the vendor's libraries tune
    rounds_ = rounds_of_a_millisecond(run_on_device([&] { all_sets(1); }, stream_, begin_, end_));
    capture();
    if (graph_.defined()) {  // a millisecond by the host's launches is less within a graph
      run();
      const std::int64_t rounds = rounds_of_a_millisecond(run() / static_cast<float>(rounds_));
      if (rounds > rounds_) {
        rounds_ = rounds;
        capture();
      }
    }
    if (label_.empty() && work.bytes > 0 && work.bytes * static_cast<double>(sets) < beyond_caches() / 2) label_ = "L2";
    run();
  }

  void measure(benchmark::State& state) {
    const cuda::StreamScope on(stream_);
    const auto backend = only_its_backend();
    const std::int64_t steps = rounds_ * static_cast<std::int64_t>(sets_.size());
    while (state.KeepRunningBatch(steps)) state.SetIterationTime(static_cast<double>(run()) * 1e-3);
    state.SetLabel(label_);
  }

 private:
  std::unique_ptr<kernels::BackendScope> only_its_backend() const {
    return place_.backend ? std::make_unique<kernels::BackendScope>(*place_.backend) : nullptr;
  }

  std::int64_t rounds_of_a_millisecond(float one) const {
    const auto most = std::max<std::int64_t>(1, 1000 / static_cast<std::int64_t>(sets_.size()));
    return std::clamp(static_cast<std::int64_t>(1 / std::max(one, 1e-4f)), std::int64_t{1}, most);
  }

  void all_sets(std::int64_t rounds) const {
    for (std::int64_t i = 0; i < rounds; ++i)
      for (const Step& step : sets_) step();
  }

  void capture() {
    try {
      cuda::GraphCapture capture(graph_, stream_);
      all_sets(rounds_);
      capture.finish();
    } catch (const Error& error) {
      label_ = cat("eager: ", error.what());
    }
  }

  // Milliseconds.
  float run() {
    const auto steps = [&] { graph_.defined() ? graph_.launch(stream_) : all_sets(rounds_); };
    return run_on_device(steps, stream_, begin_, end_);
  }

  Place place_;
  cuda::Stream stream_;
  cuda::Event begin_, end_;
  std::vector<Step> sets_;
  std::int64_t rounds_ = 1;
  cuda::Graph graph_;
  std::string label_;
};

std::unique_ptr<DeviceRow>& last_row() {
  static std::unique_ptr<DeviceRow> row;
  return row;
}

void run_gpu(benchmark::State& state, const std::string& name, const Place& place, const Work& work,
             const std::function<Step()>& prepare) {
  static std::string last_name;
  std::unique_ptr<DeviceRow>& row = last_row();
  try {
    if (!row || last_name != name) {
      row.reset();
      row = std::make_unique<DeviceRow>(place, work, prepare);
      last_name = name;
    }
    row->measure(state);
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

void add_row(Row row) { all_rows().push_back(std::move(row)); }

std::vector<Row> take_rows() { return std::exchange(all_rows(), {}); }

void end_last_row() { last_row().reset(); }

void add(const std::string& name, const Work& work, std::function<Step()> prepare) {
  add_row({name, [work, prepare = std::move(prepare)](benchmark::State& state) {
             const Step step = prepare();
             step();  // builds what oneDNN and the allocator keep
             for ([[maybe_unused]] auto _ : state) step();
             report(state, work);
           }});
}

void add(const Place& place, const std::string& name, const Work& work, std::function<Step()> prepare) {
  if (place.device.is_cpu()) return add(name, work, std::move(prepare));
  add_row({name,
           [name, place, work, prepare = std::move(prepare)](benchmark::State& state) {
             run_gpu(state, name, place, work, prepare);
           },
           true});
}

bool emulated() {
  static const bool answer = cuda::is_available() && cuda::device_name() == "SIMT emulator";
  return answer;
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
