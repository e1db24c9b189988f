// The emulated device's face: properties, limits of a launch, errors that stay, devices that are not there.
#include "simt/emulated.h"

#include <thread>

#include <graft/kernels/runtime/cuda.h>

namespace graft::simt {
namespace {

using testing::AllOf;
using testing::HasSubstr;

GRAFT_KERNEL(1024) nothing() {}
GRAFT_KERNEL(32) wild(float* p) {
  if (threadIdx.x == 3) __trap();
  p[threadIdx.x] = 0;
}

class HostDevice : public Emulated {};

TEST_F(HostDevice, TellsWhatItIs) {
  int count = 0, device = -1, value = 0, driver = 0, runtime = 0;
  ASSERT_EQ(cudaGetDeviceCount(&count), cudaSuccess);
  EXPECT_EQ(count, 1);
  EXPECT_EQ(cudaGetDevice(&device), cudaSuccess);
  EXPECT_EQ(device, 0);
  EXPECT_EQ(cudaSetDevice(0), cudaSuccess);
  EXPECT_EQ(cudaSetDevice(1), cudaErrorInvalidDevice);
  cudaDeviceProp p;
  ASSERT_EQ(cudaGetDeviceProperties(&p, 0), cudaSuccess);
  EXPECT_STREQ(p.name, "SIMT emulator");
  EXPECT_EQ(p.major, 9);
  EXPECT_EQ(p.multiProcessorCount, 132);
  EXPECT_EQ(p.sharedMemPerBlockOptin, 227u * 1024);
  EXPECT_EQ(cudaGetDeviceProperties(&p, 1), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0), cudaSuccess);
  EXPECT_EQ(value, 132);
  EXPECT_EQ(cudaDeviceGetAttribute(&value, cudaDevAttrMaxTexture2DGatherWidth, 0), cudaErrorNotSupported);
  EXPECT_EQ(cudaDriverGetVersion(&driver), cudaSuccess);
  EXPECT_EQ(cudaRuntimeGetVersion(&runtime), cudaSuccess);
  EXPECT_EQ(driver, CUDART_VERSION);
  EXPECT_EQ(runtime, CUDART_VERSION);
}

TEST_F(HostDevice, EstimatesOccupancy) {
  const auto* const function = reinterpret_cast<const void*>(&nothing);
  int blocks = 0;
  const auto occupancy = [&](int threads, std::size_t shared) {
    EXPECT_EQ(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, function, threads, shared), cudaSuccess);
    return blocks;
  };
  EXPECT_EQ(occupancy(256, 0), 8);
  EXPECT_EQ(occupancy(32, 0), 32);
  EXPECT_EQ(occupancy(128, 100 * 1024), 2);
  EXPECT_EQ(occupancy(128, 228 * 1024), 0);
  EXPECT_EQ(occupancy(2048, 0), 0);
  EXPECT_EQ(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, function, 0, 0), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, 227 * 1024), cudaSuccess);
  EXPECT_EQ(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, 228 * 1024),
            cudaErrorInvalidValue);
  cudaFuncAttributes attributes;
  EXPECT_EQ(cudaFuncGetAttributes(&attributes, function), cudaSuccess);
  EXPECT_EQ(attributes.maxThreadsPerBlock, 1024);
}

struct Limit {
  const char* name;
  dim3 grid, block;
  std::size_t shared;
  dim3 cluster;
  cudaError_t expected;
};

class HostLaunchLimits : public Emulated, public testing::WithParamInterface<Limit> {};
INSTANTIATE_TEST_SUITE_P(
    Limits, HostLaunchLimits,
    testing::Values(Limit{"Threads", dim3(1), dim3(1056), 0, dim3(1), cudaErrorInvalidConfiguration},
                    Limit{"ThreadsInAll", dim3(1), dim3(64, 32), 0, dim3(1), cudaErrorInvalidConfiguration},
                    Limit{"BlockZ", dim3(1), dim3(1, 1, 96), 0, dim3(1), cudaErrorInvalidConfiguration},
                    Limit{"NoThreads", dim3(1), dim3(0), 0, dim3(1), cudaErrorInvalidConfiguration},
                    Limit{"NoBlocks", dim3(1, 0), dim3(32), 0, dim3(1), cudaErrorInvalidConfiguration},
                    Limit{"GridX", dim3(1u << 31), dim3(32), 0, dim3(1), cudaErrorInvalidConfiguration},
                    Limit{"GridY", dim3(1, 65536), dim3(32), 0, dim3(1), cudaErrorInvalidConfiguration},
                    Limit{"GridZ", dim3(1, 1, 65536), dim3(32), 0, dim3(1), cudaErrorInvalidConfiguration},
                    Limit{"SharedMemory", dim3(1), dim3(32), 227 * 1024 + 1, dim3(1), cudaErrorInvalidValue},
                    Limit{"Cluster", dim3(16), dim3(32), 0, dim3(16), cudaErrorInvalidClusterSize},
                    Limit{"WholeClusters", dim3(5), dim3(32), 0, dim3(2), cudaErrorInvalidConfiguration},
                    Limit{"WholeWarps", dim3(1), dim3(48), 0, dim3(1), cudaErrorNotSupported}),
    [](const auto& limit) { return limit.param.name; });

