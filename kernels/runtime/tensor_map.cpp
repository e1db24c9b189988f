#include <graft/kernels/runtime/tensor_map.h>

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstring>

#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/cuda_check.h>

namespace graft::runtime {
namespace {

static_assert(sizeof(TensorMap) == sizeof(CUtensorMap));

// From the driver by name, so that nothing links libcuda, which a machine without a GPU lacks.
template <class Function>
Function* driver_function(const char* name) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
  GRAFT_CUDA(cudaGetDriverEntryPointByVersion, name, &found, 12000, cudaEnableDefault, &result);
#else
  GRAFT_CUDA(cudaGetDriverEntryPoint, name, &found, cudaEnableDefault, &result);
#endif
  if (result != cudaDriverEntryPointSuccess || found == nullptr)
    fail("the NVIDIA driver has no ", name, ": tensor maps need a driver of CUDA 12.0 or later");
  return reinterpret_cast<Function*>(found);
}

CUtensorMapDataType native(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
    case DType::f64:
      return CU_TENSOR_MAP_DATA_TYPE_FLOAT64;
    case DType::bf16:
      return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    case DType::f16:
      return CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
    case DType::i64:
      return CU_TENSOR_MAP_DATA_TYPE_INT64;
    case DType::i32:
      return CU_TENSOR_MAP_DATA_TYPE_INT32;
    case DType::u8:
      return CU_TENSOR_MAP_DATA_TYPE_UINT8;
    default:
      fail("a tensor map of ", name(dtype), " was asked for, expected a number's dtype");
  }
}

CUtensorMapSwizzle native(Swizzle swizzle) {
  switch (swizzle) {
    case Swizzle::bytes32:
      return CU_TENSOR_MAP_SWIZZLE_32B;
    case Swizzle::bytes64:
      return CU_TENSOR_MAP_SWIZZLE_64B;
    case Swizzle::bytes128:
      return CU_TENSOR_MAP_SWIZZLE_128B;
    default:
      return CU_TENSOR_MAP_SWIZZLE_NONE;
  }
}

std::int64_t span(Swizzle swizzle) {
  return swizzle == Swizzle::none ? 0 : swizzle == Swizzle::bytes32 ? 32 : swizzle == Swizzle::bytes64 ? 64 : 128;
}

void require(bool holds, const auto&... text) {
  if (!holds) fail("tensor map: ", text...);
}

void require_range(const char* what, int dimension, std::int64_t value, std::int64_t least, std::int64_t most) {
  require(value >= least && value <= most, what, "[", dimension, "] is ", value, ", expected ", least, " to ", most);
}

void check(const TensorLayout& t, int least_rank) {
  int device = 0;
  GRAFT_CUDA(cudaGetDevice, &device);
  const CudaProperties& p = cuda_properties(device);
  require(p.major >= 9, "cuda:", device, " has compute capability ", p.major, ".", p.minor,
          ", bulk tensor copies need 9.0");
  require(t.rank >= least_rank && t.rank <= 5, "the rank is ", t.rank, ", expected ", least_rank, " to 5");
  require(t.data != nullptr && reinterpret_cast<std::uintptr_t>(t.data) % 16 == 0,
          "the data's address must be a multiple of 16 and not null");
  for (int d = 0; d < t.rank; ++d) {
    const auto at = static_cast<std::size_t>(d);
    require_range("sizes", d, t.sizes[at], 1, std::int64_t{1} << 32);
    if (d == 0) continue;
    require_range("strides", d, t.strides[at], 0, (std::int64_t{1} << 40) - 1);
    require(t.strides[at] % 16 == 0, "strides[", d, "] is ", t.strides[at], " bytes, expected a multiple of 16");
  }
}

void check_row(std::int64_t elements, DType dtype, Swizzle swizzle) {
  const std::int64_t bytes = elements * static_cast<std::int64_t>(size_of(dtype));
  require(bytes % 16 == 0, "a row of the box is ", bytes, " bytes, expected a multiple of 16");
  require(swizzle == Swizzle::none || bytes == span(swizzle), "a row of the box is ", bytes,
          " bytes, this swizzle is for rows of ", span(swizzle));
}

