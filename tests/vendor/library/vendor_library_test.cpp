// graft::vendor as a program links it: without a GPU it says why it cannot be used, and nothing else changes. Where the
// real libraries are installed, they are asked without a GPU what can be asked so: cuDNN for its engines on a device
// that is only described to it, both for whether they take the descriptors that the rows make.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include <graft/graft.h>
#include <graft/kernels/api/offered.h>
#include <graft/kernels/registry/registry.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/vendor/conv_plan.h>
#include <graft/kernels/vendor/descriptors.h>
#include <graft/kernels/vendor/matmul_plan.h>
#include <graft/kernels/vendor/vendor.h>

#include "support/errors.h"

namespace graft::test {
namespace {

using namespace kernels::vendor;
using kernels::BackendId;
using kernels::TensorRef;

TEST(VendorLibrary, SaysWhyItCannotBeUsedOrComputes) {
  const kernels::Support support = vendor::enable();
  if (support.ok) {
    const kernels::BackendScope scope(BackendId::vendor);
    const Tensor a = Tensor::from({1.0f, 2.0f, 3.0f, 4.0f}, {2, 2}, Device::cuda());
    EXPECT_EQ(matmul(a, a).to_vector<float>(), (std::vector<float>{7, 10, 15, 22}));
    return;
  }
  for (int again = 0; again < 2; ++again) EXPECT_EQ(vendor::enable().reason, support.reason);
  if (!cuda::is_available()) {
    expect_contains(support.reason, "graft::vendor needs a CUDA device: ");
    expect_contains(support.reason, cuda::why_not());
  } else {
    expect_contains(support.reason, "graft::vendor");
  }
  EXPECT_EQ(kernels::offered_backend(BackendId::vendor), nullptr);
  const kernels::BackendScope scope(BackendId::vendor);
  EXPECT_ERROR(Tensor::zeros({2}), "no backend of cpu is built in that BackendScope asks for (vendor)");
}

class RealLibraries : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string& missing = libraries().missing; !missing.empty()) GTEST_SKIP() << missing;
    if (libraries().cudnnGetVersion() < 90800)
      GTEST_SKIP() << "cuDNN " << libraries().cudnnGetVersion() << ": describing a device began with 9.8";
  }
};

/// An H100, as cudnnBackendGetAttribute would describe one that is there.
Descriptor described_h100() {
  const std::string json = R"({"deviceVer": 900, "cudaDeviceId": 0, "totalGlobalMem": 85520809984, "driverVer": 13000,
    "regsPerBlock": 65536, "maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64],
    "multiProcessorCount": 132, "warpSize": 32, "maxSharedMemoryPerBlock": 49152,
    "maxSharedMemoryPerBlockOptin": 232448, "reservedSharedMemoryPerBlock": 1024, "maxRegistersPerSM": 65536,
    "maxCtasPerSM": 32, "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "pciDeviceId": 0, "isTccDriver": 0,
    "supportCoopLaunch": 1, "smClockRateKHz": 1980000, "memClockRateKHz": 2619000, "l2CacheSize": 52428800,
    "deviceName": "NVIDIA H100 80GB HBM3"})";
  Descriptor device(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  device.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, std::ssize(json), json.data());
  device.finalize();
  return device;
}

struct Layer {
  std::int64_t n, c, size, k, kernel;
  kernels::Conv2dGeometry geometry;
  std::int64_t alignment = 16;
};

kernels::Conv2dGeometry geometry(std::int64_t stride, std::int64_t padding, std::int64_t dilation = 1,
                                 std::int64_t groups = 1) {
  return {stride, stride, padding, padding, dilation, dilation, groups};
}

