#include <graft/core/step_graph.h>

#include <algorithm>
#include <optional>
#include <utility>

#include <graft/core/step_random.h>
#include <graft/core/stream.h>
#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/streams.h>

namespace graft {

struct StepGraph::Impl {
  Tensor counter;
  std::function<void()> step;
  std::function<std::uint64_t()> fingerprint;
  Options options;
  Counts counts;

  StepRandom random;
  bool warm = false;  // the step has run as it is now
  bool refused = false;
  std::uint64_t captured_of = 0;  // the fingerprint
  std::int64_t done = 0;          // steps in all
  std::int64_t observed_at = 0;   // how many had been done when the observed one began
  // Captures have a stream of their own: what other threads give to the shared one meanwhile is none of theirs.
  std::optional<runtime::OwnedStream> capturing_on;
  runtime::Graph one, many;  // of one step, and of `length`
  std::int64_t length = 0;

  Stream& stream() const { return current_stream(counter.device()); }

  void forget() {
    one = {};
    many = {};
    length = 0;
    warm = false;
  }

  void run_eagerly() {
    {
      const StepRandom::Observing observing(random);
      observed_at = done;
      step();
    }
    ++done;
    ++counts.eager;
    warm = true;
  }

  runtime::Graph captured(std::int64_t steps) {
    refused = true;  // unless it comes to its end
    runtime::Graph graph;
    if (!capturing_on) capturing_on.emplace(counter.device().index);
    runtime::GraphCapture capture(graph, *capturing_on);
    {
      StepRandom::Capturing capturing(random, static_cast<const std::int64_t*>(counter.ref().data), observed_at);
      for (std::int64_t i = 0; i < steps; ++i) {
        step();
        capturing.step_done();
      }
    }
    capture.finish();
    refused = false;
    ++counts.captures;
    return graph;
  }

  void replay(runtime::Graph& graph, std::int64_t steps) {
    graph.launch(stream());
    done += steps;
    counts.replayed += steps;
    ++counts.launches;
  }

  void run(std::int64_t count) {
    refused = false;
    if (!options.capture || !counter.device().is_cuda()) {
      for (; count > 0; --count) run_eagerly();
      return;
    }
    const std::uint64_t now = fingerprint ? fingerprint() : 0;
    if (warm && now != captured_of) forget();
    captured_of = now;
    if (count > 0 && !warm) {
      run_eagerly();
      --count;
    }
    if (count == 0) return;
    if (!one.defined()) {
      one = captured(1);
      counts.nodes = one.node_count();
      length = options.most_nodes / std::max<std::int64_t>(one.node_count(), 1);
      // Capturing a step costs the host about what running it eagerly does: few are captured of a short run.
      if (options.expected > 0) length = std::min(length, options.expected / 4);
      length = std::clamp<std::int64_t>(length, 1, options.most_steps);
    }
    // A graph of many steps pays when it is launched more than once.
    const std::int64_t to_come = std::max(count, options.expected - done);
    if (length > 1 && count >= length && to_come >= 2 * length && !many.defined()) many = captured(length);
    for (; many.defined() && count >= length; count -= length) replay(many, length);
    for (; count > 0; --count) replay(one, 1);
    random.advance_to(done - observed_at);
  }
};

StepGraph::StepGraph(Tensor counter, std::function<void()> step, std::function<std::uint64_t()> fingerprint,
                     Options options)
    : impl_(std::make_unique<Impl>()) {
  check(counter.defined() && counter.dtype() == DType::i64 && counter.dim() == 0, "StepGraph: the counter is ", counter,
        ", expected an i64 scalar");
  check(options.most_steps >= 1 && options.most_nodes >= 1, "StepGraph: most_steps is ", options.most_steps,
        " and most_nodes ", options.most_nodes, ", expected 1 or more");
  impl_->counter = std::move(counter);
  impl_->step = std::move(step);
  impl_->fingerprint = std::move(fingerprint);
  impl_->options = options;
}

StepGraph::~StepGraph() = default;

void StepGraph::run(std::int64_t count) {
  check(count >= 0, "StepGraph::run: ", count, " steps, expected 0 or more");
  impl_->run(count);
}

std::int64_t StepGraph::done() const { return impl_->done; }
bool StepGraph::refused_capture() const { return impl_->refused; }

void StepGraph::stop_capturing() {
  impl_->forget();
  impl_->options.capture = false;
}

const StepGraph::Counts& StepGraph::counts() const { return impl_->counts; }

}  // namespace graft
