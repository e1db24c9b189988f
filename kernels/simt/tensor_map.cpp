// The driver's two functions that make tensor maps, reached as on a device: through the runtime's call for entry points.
// The rules are those of the CUDA driver API's cuTensorMapEncodeTiled and cuTensorMapEncodeIm2col.
#include <cuda.h>

#include <graft/kernels/simt/runtime_state.h>
#include <graft/kernels/simt/tensor_map.h>

#include <cstring>

namespace graft::simt {
namespace {

static_assert(sizeof(TensorMap) <= sizeof(CUtensorMap));

unsigned bytes_of(CUtensorMapDataType type) {
  switch (type) {
    case CU_TENSOR_MAP_DATA_TYPE_UINT8:
      return 1;
    case CU_TENSOR_MAP_DATA_TYPE_UINT16:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT16:
    case CU_TENSOR_MAP_DATA_TYPE_BFLOAT16:
      return 2;
    case CU_TENSOR_MAP_DATA_TYPE_UINT32:
    case CU_TENSOR_MAP_DATA_TYPE_INT32:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32:
      return 4;
    case CU_TENSOR_MAP_DATA_TYPE_UINT64:
    case CU_TENSOR_MAP_DATA_TYPE_INT64:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT64:
      return 8;
    default:
      return 0;  // conversions on the way (tf32, flushing) and packed types are not emulated
  }
}

// What both kinds of map have. False: the driver would say CUDA_ERROR_INVALID_VALUE.
bool describe(TensorMap& map, const void* target, CUtensorMapDataType type, cuuint32_t rank, void* address,
              const cuuint64_t* sizes, const cuuint64_t* strides, const cuuint32_t* steps,
              CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle) {
  map = {};
  const unsigned element = bytes_of(type);
  if (target == nullptr || reinterpret_cast<std::uintptr_t>(target) % 64 != 0 || element == 0) return false;
  if (rank < 1 || rank > 5 || interleave != CU_TENSOR_MAP_INTERLEAVE_NONE) return false;
  if (address == nullptr || reinterpret_cast<std::uintptr_t>(address) % 16 != 0) return false;
  switch (swizzle) {
    case CU_TENSOR_MAP_SWIZZLE_NONE:
      break;
    case CU_TENSOR_MAP_SWIZZLE_32B:
      map.span = 32;
      break;
    case CU_TENSOR_MAP_SWIZZLE_64B:
      map.span = 64;
      break;
    case CU_TENSOR_MAP_SWIZZLE_128B:
      map.span = 128;
      break;
    default:
      return false;
  }
  map.mark = TensorMap::kMark;
  map.rank = static_cast<std::uint8_t>(rank);
  map.element_bytes = static_cast<std::uint8_t>(element);
  map.address = static_cast<char*>(address);
  map.strides[0] = element;
  for (cuuint32_t d = 0; d < rank; ++d) {
    if (sizes[d] == 0 || sizes[d] > (std::uint64_t{1} << 32)) return false;
    if (steps[d] == 0 || steps[d] > 8) return false;
    map.last[d] = static_cast<std::uint32_t>(sizes[d] - 1);
    map.steps[d] = static_cast<std::uint8_t>(d == 0 ? 1 : steps[d]);
    if (d == 0) continue;
    if (strides[d - 1] % 16 != 0 || strides[d - 1] >= (std::uint64_t{1} << 40)) return false;
    map.strides[d] = strides[d - 1];
  }
  return true;
}

// The innermost run of bytes: whole 16-byte chunks, and as wide as the swizzle (a narrower one leaves gaps in shared
// memory, which are not emulated).
bool is_good_row(const TensorMap& map) {
  return map.row_bytes() != 0 && map.row_bytes() % 16 == 0 && (map.span == 0 || map.row_bytes() == map.span);
}

CUresult encode_tiled(CUtensorMap* target, CUtensorMapDataType type, cuuint32_t rank, void* address,
                      const cuuint64_t* sizes, const cuuint64_t* strides, const cuuint32_t* box,
                      const cuuint32_t* steps, CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                      CUtensorMapL2promotion, CUtensorMapFloatOOBfill fill) {
  TensorMap map;
  if (!describe(map, target, type, rank, address, sizes, strides, steps, interleave, swizzle) ||
      fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE)
    return CUDA_ERROR_INVALID_VALUE;
  for (cuuint32_t d = 0; d < rank; ++d) {
    if (box[d] == 0 || box[d] > 256) return CUDA_ERROR_INVALID_VALUE;
    map.box[d] = static_cast<std::uint16_t>((box[d] + map.steps[d] - 1) / map.steps[d]);
  }
  if (!is_good_row(map)) return CUDA_ERROR_INVALID_VALUE;
  std::memset(static_cast<void*>(target), 0, sizeof *target);
  std::memcpy(static_cast<void*>(target), &map, sizeof map);
  return CUDA_SUCCESS;
}

CUresult encode_im2col(CUtensorMap* target, CUtensorMapDataType type, cuuint32_t rank, void* address,
                       const cuuint64_t* sizes, const cuuint64_t* strides, const int* lower, const int* upper,
                       cuuint32_t channels, cuuint32_t pixels, const cuuint32_t* steps,
                       CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle, CUtensorMapL2promotion,
                       CUtensorMapFloatOOBfill fill) {
  TensorMap map;
  if (!describe(map, target, type, rank, address, sizes, strides, steps, interleave, swizzle) || rank < 3 ||
      fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE)
    return CUDA_ERROR_INVALID_VALUE;
  if (channels == 0 || channels > 256 || pixels == 0 || pixels > 1024) return CUDA_ERROR_INVALID_VALUE;
  const int furthest = rank == 3 ? 32768 : rank == 4 ? 128 : 16;
  for (cuuint32_t d = 0; d < rank - 2; ++d) {
    if (lower[d] < -furthest || lower[d] >= furthest || upper[d] < -furthest || upper[d] >= furthest)
      return CUDA_ERROR_INVALID_VALUE;
    if (static_cast<std::int64_t>(sizes[d + 1]) - 1 + upper[d] < lower[d]) return CUDA_ERROR_INVALID_VALUE;
    map.lower[d] = static_cast<std::int16_t>(lower[d]);
    map.upper[d] = static_cast<std::int16_t>(upper[d]);
  }
  map.im2col = 1;
  map.steps[rank - 1] = 1;
  map.box[0] = static_cast<std::uint16_t>(channels);
  map.box[1] = static_cast<std::uint16_t>(pixels);
  if (!is_good_row(map)) return CUDA_ERROR_INVALID_VALUE;
  std::memset(static_cast<void*>(target), 0, sizeof *target);
  std::memcpy(static_cast<void*>(target), &map, sizeof map);
  return CUDA_SUCCESS;
}

}  // namespace
}  // namespace graft::simt

#if CUDART_VERSION >= 12050
extern "C" cudaError_t CUDARTAPI cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned,
                                                                  unsigned long long,
                                                                  cudaDriverEntryPointQueryResult* status) {
#else  // the name of earlier toolkits
extern "C" cudaError_t CUDARTAPI cudaGetDriverEntryPoint(const char* symbol, void** function, unsigned long long,
                                                         cudaDriverEntryPointQueryResult* status) {
#endif
  using namespace graft::simt::runtime;
  GRAFT_SIMT_ENTER();
  if (symbol == nullptr || function == nullptr) return remember(cudaErrorInvalidValue);
  *function = nullptr;
  if (std::strcmp(symbol, "cuTensorMapEncodeTiled") == 0)
    *function = reinterpret_cast<void*>(&graft::simt::encode_tiled);
  if (std::strcmp(symbol, "cuTensorMapEncodeIm2col") == 0)
    *function = reinterpret_cast<void*>(&graft::simt::encode_im2col);
  if (status != nullptr)
    *status = *function != nullptr ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}
