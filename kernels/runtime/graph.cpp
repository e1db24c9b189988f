// Capturing work into graphs, and launching them.
#include <cuda_runtime_api.h>

#include <atomic>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/activity_counters.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/cuda_check.h>
#include <graft/kernels/runtime/device_allocator.h>
#include <graft/kernels/runtime/of_thread.h>
#include <graft/kernels/runtime/streams.h>
#include <graft/kernels/runtime/tickets.h>

namespace graft::runtime {
namespace {

cudaStream_t native(const Stream& stream) { return static_cast<cudaStream_t>(stream.native); }

thread_local int outside_captures = 0;  // OutsideCaptures that live
using Captures = std::vector<std::pair<std::uint64_t, Device>>;
Captures& thread_captures() {  // under way
  thread_local Captures* mine = nullptr;
  return of_thread(mine, [] { return std::make_unique<Captures>(); });
}

cudaStreamCaptureMode exchange(int mode) {
  auto exchanged = static_cast<cudaStreamCaptureMode>(mode);
  if (cudaThreadExchangeStreamCaptureMode(&exchanged) != cudaSuccess) cudaGetLastError();
  return exchanged;
}

}  // namespace

OutsideCapture::OutsideCapture() : mode_(exchange(cudaStreamCaptureModeRelaxed)) { ++outside_captures; }
OutsideCapture::~OutsideCapture() {
  --outside_captures;
  exchange(mode_);
}

std::uint64_t capture_of_thread() { return thread_captures().empty() ? 0 : thread_captures().back().first; }

void refuse_while_thread_captures(const char* what, Device device) {
  if (thread_captures().empty() || outside_captures > 0) return;
  fail(what, " on ", device, " while this thread captures a graph on ", thread_captures().back().second,
       ": CUDA would end the capture, whatever is waited for; do it before or after, or in another thread");
}

bool is_capturing(const Stream& stream) {
  if (!stream.device.is_cuda()) return false;
  make_current(stream.device.index);
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check_cuda(cudaStreamIsCapturing(native(stream), &status), "cudaStreamIsCapturing", stream);
  return status != cudaStreamCaptureStatusNone;
}

void refuse_while_capturing(const Stream& stream, const char* what) {
  check(!is_capturing(stream), what, " on ", stream.device,
        " while a graph is being captured: nothing has run yet that could be waited for (item(), to_vector() and copies"
        " to the host wait too); do it after the capture");
}

struct Graph::Impl {
  int device = 0;
  std::uint64_t pool = 0;
  cudaGraphExec_t exec = nullptr;
  std::int64_t nodes = 0;
  std::unique_ptr<Event> launched;  // the end of the last launch

  ~Impl() {
    if (cuda_lost_by_fork()) return;
    const OutsideCapture outside;  // of another graph, by this thread
    try_make_current(device);
    try {
      if (launched) launched->synchronize();
      if (exec != nullptr) cudaGraphExecDestroy(exec);
      retire_tickets(device, pool);
      device_allocator(device).retire_pool(pool);
    } catch (const std::exception&) {  // the device is lost, and its memory with it
    }
  }
};

Graph::Graph() = default;
Graph::~Graph() = default;
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;

bool Graph::defined() const { return impl_ != nullptr; }
std::int64_t Graph::node_count() const { return impl_ ? impl_->nodes : 0; }

void Graph::launch(const Stream& stream) {
  check(defined(), "Graph::launch: nothing was captured (GraphCapture::finish was not called)");
  check(stream.device == Device::cuda(impl_->device), "Graph::launch: the graph is of cuda:", impl_->device,
        ", the stream of ", stream.device);
  make_current(impl_->device);
  check(capture_of_thread() == 0 || !is_capturing(stream), "Graph::launch on ", stream.device,
        " while a graph is being captured: a graph cannot become a part of another; give it the work itself");
  // One graph's launches share memory: each waits for the one before, on whatever stream that was.
  impl_->launched->wait(stream);
  check_cuda(cudaGraphLaunch(impl_->exec, native(stream)), "cudaGraphLaunch", stream);
  impl_->launched->record(stream);
  count_one(activity_counters().graph_launches);
}

GraphCapture::GraphCapture(Graph& graph, const Stream& stream) : graph_(graph), stream_(stream), scope_(stream) {
  make_current(stream.device.index);
  graph_ = Graph();
  pool_ = device_allocator(stream.device.index).begin_capture();
  const cudaError_t status = cudaStreamBeginCapture(native(stream), cudaStreamCaptureModeThreadLocal);
  if (status != cudaSuccess) {
    device_allocator(stream.device.index).end_capture();
    check_cuda(status, "cudaStreamBeginCapture", stream);
  }
  static std::atomic<std::uint64_t> captures{0};
  thread_captures().emplace_back(number_ = ++captures, stream.device);
}

GraphCapture::~GraphCapture() {
  if (!under_way_ || cuda_lost_by_fork()) return;
  forget();
  cudaGraph_t dropped = nullptr;
  cudaStreamEndCapture(native(stream_), &dropped);
  cudaGetLastError();
  if (dropped != nullptr) cudaGraphDestroy(dropped);
  try {
    device_allocator(stream_.device.index).end_capture();
    retire_tickets(stream_.device.index, pool_);
    device_allocator(stream_.device.index).retire_pool(pool_);
  } catch (const std::exception&) {
  }
}

void GraphCapture::forget() {
  std::erase_if(thread_captures(), [&](const auto& capture) { return capture.first == number_; });
}

void GraphCapture::finish() {
  check(under_way_, "GraphCapture::finish: called twice");
  under_way_ = false;
  forget();
  CachingAllocator& allocator = device_allocator(stream_.device.index);
  auto impl = std::make_unique<Graph::Impl>();
  impl->device = stream_.device.index;
  impl->pool = pool_;  // retired with impl, whatever comes
  cudaGraph_t captured = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(native(stream_), &captured);
  allocator.end_capture();
  if (ended != cudaSuccess) {
    const std::string why = cat(cudaGetErrorName(ended), " (", cudaGetErrorString(ended), ")");
    cudaGetLastError();
    fail("GraphCapture on ", stream_.device, ": something was done that a graph cannot hold: ", why,
         "; expected only kernels, copies and events on this stream and on streams joined to it again by events");
  }
  struct Owner {
    cudaGraph_t graph;
    ~Owner() { cudaGraphDestroy(graph); }
  } owner{captured};
  std::size_t nodes = 0;
  GRAFT_CUDA(cudaGraphGetNodes, captured, nullptr, &nodes);
  impl->nodes = static_cast<std::int64_t>(nodes);
  // The upload would come with the first launch, where its failing is too late for another way.
  const auto made = [&] {
    const cudaError_t status = cudaGraphInstantiate(&impl->exec, captured, 0);
    return status == cudaSuccess ? cudaGraphUpload(impl->exec, native(stream_)) : status;
  };
  cudaError_t status = made();
  if (status == cudaErrorMemoryAllocation) {  // the driver's memory, which our cache may have
    cudaGetLastError();
    if (impl->exec != nullptr) cudaGraphExecDestroy(std::exchange(impl->exec, nullptr));
    allocator.release_cache();
    status = made();
  }
  check_cuda(status, "making a graph ready for launches", stream_);
  impl->launched = std::make_unique<Event>(stream_.device.index);
  graph_.impl_ = std::move(impl);
}

}  // namespace graft::runtime
