#pragma once
#include <cstdint>
#include <cstddef>
#include <functional>
#include <string>
#include <vector>
#include <vector_types.h>

namespace graft::simt {
enum class Order { Forward, Reverse, Random };
struct Options {
  Order order = Order::Forward;
  uint64_t seed = 1;
  bool strict_barrier = true;   // barrier must be reached by all threads, from one source line
  bool lazy_async = true;       // cp.async / wgmma / TMA are performed as late as the rules allow
  bool lazy_streams = false;
  bool shuffle_blocks = true;
  size_t stack_bytes = 0;
};
Options& options();             // initialised from SIMT_ORDER, SIMT_SEED, SIMT_STREAMS, SIMT_ASYNC
struct Stats { uint64_t switches = 0, blocks = 0, threads = 0, barriers = 0, collectives = 0; };
Stats& stats();
const std::string& last_report();   // text of the last emulator error
void clear_report();

struct Loc { const char* file; int line; };
// ---- called from device code ----
void block_barrier(int id, int nthreads, Loc, const char* what);  // nthreads<=0: whole block
int  block_reduce_barrier(int kind, int pred, Loc);               // 0 count,1 and,2 or
using Combine = void (*)(void** lane_args, unsigned mask);
void warp_collective(unsigned mask, void* lane_arg, Combine, const char* what, Loc, bool memory_order);
uint64_t warp_shfl(int kind, unsigned mask, uint64_t v, int arg, int width, Loc);
unsigned warp_vote(unsigned mask, int pred, Loc);
void yield_spin(Loc, const char* what);
void* static_shared(const void* key, size_t bytes, size_t align);
void* dynamic_shared(size_t* bytes = nullptr);
uint32_t shared_addr(const void* p);    // 32-bit "shared window" address as PTX sees it
void* shared_ptr32(uint32_t a);
void cp_async(void* dst, const void* src, int bytes, int src_bytes, Loc);
void cp_async_commit();
void cp_async_wait(int keep);
void mbar_init(uint64_t*, int); void mbar_arrive(uint64_t*, int tx, bool arrive); bool mbar_test(uint64_t*, int parity);
void bulk_copy(uint64_t* bar, int bytes, std::function<void()>);
void async_issue(std::function<void()>); void async_commit(); void async_wait(int keep);
[[noreturn]] void device_fail(const char* fmt, ...);
unsigned lane_id(); unsigned warp_id();

struct LaunchDims { dim3 grid, block; size_t smem; dim3 cluster; const char* name; };
void run_grid(const LaunchDims&, const std::function<void()>& body);     // synchronous
int  enqueue(void* stream, std::function<void()> op, const char* what);  // goes through the stream/graph layer
int  enqueue_launch(void* stream, const LaunchDims&, std::function<void()> body);
}  // namespace simt
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