TEST_P(HostLaunchLimits, AreKept) {
  const Limit& limit = GetParam();
  const LaunchDims wrong{
      .grid = limit.grid, .block = limit.block, .smem = limit.shared, .cluster = limit.cluster, .name = "greedy"};
  EXPECT_EQ(launch(nothing, wrong), limit.expected);
  EXPECT_THAT(text_of(limit.expected), HasSubstr("greedy, grid "));
  EXPECT_EQ(cudaGetLastError(), limit.expected);
  EXPECT_EQ(launch(nothing, dims(1, 32)), cudaSuccess) << "such an error does not stay";
}

TEST_F(HostDevice, LaunchesUpToTheLimits) {
  EXPECT_EQ(launch(nothing, dims(1, 1024, 227 * 1024)), cudaSuccess);
  EXPECT_EQ(launch(nothing, {.grid = dim3(1, 1, 3), .block = dim3(1, 1, 64), .cluster = dim3(1)}), cudaSuccess);
}

// A block has 2 KB of static shared memory; each kernel is a function of its own, of which nothing is known at first.
template <int>
GRAFT_KERNEL(32)
with_static(float* y) {
  GRAFT_SHARED(fixed, float[512]);
  GRAFT_DYNAMIC_SHARED(float, dynamic);
  fixed[threadIdx.x] = 1;
  dynamic[threadIdx.x] = 2;
  y[threadIdx.x] = fixed[threadIdx.x] + dynamic[threadIdx.x];
}
constexpr std::size_t kForAll = 48 * 1024, kStatic = 2048;

TEST_F(HostDevice, StaticAndDynamicSharedMemoryTogetherNeedAnOptIn) {
  const OnDevice<float> y(32);
  float* const to = y;
  auto* const kernel = with_static<0>;
  const auto with = [&](std::size_t bytes) { return launch(kernel, dims(1, 32, bytes, "with_static"), to); };
  // Not yet known: the block that makes the variable is refused,
  EXPECT_EQ(with(kForAll - kStatic + 1), cudaErrorLaunchFailure);
  EXPECT_THAT(text_of(cudaErrorLaunchFailure), HasSubstr("without opting in"));
  reset();
  EXPECT_EQ(with(kForAll - kStatic), cudaSuccess);
  // then the launch.
  EXPECT_EQ(with(kForAll - kStatic + 1), cudaErrorInvalidValue);
  EXPECT_THAT(text_of(cudaErrorInvalidValue), HasSubstr("2048 bytes of static and 47105 of dynamic shared memory"));
  cudaFuncAttributes attributes;
  EXPECT_EQ(cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(kernel)), cudaSuccess);
  EXPECT_EQ(attributes.sharedSizeBytes, kStatic);
  EXPECT_EQ(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(kForAll)),
            cudaSuccess);
  EXPECT_EQ(with(kForAll), cudaSuccess);
  EXPECT_EQ(y.values(), std::vector<float>(32, 3.0f));
}

// The launcher asks for what static and dynamic memory need together; by dynamic memory alone it would not have to.
TEST_F(HostDevice, TheLauncherOptsIn) {
  const OnDevice<float> y(32);
  float* const to = y;
  const Stream stream = graft::runtime::default_stream(0);
  for (const std::size_t bytes : {kForAll - kStatic, kForAll - kStatic + 16, kForAll, 100 * kForAll / 48}) {
    kernels::cuda::launch("with_static", with_static<1>, {.block = dim3(32), .shared_bytes = bytes}, stream, to);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess) << bytes;
  }
  EXPECT_EQ(launch(with_static<2>, dims(1, 32, 128), to), cudaSuccess);  // its variable is known now
  kernels::cuda::launch("with_static", with_static<2>, {.block = dim3(32), .shared_bytes = kForAll - 1024}, stream, to);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  cudaStream_t captured = nullptr;
  ASSERT_EQ(cudaStreamCreate(&captured), cudaSuccess);
  ASSERT_EQ(cudaStreamBeginCapture(captured, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  kernels::cuda::launch("with_static", with_static<3>, {.block = dim3(32), .shared_bytes = kForAll},
                        Stream{stream.device, captured}, to);
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(captured, &graph), cudaSuccess) << "asking for it is no part of the capture";
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(captured), cudaSuccess);
}

