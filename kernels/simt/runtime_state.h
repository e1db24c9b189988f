// What the emulated runtime keeps: the error state, streams and the work queued in them, captures. Internal to the
// emulator.
//
// Work is a Task. In eager streams a task runs when it is queued. In lazy streams (Options::lazy_streams) it runs when
// somebody waits for it, alone with what it depends on: as late as CUDA allows, where eager is as early. Tasks have
// numbers that grow; a task depends on tasks of smaller numbers only, so any set that is closed under dependency runs
// in the order of the numbers.
#pragma once

#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <graft/kernels/simt/core.h>
#include <graft/kernels/simt/host.h>

namespace graft::simt::runtime {

using Work = std::function<void()>;

// --- the lock and the error state (runtime_error.cpp) ---------------------------------------------------------------

/// One for the whole runtime, kernels included: host threads take turns.
using Lock = std::unique_lock<std::recursive_mutex>;
Lock lock();

/// What keeps any call from working: no driver, no device, a kernel that failed; a call out of a host function.
cudaError_t obstacle();

/// Notes an error of the calling thread for cudaGetLastError; returns it.
cudaError_t remember(cudaError_t error);
/// The same, with an explanation that cudaGetErrorString adds.
cudaError_t refuse(cudaError_t error, std::string explanation);

/// From now on every call fails.
void fail_for_good(std::string report);
bool has_failed();
void clear_failure();

/// While a host function of a stream runs, which may not call CUDA.
struct HostFunction {
  HostFunction();
  ~HostFunction();
  HostFunction(const HostFunction&) = delete;
  HostFunction& operator=(const HostFunction&) = delete;
};

// --- devices (runtime_device.cpp) ------------------------------------------------------------------------------------

/// The calling thread's current one.
int current_device();
/// It has a context from now on.
void make_context();
/// The program is ending: waiting for an event fails, as all does on a GPU. The rest goes on here, so that what static
/// objects free is known to be freed.
bool is_unloading();

// --- what a kernel may have (runtime_launch.cpp) ---------------------------------------------------------------------

/// It opts in to so many bytes of dynamic shared memory.
void allow_dynamic_shared(const void* kernel, std::size_t bytes);
/// Bytes of its static shared variables: those that its blocks have made, all that there may be as long as none ran.
std::size_t static_shared_of(const void* kernel);

// --- tasks and streams (runtime_stream.cpp) -------------------------------------------------------------------------

struct Task {
  std::uint64_t number = 0;
  Work work;
  std::vector<std::shared_ptr<Task>> after;
  cudaStream_t stream = nullptr;
  bool done = false;
};
using TaskPtr = std::shared_ptr<Task>;

/// What an event stands for since it was recorded.
struct Record {
  using Moment = std::chrono::steady_clock::time_point;
  TaskPtr task;
  std::shared_ptr<Moment> when = std::make_shared<Moment>();  // the task writes it; it does not know the record
};

struct Capture {
  unsigned long long id = 0;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread;
  cudaStream_t origin = nullptr;
  std::unique_ptr<CUgraph_st> graph;
  std::string invalid;  // why it cannot be completed any more
  bool ended = false;
  std::set<const void*> blocks;  // that a caching allocator handed out during the capture
};
using CapturePtr = std::shared_ptr<Capture>;

}  // namespace graft::simt::runtime

struct CUgraphNode_st {
  cudaGraphNodeType type = cudaGraphNodeTypeEmpty;
  std::string what;
  std::shared_ptr<const graft::simt::runtime::Work> work;
  std::vector<CUgraphNode_st*> after;
  std::size_t index = 0;
};

struct CUgraph_st {
  std::vector<std::unique_ptr<CUgraphNode_st>> nodes;  // each after those it depends on
};

struct CUstream_st {
  bool blocking = true;  // ordered with the null stream
  bool legacy = false;   // the null stream
  int priority = 0;
  unsigned long long id = 0;
  int device = 0;
  unsigned queries = 0;  // that found work under way
  std::deque<graft::simt::runtime::TaskPtr> queue;
  graft::simt::runtime::CapturePtr capture;
  std::vector<CUgraphNode_st*> frontier;  // while captured: what the next node depends on
};

struct CUevent_st {
  unsigned flags = 0;
  unsigned queries = 0;
  std::shared_ptr<graft::simt::runtime::Record> record;
  graft::simt::runtime::CapturePtr capture;  // recorded in a captured stream, behind these nodes
  std::vector<CUgraphNode_st*> nodes;
};

struct CUgraphExec_st {
  struct Step {
    cudaGraphNodeType type;
    std::string what;
    std::shared_ptr<const graft::simt::runtime::Work> work;
    std::vector<std::size_t> after;
  };
  std::shared_ptr<const std::vector<Step>> steps;
};

namespace graft::simt::runtime {

struct State {
  std::set<cudaStream_t> streams;  // the null stream too
  CUstream_st null;
  std::set<cudaEvent_t> events;
  std::set<cudaGraph_t> graphs;
  std::set<cudaGraphExec_t> executables;
  std::set<CapturePtr> captures;  // under way
  std::uint64_t numbers = 0, ids = 0;
  std::size_t queued = 0;
  // What a caching allocator does with its blocks, to be applied between the tasks queued before and after.
  struct Change {
    std::uint64_t number;
    Work work;
  };
  std::deque<Change> changes;
};
State& state();

/// The stream of a handle; nullptr when it is none.
CUstream_st* find_stream(cudaStream_t handle);

/// Queues work, or adds it to the stream's capture. Returns what the call that asked for it returns.
cudaError_t queue(CUstream_st& stream, Work work, cudaGraphNodeType type, const char* what,
                  const TaskPtr& also_after = nullptr);

/// Runs a task and all that it needs.
void complete(const TaskPtr& task);
void complete(CUstream_st& stream);
void complete_all();
/// Takes note of a change to the device's memory by the host, in its place among the tasks.
void change_memory(Work work);
/// Throws all queued work away.
void drop_queued();
void destroy_streams();

// --- captures (runtime_capture.cpp) ---------------------------------------------------------------------------------

/// cudaSuccess unless the calling thread may not make such a call now, because of a capture, which is then invalid.
cudaError_t unsafe_in_capture(const char* call);
void invalidate(Capture& capture, std::string why);
cudaError_t add_node(CUstream_st& stream, Work work, cudaGraphNodeType type, const char* what);
/// An event is recorded in, or waited for by, a captured stream.
void record_in_capture(CUstream_st& stream, CUevent_st& event);
cudaError_t wait_in_capture(CUstream_st& stream, CUevent_st& event);
/// The capture that the calling thread makes; nullptr when it makes none.
Capture* capture_of_thread();
/// Runs in a graph, in its place, without being a node that the program sees.
void add_silent_step(Capture& capture, Work work);

void destroy_graphs();

/// What a call begins with that needs no context.
#define GRAFT_SIMT_ASK()                                                                \
  const ::graft::simt::runtime::Lock graft_lock = ::graft::simt::runtime::lock();         \
  if (const cudaError_t error = ::graft::simt::runtime::obstacle(); error != cudaSuccess) \
  return ::graft::simt::runtime::remember(error)
/// What every other call begins with.
#define GRAFT_SIMT_ENTER() \
  GRAFT_SIMT_ASK();        \
  ::graft::simt::runtime::make_context()

}  // namespace graft::simt::runtime