// Every row of convolutions has an engine that keeps the promises, also at odd sizes and addresses.
TEST_F(RealLibraries, CudnnHasAnEngineForEveryConvolution) {
  const Descriptor h100 = described_h100();
  const std::vector<Layer> layers = {
      {8, 64, 56, 64, 3, geometry(1, 1)},       {8, 3, 224, 64, 7, geometry(2, 3)},
      {8, 256, 56, 128, 1, geometry(2, 0)},     {2, 3, 9, 8, 3, geometry(1, 1), 2},
      {1, 1, 1, 1, 1, geometry(1, 0), 2},       {1, 2, 3, 3, 3, geometry(1, 4), 2},
      {1, 3, 13, 4, 3, geometry(2, 3, 3), 2},   {2, 6, 5, 8, 3, geometry(1, 1, 1, 2)},
      {2, 9, 7, 9, 3, geometry(1, 1, 1, 9), 2}, {1, 4, 5, 8, 3, geometry(1, 1, 1, 4), 2},
      {1, 8, 6, 8, 4, geometry(2, 1)},
  };
  for (const Layer& layer : layers)
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
      for (const ConvKind kind : {ConvKind::forward, ConvKind::backward_data, ConvKind::backward_weight})
        for (const float beta : {0.0f, 1.0f}) {
          if (beta != 0 && kind != ConvKind::forward) continue;  // where a bias lies
          ConvSpec spec;
          spec.kind = kind;
          spec.dtype = dtype;
          spec.x = {layer.n, layer.c, layer.size, layer.size};
          spec.w = {layer.k, layer.c / layer.geometry.groups, layer.kernel, layer.kernel};
          const std::int64_t out = kernels::conv_output_size(layer.size, layer.kernel, layer.geometry.stride_h,
                                                             layer.geometry.padding_h, layer.geometry.dilation_h);
          spec.y = {layer.n, layer.k, out, out};
          spec.geometry = layer.geometry;
          const auto element = static_cast<std::int64_t>(size_of(dtype));
          spec.x_alignment = spec.w_alignment = spec.y_alignment = std::max(layer.alignment, element);
          spec.beta = beta;
          SCOPED_TRACE(cat("kind ", static_cast<int>(kind), ", ", graft::name(dtype), ", x ", spec.x, ", w ", spec.w,
                           ", beta ", beta));
          EXPECT_EQ(error_of([&] { EXPECT_FALSE(conv_plans(spec, {nullptr, &h100}, 1).empty()); }), "");
        }
}

TEST_F(RealLibraries, MoreEnginesWherePromisesAreFewer) {
  const Descriptor h100 = described_h100();
  ConvSpec spec;
  spec.kind = ConvKind::backward_weight;
  spec.x = {8, 64, 28, 28};
  spec.w = {64, 64, 3, 3};
  spec.y = {8, 64, 28, 28};
  spec.geometry = geometry(1, 1);
  spec.x_alignment = spec.w_alignment = spec.y_alignment = 16;
  const auto count = [&](DType dtype, vendor::Engines engines) {
    spec.dtype = dtype;
    spec.engines = engines;
    return conv_plans(spec, {nullptr, &h100}, 1000).size();
  };
  const std::size_t strict = count(DType::f32, vendor::Engines::strict);
  EXPECT_GT(count(DType::f32, vendor::Engines::fastest), strict) << "additions in no fixed order";
  EXPECT_GT(count(DType::bf16, vendor::Engines::strict), strict) << "tensor cores, which for f32 would be TF32";
}

TEST_F(RealLibraries, TakeTheDescriptorsOfTheRows) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    float memory = 0;
    const Shape shape{2, 3, 5, 7};
    const TensorRef picture{&memory, dtype, shape, channels_last_strides(shape)};
    EXPECT_EQ(error_of([&] {
                TensorDescriptor::picture(picture);
                TensorDescriptor::packed(dtype, {70000, 1000, 1, 1});
                TensorDescriptor::packed(dtype, {1, 1, 1, std::int64_t{1} << 30});
              }),
              "");
    for (const bool transposed : {false, true})
      for (const std::int64_t batch : {1, 3}) {
        MatmulSpec spec;
        spec.dtype = dtype;
        spec.batch = batch;
        spec.m = 4, spec.n = 5, spec.k = 3;
        spec.a = {transposed ? 4 : 3, transposed};
        spec.b = {transposed ? 3 : 5, transposed};
        spec.y_batch = 20;  // and a and b shared by the products
        EXPECT_EQ(error_of([&] { MatmulPlan(spec, &memory); }), "");
      }
  }
}

}  // namespace
}  // namespace graft::test
