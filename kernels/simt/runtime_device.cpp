// The emulated device: how many, which, and what it is said to be able to do.
#include <graft/kernels/simt/runtime_state.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <set>

#include <graft/kernels/simt/memory.h>

using namespace graft::simt;
using namespace graft::simt::runtime;

namespace {

constexpr int kMultiprocessors = 132, kThreadsPerMultiprocessor = 2048, kBlocksPerMultiprocessor = 32;
constexpr std::size_t kSharedPerMultiprocessor = 228 * 1024, kReservedShared = 1024, kSharedByDefault = 48 * 1024;

int major() { return host_options().device == HostOptions::Device::sm70 ? 7 : 9; }

bool is_device(int device) { return device >= 0 && device < host_options().devices; }

cudaError_t wrong_device(int device) {
  const int last = host_options().devices - 1;
  return refuse(cudaErrorInvalidDevice, "device " + std::to_string(device) + " was asked for, there is device 0 " +
                                            (last == 0 ? "only" : "to " + std::to_string(last)));
}

thread_local int device_of_thread = 0;
std::atomic<bool> unloading{false};

std::set<int>& contexts() {
  static auto* const devices = new std::set<int>;
  return *devices;
}

cudaDeviceProp properties() {
  cudaDeviceProp p{};
  std::strcpy(p.name, "SIMT emulator");
  p.totalGlobalMem = host_options().memory;
  p.sharedMemPerBlock = kSharedByDefault;
  p.regsPerBlock = p.regsPerMultiprocessor = 65536;
  p.warpSize = 32;
  p.memPitch = 2147483647;
  p.maxThreadsPerBlock = 1024;
  p.maxThreadsDim[0] = p.maxThreadsDim[1] = 1024;
  p.maxThreadsDim[2] = 64;
  p.maxGridSize[0] = 2147483647;
  p.maxGridSize[1] = p.maxGridSize[2] = 65535;
  p.totalConstMem = 65536;
  p.major = major();
  p.minor = 0;
  p.textureAlignment = 512;
  p.texturePitchAlignment = 32;
  p.multiProcessorCount = kMultiprocessors;
  p.canMapHostMemory = 1;
  p.concurrentKernels = 1;
  p.asyncEngineCount = 2;
  p.unifiedAddressing = 1;
  p.memoryBusWidth = 5120;
  p.l2CacheSize = 50 << 20;
  p.maxThreadsPerMultiProcessor = kThreadsPerMultiprocessor;
  p.streamPrioritiesSupported = 1;
  p.sharedMemPerMultiprocessor = kSharedPerMultiprocessor;
  p.computePreemptionSupported = 1;
  p.sharedMemPerBlockOptin = options().shared_limit;
  p.maxBlocksPerMultiProcessor = kBlocksPerMultiprocessor;
  p.reservedSharedMemPerBlock = kReservedShared;
  p.clusterLaunch = major() >= 9;
  return p;
}

}  // namespace

int graft::simt::runtime::current_device() { return device_of_thread; }
void graft::simt::runtime::make_context() {
  // As the driver's, the end comes where handlers that were registered before the first call have not run yet.
  [[maybe_unused]] static const int registered = std::atexit([] { unloading = true; });
  contexts().insert(device_of_thread);
}
bool graft::simt::runtime::is_unloading() { return unloading; }

bool graft::simt::has_context(int device) {
  const Lock guard = lock();
  return contexts().contains(device);
}

