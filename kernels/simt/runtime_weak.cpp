// Weak stand-ins for calls of the CUDA runtime that the emulator does not define yet.
#include <cuda_runtime_api.h>

#include <cstdlib>
#include <cstring>

#define WEAK extern "C" __attribute__((weak)) cudaError_t CUDARTAPI

WEAK cudaGetDeviceProperties(cudaDeviceProp* p, int) {
  std::memset(static_cast<void*>(p), 0, sizeof *p);
  std::strcpy(p->name, "emulated device");
  p->major = 9;
  p->multiProcessorCount = 4;
  p->totalGlobalMem = std::size_t{8} << 30;
  p->sharedMemPerBlockOptin = 232448;
  return cudaSuccess;
}
WEAK cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
WEAK cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
WEAK cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *free = *total = std::size_t{8} << 30;
  return cudaSuccess;
}
WEAK cudaHostAlloc(void** p, std::size_t bytes, unsigned) { return cudaMallocHost(p, bytes); }
WEAK cudaStreamQuery(cudaStream_t) { return cudaSuccess; }
WEAK cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  *status = cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
WEAK cudaEventQuery(cudaEvent_t event) { return cudaEventSynchronize(event); }
WEAK cudaEventElapsedTime(float* ms, cudaEvent_t, cudaEvent_t) {
  *ms = 0;
  return cudaSuccess;
}
WEAK cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode*) { return cudaSuccess; }
WEAK cudaGraphGetNodes(cudaGraph_t, cudaGraphNode_t*, std::size_t* count) {
  *count = 1;
  return cudaSuccess;
}
extern "C" __attribute__((weak)) const char* CUDARTAPI cudaGetErrorName(cudaError_t) { return "cudaError"; }
