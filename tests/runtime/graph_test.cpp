// Capturing work into graphs and launching them.
#include <gtest/gtest.h>

#include <cstring>
#include <optional>
#include <set>

#include <graft/core/autograd/node.h>
#include <graft/core/cuda.h>
#include <graft/core/ops/math.h>
#include <graft/core/ops/nn.h>
#include <graft/core/stream.h>
#include <graft/kernels/runtime/cuda.h>

#include "support/errors.h"

namespace graft {
namespace {

using runtime::is_capturing;

class GraphTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!cuda::is_available()) GTEST_SKIP() << cuda::why_not();
    stream.emplace(0);
  }

  const Device gpu = Device::cuda();
  std::optional<cuda::Stream> stream;
};

TEST_F(GraphTest, NothingRunsDuringTheCaptureAndAllOfItAtEachLaunch) {
  Tensor counter = Tensor::zeros({4}, DType::f32, gpu);
  cuda::synchronize();
  cuda::Graph graph;
  EXPECT_FALSE(graph.defined());
  EXPECT_ERROR(graph.launch(*stream), "nothing was captured");
  {
    cuda::GraphCapture capture(graph, *stream);
    EXPECT_TRUE(is_capturing(*stream));
    EXPECT_EQ(current_stream(gpu).native, stream->get().native);
    counter.add_(Tensor::ones({4}, DType::f32, gpu));
    capture.finish();
  }
  EXPECT_FALSE(is_capturing(*stream));
  EXPECT_NE(current_stream(gpu).native, stream->get().native);
  EXPECT_TRUE(graph.defined());
  EXPECT_EQ(graph.node_count(), 2) << "the fill and the sum";
  EXPECT_EQ(counter.to_vector<float>(), std::vector<float>(4, 0));
  for (int i = 0; i < 3; ++i) graph.launch(*stream);
  stream->synchronize();
  EXPECT_EQ(counter.to_vector<float>(), std::vector<float>(4, 3));
}

TEST_F(GraphTest, ATrainingStepReplaysWithNewInputs) {
  const auto step = [](Tensor& w, const Tensor& x, const Tensor& y) {
    const Tensor loss = mean(square(sub(linear(x, w), y)));
    loss.backward();
    const NoGrad no_grad;
    w.add_(w.grad(), -0.1);
    w.set_grad({});
    return loss;
  };
  Generator generator(3);
  const Tensor x0 = randn({5, 4}, generator), x1 = randn({5, 4}, generator), y0 = randn({5, 2}, generator);
  const Tensor start = randn({2, 4}, generator);

  Tensor eager = start.to(gpu).requires_grad_(), captured = start.to(gpu).requires_grad_();
  Tensor x = x0.to(gpu), y = y0.to(gpu);
  cuda::synchronize();
  cuda::Graph graph;
  Tensor loss;
  {
    cuda::GraphCapture capture(graph, *stream);
    loss = step(captured, x, y);
    capture.finish();
  }
  std::vector<double> got, want;
  for (const Tensor& input : {x0, x1, x0}) {
    want.push_back(step(eager, input.to(gpu), y0.to(gpu)).item());
    x.copy_(input);
    cuda::synchronize();
    graph.launch(*stream);
    stream->synchronize();
    got.push_back(loss.item());
  }
  EXPECT_EQ(got, want);
  EXPECT_EQ(captured.to_vector<float>(), eager.to_vector<float>());
}

TEST_F(GraphTest, MemoryOfTheCaptureIsTheGraphsOwn) {
  Tensor result;
  const void* inside = nullptr;
  std::optional<cuda::Graph> graph(std::in_place);
  {
    cuda::GraphCapture capture(*graph, *stream);
    {
      const Tensor passing = Tensor::full({4096}, 1, DType::f32, gpu);
      inside = passing.storage()->data();
    }
    const Tensor again = Tensor::full({4096}, 2, DType::f32, gpu);
    EXPECT_EQ(again.storage()->data(), inside) << "freed within the capture: used again within it";
    result = again + 1.0;
    capture.finish();
  }
  std::set<const void*> others;
  {
    const cuda::StreamScope scope(*stream);
    std::vector<Tensor> kept;
    for (int i = 0; i < 150; ++i)
      others.insert(kept.emplace_back(Tensor::full({4096}, 9, DType::f32, gpu)).storage()->data());
  }
  EXPECT_FALSE(others.contains(inside));
  EXPECT_FALSE(others.contains(result.storage()->data()));
  graph->launch(*stream);
  stream->synchronize();
  EXPECT_EQ(result.to_vector<float>(), std::vector<float>(4096, 3));
  graph.reset();
  EXPECT_EQ(result.to_vector<float>(), std::vector<float>(4096, 3)) << "a result outlives its graph";
}

TEST_F(GraphTest, WhatWouldWaitIsRefusedAndTheCaptureGoesOn) {
  Tensor x = Tensor::ones({3}, DType::f32, gpu);
  cuda::synchronize();
  cuda::Graph graph;
  {
    cuda::GraphCapture capture(graph, *stream);
    EXPECT_ERROR(sum(x).item(), "while a graph is being captured");
    EXPECT_ERROR(Tensor::ones({2}).to(gpu), "while a graph is being captured");
    EXPECT_ERROR(cuda::synchronize(), "while a graph is being captured");
    EXPECT_ERROR(cuda::release_cache(), "being captured");
    cuda::Graph second;
    const cuda::Stream other(0);
    EXPECT_ERROR(cuda::GraphCapture(second, other), "captured already");
    x.mul_(2);
    capture.finish();
    EXPECT_ERROR(capture.finish(), "called twice");
  }
  graph.launch(*stream);
  stream->synchronize();
  EXPECT_EQ(x.to_vector<float>(), std::vector<float>(3, 2));
}

