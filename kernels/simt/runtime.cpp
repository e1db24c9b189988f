// Link-time stand-in for libcudart: the prototypes are the toolkit's own.
#include <cuda_runtime.h>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <vector>
struct CUstream_st { std::vector<std::function<void()>> q; bool capturing = false; std::vector<std::function<void()>>* cap = nullptr; };
struct CUgraph_st { std::vector<std::function<void()>> ops; };
struct CUgraphExec_st { std::vector<std::function<void()>> ops; };
struct CUevent_st { CUstream_st* s = nullptr; size_t upto = 0; };
static CUstream_st g_null; static std::vector<CUstream_st*> g_streams{&g_null};
static cudaError_t g_err = cudaSuccess;
static CUstream_st* S(cudaStream_t s) { return s ? (CUstream_st*)s : &g_null; }
static void drain(CUstream_st* s) { auto q = std::move(s->q); s->q.clear(); for (auto& f : q) f(); }
static void drain_all() { for (auto* s : g_streams) drain(s); }
static cudaError_t E(cudaError_t e) { if (e != cudaSuccess) g_err = e; return e; }
namespace graft::simt {
int enqueue(void* st, std::function<void()> op, const char*) {
  CUstream_st* s = S((cudaStream_t)st);
  if (s->capturing) { s->cap->push_back(std::move(op)); return 0; }
  if (options().lazy_streams) { s->q.push_back(std::move(op)); return 0; }
  op(); return g_err;
}
int enqueue_launch(void* st, const LaunchDims& d, std::function<void()> body) {
  size_t n = (size_t)d.block.x * d.block.y * d.block.z;
  if (n == 0 || n > 1024 || d.block.z > 64 || d.grid.x == 0 || d.grid.y == 0 || d.grid.z == 0 || d.grid.y > 65535 || d.grid.z > 65535) return E(cudaErrorInvalidConfiguration);
  if (d.smem > 232448) return E(cudaErrorInvalidValue);
  return enqueue(st, [d, body = std::make_shared<std::function<void()>>(std::move(body))] { if (g_err == cudaErrorLaunchFailure) return; run_grid(d, *body);
    if (!last_report().empty()) { new std::shared_ptr(body); E(cudaErrorLaunchFailure); } /* abandoned fibers still refer to it */ }, d.name);
}
}
#define API cudaError_t CUDARTAPI
extern "C" {
API cudaMalloc(void** p, size_t n) { *p = aligned_alloc(256, (n + 255) / 256 * 256); 
#if defined(__SANITIZE_ADDRESS__)
  free(*p); if (posix_memalign(p, 256, n ? n : 1)) return E(cudaErrorMemoryAllocation);
#endif
  if (!*p) return E(cudaErrorMemoryAllocation);
  memset(*p, 0xff, n); return cudaSuccess; }
API cudaFree(void* p) { drain_all(); free(p); return cudaSuccess; }
API cudaMallocHost(void** p, size_t n) { return cudaMalloc(p, n); }
API cudaFreeHost(void* p) { drain_all(); free(p); return cudaSuccess; }
API cudaMemcpyAsync(void* d, const void* s, size_t n, cudaMemcpyKind, cudaStream_t st) { return (cudaError_t)graft::simt::enqueue(st, [=] { memcpy(d, s, n); }, "memcpy"); }
API cudaMemcpy(void* d, const void* s, size_t n, cudaMemcpyKind) { drain_all(); memcpy(d, s, n); return cudaSuccess; }
API cudaMemsetAsync(void* d, int v, size_t n, cudaStream_t st) { return (cudaError_t)graft::simt::enqueue(st, [=] { memset(d, v, n); }, "memset"); }
API cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) { *s = new CUstream_st; g_streams.push_back(*s); return cudaSuccess; }
API cudaStreamDestroy(cudaStream_t s) { drain(s); std::erase(g_streams, s); delete s; return cudaSuccess; }
API cudaStreamSynchronize(cudaStream_t s) { if (s == nullptr) drain_all(); else drain(s); return g_err; }
API cudaDeviceSynchronize() { drain_all(); return g_err; }
API cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) { *e = new CUevent_st; return cudaSuccess; }
API cudaEventDestroy(cudaEvent_t e) { delete e; return cudaSuccess; }
API cudaEventRecord(cudaEvent_t e, cudaStream_t s) { e->s = S(s); return cudaSuccess; }
API cudaEventSynchronize(cudaEvent_t e) { if (e->s) drain(e->s); return g_err; }
API cudaStreamWaitEvent(cudaStream_t, cudaEvent_t e, unsigned) { if (e->s) drain(e->s); return cudaSuccess; }
API cudaGetLastError() { auto e = g_err; g_err = cudaSuccess; graft::simt::clear_report(); return e; }
API cudaPeekAtLastError() { return g_err; }
const char* CUDARTAPI cudaGetErrorString(cudaError_t e) { static std::string s; s = "emulated CUDA error " + std::to_string((int)e) + (graft::simt::last_report().empty() ? "" : ": " + graft::simt::last_report()); return s.c_str(); }
API cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode) { drain(s); s->capturing = true; s->cap = new std::vector<std::function<void()>>; return cudaSuccess; }
API cudaStreamEndCapture(cudaStream_t s, cudaGraph_t* g) { s->capturing = false; *g = new CUgraph_st{std::move(*s->cap)}; delete s->cap; s->cap = nullptr; return cudaSuccess; }
API cudaGraphInstantiate(cudaGraphExec_t* x, cudaGraph_t g, unsigned long long) { *x = new CUgraphExec_st{g->ops}; return cudaSuccess; }
API cudaGraphLaunch(cudaGraphExec_t x, cudaStream_t s) { return (cudaError_t)graft::simt::enqueue(s, [x] { for (auto& f : x->ops) f(); }, "graph"); }
API cudaGraphDestroy(cudaGraph_t g) { delete g; return cudaSuccess; }
API cudaGraphExecDestroy(cudaGraphExec_t g) { delete g; return cudaSuccess; }
API cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }
API cudaGetDeviceCount(int* n) { *n = 1; return cudaSuccess; }
API cudaSetDevice(int) { return cudaSuccess; }
}
