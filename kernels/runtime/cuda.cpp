#include <graft/kernels/runtime/cuda.h>

#include <cuda_runtime_api.h>

#include <cstring>
#include <cstdlib>
#include <mutex>

#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/cuda_launch.h>
#include <graft/kernels/runtime/faults.h>

namespace graft::runtime {

std::string cuda_unavailable(int index) { return index < cuda_device_count() ? "" : "no GPU"; }
int cuda_device_count() { int n = 0; return cudaGetDeviceCount(&n) == cudaSuccess ? n : 0; }
void check_cuda(int status, const char* call) {
  if (status != cudaSuccess) fail(call, ": ", cudaGetErrorString(static_cast<cudaError_t>(status)));
}
Stream default_stream(int device) { return {Device::cuda(device), nullptr}; }
void* device_allocate(std::size_t bytes, const Stream&) {
  void* p = nullptr;
  if (bytes > 0) check_cuda(cudaMalloc(&p, bytes), "cudaMalloc");
  return p;
}
void device_free(void* block, const Stream&) noexcept { cudaFree(block); }
void* pinned_allocate(std::size_t bytes) { void* p = nullptr; check_cuda(cudaMallocHost(&p, bytes), "cudaMallocHost"); return p; }
void pinned_free(void* block) noexcept { cudaFreeHost(block); }
static cudaStream_t native(const Stream& s) { return static_cast<cudaStream_t>(s.native); }
void copy_to_device(void* to, const void* from, std::size_t bytes, const Stream& s) { check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, native(s)), "cudaMemcpyAsync"); }
void copy_to_host(void* to, const void* from, std::size_t bytes, const Stream& s) { check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, native(s)), "cudaMemcpyAsync"); }
void copy_on_device(void* to, const void* from, std::size_t bytes, const Stream& s) { check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, native(s)), "cudaMemcpyAsync"); }
void set_bytes(void* to, int value, std::size_t bytes, const Stream& s) { check_cuda(cudaMemsetAsync(to, value, bytes, native(s)), "cudaMemsetAsync"); }
void synchronize(const Stream& s) { check_cuda(cudaStreamSynchronize(native(s)), "cudaStreamSynchronize"); check_faults(s.device.index); }

FaultRecord* fault_record(int) {
  static FaultRecord* r = [] { void* p = pinned_allocate(sizeof(FaultRecord)); std::memset(p, 0, sizeof(FaultRecord)); return static_cast<FaultRecord*>(p); }();
  return r;
}
void check_faults(int device) {
  FaultRecord& r = *fault_record(device);
  if (!r.claimed) return;
  const FaultRecord f = r;
  r = {};
  if (f.kind == FaultKind::division_by_zero) fail("binary: integer division by zero (element ", f.position, ")");
  fail(f.kind == FaultKind::index_select ? "index_select: index[" : f.kind == FaultKind::gather ? "gather: index[" : "cross_entropy: targets[", f.position, "] is ", f.value, ": expected 0 to ", f.limit - 1);
}

LaunchScope::LaunchScope(const char* kernel, const Stream& stream) : kernel_(kernel), stream_(stream) {}
LaunchScope::~LaunchScope() = default;
void LaunchScope::finish(int status, std::array<unsigned, 3>, std::array<unsigned, 3>, std::size_t) const {
  check_cuda(status, kernel_);
  (void)stream_;
}

}  // namespace graft::runtime
