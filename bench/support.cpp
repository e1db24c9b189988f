#include <support.h>

#include <utility>

#include <benchmark/benchmark.h>

#include <graft/core/random.h>

namespace graft::bench {

void add(const std::string& name, const Work& work, std::function<Step()> prepare) {
  benchmark::RegisterBenchmark(name.c_str(), [work, prepare = std::move(prepare)](benchmark::State& state) {
    const Step step = prepare();
    step();  // builds what oneDNN and the allocator keep
    for ([[maybe_unused]] auto _ : state) step();
    const auto rate = [](double amount) {
      return benchmark::Counter(amount, benchmark::Counter::kIsIterationInvariantRate);
    };
    if (work.items > 0) state.counters["items_per_second"] = rate(work.items);
    if (work.bytes > 0) state.counters["bytes_per_second"] = rate(work.bytes);
    if (work.flops > 0) state.counters["FLOPS"] = rate(work.flops);
  })->UseRealTime();
}

double bytes(const Tensor& t) { return static_cast<double>(t.numel()) * static_cast<double>(size_of(t.dtype())); }

Tensor random_labels(std::int64_t n, std::int64_t classes) {
  Generator generator(7);
  Tensor labels = Tensor::empty({n}, DType::i64);
  for (std::int64_t i = 0; i < n; ++i)
    labels.data<std::int64_t>()[i] = static_cast<std::int64_t>(generator.below(static_cast<std::uint64_t>(classes)));
  return labels;
}

}  // namespace graft::bench