TEST_F(GraphTest, WaitsForOthersAreRefusedAndTheCaptureGoesOn) {
  Tensor x = Tensor::ones({3}, DType::f32, gpu);
  cuda::synchronize();
  const cuda::Stream other(0);
  cuda::Event outside(0), inside(0), never(0);
  Tensor y;
  {
    const cuda::StreamScope scope(other);
    y = Tensor::full({3}, 5, DType::f32, gpu);
  }
  outside.record(other);
  std::vector<float> host(3);
  cuda::Graph graph;
  {
    cuda::GraphCapture capture(graph, *stream);
    const char* const text = "while this thread captures a graph on cuda:0";
    EXPECT_ERROR(other.synchronize(), text);
    EXPECT_ERROR(other.is_done(), text);
    EXPECT_ERROR(outside.synchronize(), text);
    EXPECT_ERROR(outside.is_done(), text);
    EXPECT_ERROR(runtime::copy_to_host(host.data(), y.ref().data, 12, other), text);
    EXPECT_ERROR(stream->is_done(), "while a graph is being captured");
    EXPECT_ERROR(outside.wait(*stream), "recorded outside the capture");
    never.wait(*stream);
    x.mul_(2);
    inside.record(*stream);  // a fork, and a join
    inside.wait(other);
    {
      const cuda::StreamScope scope(other);
      y.add_(x);
    }
    inside.record(other);
    inside.wait(*stream);
    capture.finish();
  }
  cuda::Graph second;
  {
    cuda::GraphCapture capture(second, *stream);
    EXPECT_ERROR(graph.launch(*stream), "while a graph is being captured");
    x.mul_(2);
    capture.finish();
  }
  other.synchronize();
  graph.launch(*stream);
  second.launch(*stream);
  stream->synchronize();
  EXPECT_EQ(x.to_vector<float>(), std::vector<float>(3, 4));
  EXPECT_EQ(y.to_vector<float>(), std::vector<float>(3, 7));
}

TEST_F(GraphTest, CopiesToTheDeviceOnAnotherStreamLeaveACaptureAlone) {
  Tensor x = Tensor::ones({3}, DType::f32, gpu);
  cuda::synchronize();
  const cuda::Stream other(0);
  const std::vector<std::byte> host(std::size_t{65} << 20, std::byte{1});  // the copy waits in between
  cuda::Graph graph;
  Tensor y;
  {
    cuda::GraphCapture capture(graph, *stream);
    x.mul_(2);
    const cuda::StreamScope scope(other);
    y = Tensor::empty({std::int64_t{65} << 20}, DType::u8, gpu);
    runtime::copy_to_device(y.ref().data, host.data(), host.size(), other);
    capture.finish();
  }
  other.synchronize();
  EXPECT_EQ(y.to_vector<std::uint8_t>().back(), 1);
  EXPECT_EQ(graph.node_count(), 1);
}

TEST_F(GraphTest, ACaptureThatIsNotFinishedLeavesNothing) {
  Tensor x = Tensor::ones({3}, DType::f32, gpu);
  cuda::synchronize();
  cuda::Graph graph;
  try {
    const cuda::GraphCapture capture(graph, *stream);
    x.mul_(2);
    throw Error("the step failed");
  } catch (const Error&) {
  }
  EXPECT_FALSE(graph.defined());
  EXPECT_FALSE(is_capturing(*stream));
  EXPECT_EQ(x.to_vector<float>(), std::vector<float>(3, 1));
  cuda::GraphCapture capture(graph, *stream);  // and another may begin
  capture.finish();
  EXPECT_EQ(graph.node_count(), 0);
}

TEST_F(GraphTest, PinnedMemoryTakesPartInACapture) {
  auto* pinned = static_cast<float*>(runtime::pinned_allocate(16));
  Tensor x = Tensor::zeros({4}, DType::f32, gpu);
  cuda::synchronize();
  cuda::Graph graph;
  {
    cuda::GraphCapture capture(graph, *stream);
    runtime::copy_to_device(x.ref().data, pinned, 16, *stream);
    capture.finish();
  }
  for (const float value : {1.f, 2.f}) {
    std::fill(pinned, pinned + 4, value);
    graph.launch(*stream);
    stream->synchronize();
    EXPECT_EQ(x.to_vector<float>(), std::vector<float>(4, value));
  }
  runtime::pinned_free(pinned);
}

TEST_F(GraphTest, SynchronousLaunchesDoNotDisturbACapture) {
  cuda::set_synchronous(true);
  Tensor x = Tensor::ones({3}, DType::f32, gpu);
  cuda::Graph graph;
  {
    cuda::GraphCapture capture(graph, *stream);
    EXPECT_NO_THROW(x.mul_(2));
    capture.finish();
  }
  cuda::set_synchronous(false);
  graph.launch(*stream);
  stream->synchronize();
  EXPECT_EQ(x.to_vector<float>(), std::vector<float>(3, 2));
}

TEST_F(GraphTest, NorDoThoseOnAnotherStream) {
  Tensor x = Tensor::ones({3}, DType::f32, gpu), y = Tensor::ones({3}, DType::f32, gpu);
  cuda::synchronize();
  const cuda::Stream other(0);
  cuda::set_synchronous(true);
  cuda::Graph graph;
  {
    cuda::GraphCapture capture(graph, *stream);
    x.mul_(2);
    {
      const cuda::StreamScope scope(other);
      EXPECT_NO_THROW(y.mul_(3));
    }
    EXPECT_NO_THROW(capture.finish());
  }
  cuda::set_synchronous(false);
  EXPECT_EQ(y.to_vector<float>(), std::vector<float>(3, 3));
}

}  // namespace
}  // namespace graft
