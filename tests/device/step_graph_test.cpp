// A captured step beside the work of other threads.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include <graft/core/step_graph.h>
#include <graft/graft.h>

#include "device/device.h"

namespace graft {
namespace {

using test::gpu;

class StepGraphTest : public test::DeviceTest {};

TEST_F(StepGraphTest, WhatAnotherThreadDoesDuringTheCaptureIsNotCaptured) {
  const NoGrad no_grad;
  const Tensor counter = Tensor::zeros({}, DType::i64, gpu), x = Tensor::ones({5}, DType::f32, gpu);
  Tensor sum = Tensor::zeros({5}, DType::f32, gpu), others = Tensor::zeros({5}, DType::f32, gpu);
  int threads = 0;
  const auto step = [&] {
    sum.add_(x);
    std::thread([&] {
      const NoGrad none;
      others.add_(x);
      EXPECT_EQ(others.to_vector<float>(), std::vector<float>(5, static_cast<float>(++threads)));  // it waits, too
    }).join();
  };
  StepGraph graph(counter, step, {}, {});
  graph.run(6);
  EXPECT_EQ(graph.counts().replayed, 5);
  EXPECT_EQ(sum.to_vector<float>(), std::vector<float>(5, 6.0f));
  EXPECT_LT(threads, 6);
  EXPECT_EQ(others.to_vector<float>(), std::vector<float>(5, static_cast<float>(threads))) << "no replay repeats it";
}

}  // namespace
}  // namespace graft
