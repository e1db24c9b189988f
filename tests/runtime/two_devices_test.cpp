// What goes wrong only where there is more than one CUDA device: with GRAFT_SIMT_DEVICES=2 the emulator has two.
#include <gtest/gtest.h>

#include <dlfcn.h>

#include <functional>
#include <optional>
#include <thread>
#include <vector>

#include <graft/core/cuda.h>
#include <graft/core/ops/math.h>
#include <graft/kernels/runtime/cuda.h>

namespace graft::simt {
[[gnu::weak]] bool has_context(int device);  // where the device is emulated
}

namespace graft {
namespace {

bool has_context(int device) {
  if (simt::has_context != nullptr) return simt::has_context(device);
  void* const driver = dlopen("libcuda.so.1", RTLD_NOW);
  const auto state = reinterpret_cast<int (*)(int, unsigned*, int*)>(dlsym(driver, "cuDevicePrimaryCtxGetState"));
  unsigned flags = 0;
  int active = 0;
  state(device, &flags, &active);
  return active != 0;
}

class TwoDevices : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda::device_count() < 2 || !cuda::is_available(1)) GTEST_SKIP() << "there are no two CUDA devices";
  }
};

// A thread that never chose a device stands at device 0, whose context alone takes hundreds of megabytes.
TEST_F(TwoDevices, WorkOnTheSecondLeavesTheFirstAlone) {
  if (has_context(0)) GTEST_SKIP() << "device 0 is in use already";
  const Device second = Device::cuda(1);
  Tensor x = Tensor::ones({8}, DType::f32, second) + 1.0;
  EXPECT_EQ(x.to_vector<float>(), std::vector<float>(8, 2));
  EXPECT_TRUE(has_context(1));
  std::optional<cuda::Event> event(std::in_place, 1);
  std::optional<cuda::Stream> stream(std::in_place, 1);
  event->record(*stream);
  std::optional<cuda::Graph> graph(std::in_place);
  {
    cuda::GraphCapture capture(*graph, *stream);
    x.mul_(2);
    capture.finish();
  }
  graph->launch(*stream);
  const std::function<void()> on_fresh_threads[] = {
      [] { runtime::pinned_free(runtime::pinned_allocate(3 << 20)); },
      [&] { EXPECT_EQ(x.to_vector<float>(), std::vector<float>(8, 4)); },
      [&] { event->synchronize(); },
      [&] { EXPECT_TRUE(event->is_done()); },
      [&] { EXPECT_TRUE(stream->is_done()); },
      [&] { x = {}; },
      [&] { graph.reset(); },
      [&] { stream.reset(); },
      [&] { event.reset(); },
      [&] { cuda::release_cache(second); },
  };
  int number = 0;
  for (const auto& work : on_fresh_threads) {
    std::thread(work).join();
    EXPECT_FALSE(has_context(0)) << "made by number " << number;
    ++number;
  }
}

// An event of the second device's allocator is asked about while the first captures.
TEST_F(TwoDevices, MemoryOfOneIsAllocatedWhileTheOtherIsCaptured) {
  const cuda::Stream stream(0), one(1), other(1);
  Tensor x = Tensor::ones({4}, DType::f32, Device::cuda(0));
  cuda::synchronize(Device::cuda(0));
  {
    const cuda::StreamScope scope(one);
    const Tensor shared = Tensor::ones({1000}, DType::f32, Device::cuda(1));
    cuda::record_stream(shared, other);
  }
  cuda::Graph graph;
  {
    cuda::GraphCapture capture(graph, stream);
    x.mul_(3);
    const Tensor y = Tensor::empty({1000}, DType::f32, Device::cuda(1));
    x.mul_(2);
    capture.finish();
  }
  graph.launch(stream);
  stream.synchronize();
  EXPECT_EQ(x.to_vector<float>(), std::vector<float>(4, 6));
}

}  // namespace
}  // namespace graft
