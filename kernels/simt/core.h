// The emulator's face to the rest: options, reports, launching, and the few calls that the words of launch.cuh expand
// to.
//
// A kernel runs on the host, one grid at a time: its blocks one after another (the blocks of a cluster together), each
// thread of a block as a fiber. A thread runs until it waits; then a thread of the same warp goes on, and only when the
// whole warp waits the next warp. This greed is the worst that a kernel with a missing barrier can meet, where a fair
// round would keep the warps in step and hide it.
#pragma once

#include <vector_types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

// Written by the scheduler, constant as long as a kernel's thread runs; `const` also spares the reads a check of their
// own.
extern const uint3 threadIdx, blockIdx;
extern const dim3 blockDim, gridDim;

namespace graft::simt {

// --- what happens, and in which order -------------------------------------------------------------------------------

/// The order in which threads, warps and blocks get their turn.
enum class Order { Forward, Reverse, Random };

/// A place in a kernel's source where threads wait: a barrier, or a wait for asynchronous work.
struct Site {
  std::string file;
  int line = 0;
  std::string what{};    // "__syncthreads"
  std::string kernel{};  // the launch's name
  bool operator==(const Site&) const = default;
};

struct Options {
  Order order = Order::Forward;  // SIMT_ORDER=forward, reverse, random
  std::uint64_t seed = 1;        // SIMT_SEED: of the random order
  bool lazy_async = true;     // SIMT_ASYNC=lazy, eager: cp.async, TMA and wgmma happen as late, or as early, as allowed
  bool lazy_streams = false;  // SIMT_STREAMS=eager, lazy: the same for streams
  bool check = true;          // SIMT_CHECK=0: do not watch memory
  std::size_t shared_limit = 232448;  // bytes of shared memory that a block may have, static and dynamic together
  // The barrier of this file and line does nothing (negative tests); where a kernel is named, in that kernel only.
  Site omit{};
};
/// The options in force; change them between launches only.
Options& options();

struct Stats {
  std::uint64_t switches = 0, blocks = 0, threads = 0, barriers = 0, collectives = 0;
};
Stats& stats();

/// The barrier sites that have run since clear_sites(), each once a kernel.
std::vector<Site> sites();
void clear_sites();

// --- reports --------------------------------------------------------------------------------------------------------

/// A place in a kernel's source.
struct Loc {
  const char* file;
  int line;
};

/// What was wrong with the last grid that failed; empty when nothing did since clear_report().
const std::string& last_report();
void clear_report();

/// Reports an error of the running thread, "kernel: file:line: what [block (x,y,z), thread (x,y,z)]", and abandons the
/// grid. While a grid runs only. Nothing is unwound: a caller that holds heap memory calls the two halves instead.
[[noreturn]] void device_fail(Loc where, std::string_view what);
void report_failure(Loc where, std::string_view what);
[[noreturn]] void abandon_thread();

/// "block (x,y,z), thread (x,y,z)" of a thread of the running group (a block, or the blocks of a cluster, numbered in a
/// row).
std::string thread_name(unsigned thread);
/// "block (x,y,z)" of a block of the running group.
std::string block_name(unsigned block);

/// Whether a kernel's thread is what runs at this moment.
bool in_kernel();

/// Where the stacks of all kernel threads lie; fixed for the process.
struct StackRange {
  const void *begin, *end;
};
StackRange fiber_stacks();

// --- launching ------------------------------------------------------------------------------------------------------

struct LaunchDims {
  dim3 grid, block;
  std::size_t smem = 0;  // dynamic shared memory in bytes
  dim3 cluster{1};
  const char* name = "kernel";
  const void* kernel = nullptr;  // the function: what a host opts in to more shared memory
  std::size_t shared_limit = 0;  // of static and dynamic bytes together; set by enqueue_launch
};

/// Runs body() for every thread of the grid and returns when all have; on an error last_report() tells. Host threads
/// take turns, grid by grid.
void run_grid(const LaunchDims& dims, const std::function<void()>& body);

/// The launch and other work, through the streams and graphs of the emulated runtime. A cudaError_t comes back.
int enqueue_launch(void* stream, const LaunchDims& dims, std::function<void()> body);
int enqueue(void* stream, std::function<void()> operation, const char* what);

// --- shared memory --------------------------------------------------------------------------------------------------

/// The most bytes of static variables that a block had since the last call.
std::size_t take_static_bytes();
/// The block's variable that `key` names, made at its first use.
void* static_shared(const void* key, std::size_t bytes, std::size_t alignment);
/// The launch's dynamic shared memory, 1024-byte aligned.
void* dynamic_shared();

}  // namespace graft::simt