struct Native {
  cuuint64_t sizes[5], strides[4];
  cuuint32_t steps[5];
  explicit Native(const TensorLayout& t) : sizes{}, strides{}, steps{1, 1, 1, 1, 1} {
    for (int d = 0; d < t.rank; ++d) {
      sizes[d] = static_cast<cuuint64_t>(t.sizes[static_cast<std::size_t>(d)]);
      if (d > 0) strides[d - 1] = static_cast<cuuint64_t>(t.strides[static_cast<std::size_t>(d)]);
    }
  }
};

void require_success(CUresult result, const char* function) {
  if (result != CUDA_SUCCESS) fail(function, " failed: CUresult ", static_cast<int>(result));
}

}  // namespace

TensorMap make_tensor_map(const TensorLayout& tensor, const std::array<int, 5>& box, Swizzle swizzle,
                          const std::array<int, 5>& steps) {
  check(tensor, 1);
  Native n(tensor);
  cuuint32_t native_box[5];
  for (int d = 0; d < tensor.rank; ++d) {
    const auto at = static_cast<std::size_t>(d);
    require_range("box", d, box[at], 1, 256);
    require_range("steps", d, steps[at], 1, d == 0 ? 1 : 8);
    native_box[d] = static_cast<cuuint32_t>(box[at]);
    n.steps[d] = static_cast<cuuint32_t>(steps[at]);
  }
  check_row(box[0], tensor.dtype, swizzle);
  static auto* const encode = driver_function<decltype(cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled");
  CUtensorMap made;
  require_success(
      encode(&made, native(tensor.dtype), static_cast<cuuint32_t>(tensor.rank), const_cast<void*>(tensor.data), n.sizes,
             n.strides, native_box, n.steps, CU_TENSOR_MAP_INTERLEAVE_NONE, native(swizzle),
             CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
      "cuTensorMapEncodeTiled");
  TensorMap map;
  std::memcpy(&map, &made, sizeof map);
  return map;
}

TensorMap make_im2col_map(const TensorLayout& tensor, const Im2col& im2col, Swizzle swizzle) {
  check(tensor, 3);
  Native n(tensor);
  require(im2col.channels >= 1 && im2col.channels <= 256, "im2col.channels is ", im2col.channels,
          ", expected 1 to 256");
  require(im2col.pixels >= 1 && im2col.pixels <= 1024, "im2col.pixels is ", im2col.pixels, ", expected 1 to 1024");
  const int furthest = tensor.rank == 3 ? 32768 : tensor.rank == 4 ? 128 : 16;
  for (int d = 0; d < tensor.rank - 2; ++d) {
    const auto at = static_cast<std::size_t>(d);
    require_range("im2col.lower", d, im2col.lower[at], -furthest, furthest - 1);
    require_range("im2col.upper", d, im2col.upper[at], -furthest, furthest - 1);
    require_range("im2col.steps", d, im2col.steps[at], 1, 8);
    require(tensor.sizes[at + 1] - 1 + im2col.upper[at] >= im2col.lower[at], "the bounding box of im2col is empty: [",
            im2col.lower[at], ", ", tensor.sizes[at + 1] - 1 + im2col.upper[at], "] in dimension ", d + 1);
    n.steps[d + 1] = static_cast<cuuint32_t>(im2col.steps[at]);
  }
  check_row(im2col.channels, tensor.dtype, swizzle);
  static auto* const encode = driver_function<decltype(cuTensorMapEncodeIm2col)>("cuTensorMapEncodeIm2col");
  CUtensorMap made;
  require_success(
      encode(&made, native(tensor.dtype), static_cast<cuuint32_t>(tensor.rank), const_cast<void*>(tensor.data), n.sizes,
             n.strides, im2col.lower.data(), im2col.upper.data(), static_cast<cuuint32_t>(im2col.channels),
             static_cast<cuuint32_t>(im2col.pixels), n.steps, CU_TENSOR_MAP_INTERLEAVE_NONE, native(swizzle),
             CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
      "cuTensorMapEncodeIm2col");
  TensorMap map;
  std::memcpy(&map, &made, sizeof map);
  return map;
}

}  // namespace graft::runtime