extern "C" {

cudaError_t CUDARTAPI cudaGetDeviceCount(int* count) {
  const Lock guard = lock();
  if (count == nullptr) return remember(cudaErrorInvalidValue);
  *count = 0;
  const cudaError_t error = obstacle();
  if (error == cudaErrorNoDevice || error == cudaErrorInsufficientDriver) return remember(error);
  *count = host_options().devices;
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaSetDevice(int device) {
  GRAFT_SIMT_ASK();
  if (!is_device(device)) return wrong_device(device);
  device_of_thread = device;
  make_context();  // at once, since CUDA 12
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaGetDevice(int* device) {
  GRAFT_SIMT_ASK();
  if (device == nullptr) return remember(cudaErrorInvalidValue);
  *device = current_device();
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaInitDevice(int device, unsigned, unsigned) { return cudaSetDevice(device); }

cudaError_t CUDARTAPI cudaGetDeviceProperties(cudaDeviceProp* result, int device) {
  GRAFT_SIMT_ASK();
  if (result == nullptr) return remember(cudaErrorInvalidValue);
  if (!is_device(device)) return wrong_device(device);
  *result = properties();
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  GRAFT_SIMT_ASK();
  if (value == nullptr) return remember(cudaErrorInvalidValue);
  if (!is_device(device)) return wrong_device(device);
  const cudaDeviceProp p = properties();
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = p.maxThreadsPerBlock;
      break;
    case cudaDevAttrMaxBlockDimX:
    case cudaDevAttrMaxBlockDimY:
      *value = p.maxThreadsDim[0];
      break;
    case cudaDevAttrMaxBlockDimZ:
      *value = p.maxThreadsDim[2];
      break;
    case cudaDevAttrMaxGridDimX:
      *value = p.maxGridSize[0];
      break;
    case cudaDevAttrMaxGridDimY:
    case cudaDevAttrMaxGridDimZ:
      *value = p.maxGridSize[1];
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(p.sharedMemPerBlock);
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(p.sharedMemPerBlockOptin);
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(p.sharedMemPerMultiprocessor);
      break;
    case cudaDevAttrReservedSharedMemoryPerBlock:
      *value = static_cast<int>(p.reservedSharedMemPerBlock);
      break;
    case cudaDevAttrWarpSize:
      *value = p.warpSize;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = p.multiProcessorCount;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = p.maxThreadsPerMultiProcessor;
      break;
    case cudaDevAttrMaxBlocksPerMultiprocessor:
      *value = p.maxBlocksPerMultiProcessor;
      break;
    case cudaDevAttrMaxRegistersPerBlock:
    case cudaDevAttrMaxRegistersPerMultiprocessor:
      *value = p.regsPerBlock;
      break;
    case cudaDevAttrL2CacheSize:
      *value = p.l2CacheSize;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = p.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = p.minor;
      break;
    case cudaDevAttrClusterLaunch:
      *value = p.clusterLaunch;
      break;
    case cudaDevAttrUnifiedAddressing:
    case cudaDevAttrCanMapHostMemory:
    case cudaDevAttrConcurrentKernels:
    case cudaDevAttrStreamPrioritiesSupported:
      *value = 1;
      break;
    case cudaDevAttrMemoryPoolsSupported:
    case cudaDevAttrManagedMemory:
    case cudaDevAttrCooperativeLaunch:
    case cudaDevAttrIntegrated:
      *value = 0;
      break;
    default:
      return refuse(cudaErrorNotSupported,
                    "the emulator does not know device attribute " + std::to_string(static_cast<int>(attribute)));
  }
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaDriverGetVersion(int* version) {
  if (version == nullptr) return remember(cudaErrorInvalidValue);
  *version = host_options().device == HostOptions::Device::no_driver ? 0 : CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaRuntimeGetVersion(int* version) {
  if (version == nullptr) return remember(cudaErrorInvalidValue);
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaDeviceSynchronize() {
  GRAFT_SIMT_ENTER();
  if (const cudaError_t error = unsafe_in_capture("cudaDeviceSynchronize"); error != cudaSuccess) return error;
  complete_all();
  return remember(obstacle());
}

cudaError_t CUDARTAPI cudaDeviceReset() {
  const Lock guard = lock();
  if (const cudaError_t error = obstacle(); error != cudaSuccess && error != cudaErrorLaunchFailure)
    return remember(error);
  complete_all();  // all that is queued does nothing after a failure
  drop_queued();
  destroy_streams();
  destroy_graphs();
  forget_device_memory();
  forget_host_memory();
  clear_failure();
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  GRAFT_SIMT_ENTER();
  if (least != nullptr) *least = 0;
  if (greatest != nullptr) *greatest = -5;
  return cudaSuccess;
}

// --- kernels as such ------------------------------------------------------------------------------------------------

// Only the block's size and its dynamic shared memory are known here, not the registers that nvcc would give the
// kernel.
cudaError_t CUDARTAPI cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void* function, int block_size,
                                                                    std::size_t shared_bytes) {
  GRAFT_SIMT_ENTER();
  if (blocks == nullptr || function == nullptr || block_size <= 0) return remember(cudaErrorInvalidValue);
  *blocks = 0;
  if (block_size > 1024 || shared_bytes > options().shared_limit) return cudaSuccess;
  const int by_threads = kThreadsPerMultiprocessor / ((block_size + 31) / 32 * 32);
  const auto by_memory = static_cast<int>(kSharedPerMultiprocessor / (shared_bytes + kReservedShared));
  *blocks = std::min({by_threads, by_memory, kBlocksPerMultiprocessor});
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  GRAFT_SIMT_ENTER();
  if (function == nullptr) return remember(cudaErrorInvalidDeviceFunction);
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || static_cast<std::size_t>(value) > options().shared_limit)
    return refuse(cudaErrorInvalidValue, std::to_string(value) +
                                             " bytes of shared memory were asked for, a block may have " +
                                             std::to_string(options().shared_limit));
  allow_dynamic_shared(function, static_cast<std::size_t>(value));
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* function) {
  GRAFT_SIMT_ENTER();
  if (attributes == nullptr) return remember(cudaErrorInvalidValue);
  if (function == nullptr) return remember(cudaErrorInvalidDeviceFunction);
  *attributes = {};
  attributes->maxThreadsPerBlock = 1024;
  attributes->binaryVersion = attributes->ptxVersion = major() * 10;
  attributes->sharedSizeBytes = static_shared_of(function);
  attributes->maxDynamicSharedSizeBytes = static_cast<int>(options().shared_limit);
  return cudaSuccess;
}

}  // extern "C"