class HostFailures : public InBothStreams {};
INSTANTIATE_TEST_SUITE_P(Streams, HostFailures, testing::Bool(), stream_kind);

TEST_P(HostFailures, StayUntilTheDeviceIsReset) {
  const OnDevice<float> x(32);
  const cudaError_t launched = launch(wild, dims(1, 32, 0, "wild"), static_cast<float*>(x));
  EXPECT_EQ(launched, lazy() ? cudaSuccess : cudaErrorLaunchFailure) << "a lazy stream has not run it yet";
  EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorLaunchFailure);
  EXPECT_STREQ(cudaGetErrorName(cudaErrorLaunchFailure), "cudaErrorLaunchFailure");
  EXPECT_THAT(text_of(cudaErrorLaunchFailure), AllOf(HasSubstr("unspecified launch failure: wild: "),
                                                     HasSubstr("host_device_test.cpp:"), HasSubstr("thread (3,0,0)")));
  void* p = nullptr;
  int device = 0;
  float value = 0;
  EXPECT_EQ(cudaMalloc(&p, 4), cudaErrorLaunchFailure);
  EXPECT_EQ(cudaMemcpy(&value, x, 4, cudaMemcpyDeviceToHost), cudaErrorLaunchFailure);
  EXPECT_EQ(cudaGetDevice(&device), cudaErrorLaunchFailure);
  EXPECT_EQ(launch(nothing, dims(1, 32)), cudaErrorLaunchFailure);
  EXPECT_EQ(cudaGetLastError(), cudaErrorLaunchFailure);
  EXPECT_EQ(cudaGetLastError(), cudaErrorLaunchFailure) << "asking does not clear it";
  EXPECT_EQ(cudaPeekAtLastError(), cudaErrorLaunchFailure);
  reset();
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(cudaMemset(x, 0, 4), cudaSuccess);
  EXPECT_EQ(launch(nothing, dims(1, 32)), cudaSuccess);
}

TEST_P(HostFailures, LastErrorsBelongToTheirThread) {
  EXPECT_EQ(cudaSetDevice(7), cudaErrorInvalidDevice);
  std::thread([] { EXPECT_EQ(cudaGetLastError(), cudaSuccess); }).join();
  EXPECT_EQ(cudaPeekAtLastError(), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

TEST_F(HostDevice, MayBeMissing) {
  int count = -1, version = -1;
  host_options().device = HostOptions::Device::none;
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaErrorNoDevice);
  EXPECT_EQ(count, 0);
  void* p = nullptr;
  EXPECT_EQ(cudaMalloc(&p, 4), cudaErrorNoDevice);
  EXPECT_EQ(launch(nothing, dims(1, 32)), cudaErrorNoDevice);
  host_options().device = HostOptions::Device::no_driver;
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver);
  EXPECT_EQ(cudaDriverGetVersion(&version), cudaSuccess);
  EXPECT_EQ(version, 0);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorInsufficientDriver);
}

TEST_F(HostDevice, MayBeOld) {
  host_options().device = HostOptions::Device::sm70;
  cudaDeviceProp p;
  ASSERT_EQ(cudaGetDeviceProperties(&p, 0), cudaSuccess);
  EXPECT_EQ(p.major, 7);
}

TEST_F(HostDevice, NamesItsErrors) {
  EXPECT_STREQ(cudaGetErrorName(cudaSuccess), "cudaSuccess");
  EXPECT_STREQ(cudaGetErrorName(cudaErrorStreamCaptureUnjoined), "cudaErrorStreamCaptureUnjoined");
  EXPECT_STREQ(cudaGetErrorName(static_cast<cudaError_t>(12345)), "unrecognized error code");
  EXPECT_STREQ(cudaGetErrorString(cudaErrorMemoryAllocation), "out of memory");
}

TEST_F(HostDevice, ServesThreadsOfTheHostAtTheSameTime) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([t] {
      cudaStream_t stream = nullptr;
      EXPECT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
      for (int i = 0; i < 20; ++i) {
        const OnDevice<int> x(std::vector<int>(64, t * 100 + i));
        EXPECT_EQ(launch_on(stream, nothing, dims(2, 64)), cudaSuccess);
        EXPECT_EQ(x.values()[63], t * 100 + i);
      }
      EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
    });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace graft::simt
