// What the tests of the emulator share: launching a kernel of their own, memory of the device, and what CUDA's calls
// return.
#pragma once

#include <graft/kernels/cuda/launch.cuh>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <graft/kernels/simt/core.h>
#include <graft/kernels/simt/host.h>

namespace graft::simt {

/// Launches without the engine's runtime around it; returns what the emulated runtime does. Where dynamic shared memory
/// alone needs it, opts in.
template <class... P, class... A>
cudaError_t launch(void (*kernel)(P...), LaunchDims dims, A... arguments) {
  return launch_on(nullptr, kernel, dims, arguments...);
}
template <class... P, class... A>
cudaError_t launch_on(cudaStream_t stream, void (*kernel)(P...), LaunchDims dims, A... arguments) {
  std::tuple<P...> values{static_cast<P>(arguments)...};
  dims.kernel = reinterpret_cast<const void*>(kernel);
  if (dims.smem > 48 * 1024 && dims.smem <= options().shared_limit) {
    EXPECT_EQ(
        cudaFuncSetAttribute(dims.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(dims.smem)),
        cudaSuccess);
  }
  return static_cast<cudaError_t>(enqueue_launch(stream, dims, [kernel, values] { std::apply(kernel, values); }));
}

inline LaunchDims dims(unsigned blocks, unsigned threads, std::size_t shared_bytes = 0,
                       const char* name = "test_kernel") {
  LaunchDims d;
  d.grid = dim3(blocks);
  d.block = dim3(threads);
  d.smem = shared_bytes;
  d.name = name;
  return d;
}

/// An array on the device.
template <class T>
class OnDevice {
 public:
  explicit OnDevice(std::size_t count) : count_(count) {
    if (cudaMalloc(reinterpret_cast<void**>(&p_), count * sizeof(T)) != cudaSuccess) p_ = nullptr;
  }
  explicit OnDevice(const std::vector<T>& values) : OnDevice(values.size()) {
    EXPECT_EQ(cudaMemcpy(p_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), cudaSuccess);
  }
  ~OnDevice() { cudaFree(p_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  operator T*() const { return p_; }
  std::vector<T> values() const {
    std::vector<T> result(count_);
    EXPECT_EQ(cudaMemcpy(result.data(), p_, count_ * sizeof(T), cudaMemcpyDeviceToHost), cudaSuccess);
    return result;
  }

 private:
  T* p_ = nullptr;
  std::size_t count_;
};

/// Each test begins and ends with the options of the environment and without an error.
class Emulated : public testing::Test {
 protected:
  Emulated() : options_(options()), host_options_(host_options()) { reset(); }
  ~Emulated() override {
    reset();
    cudaGetLastError();
    options() = options_;
    host_options() = host_options_;
  }

 private:
  const Options options_;
  const HostOptions host_options_;
};

/// Also with lazy streams.
class InBothStreams : public Emulated, public testing::WithParamInterface<bool> {
 protected:
  InBothStreams() { options().lazy_streams = GetParam(); }
  static bool lazy() { return options().lazy_streams; }
};
inline std::string stream_kind(const testing::TestParamInfo<bool>& info) { return info.param ? "lazy" : "eager"; }

inline std::string text_of(cudaError_t error) { return cudaGetErrorString(error); }

}  // namespace graft::simt
