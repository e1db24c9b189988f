// Capture of streams, and the graphs that come of it.
#include <graft/kernels/simt/runtime_state.h>

#include <algorithm>

namespace graft::simt::runtime {
namespace {

thread_local cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;

const char kNothing[] = "";

}  // namespace

void invalidate(Capture& capture, std::string why) {
  if (capture.invalid.empty()) capture.invalid = std::move(why);
}

Capture* capture_of_thread() {
  for (const CapturePtr& capture : state().captures)
    if (capture->thread == std::this_thread::get_id()) return capture.get();
  return nullptr;
}

// CUDA's rule: a thread in global mode is bound by its own captures that are not relaxed and by all global ones; a
// thread in thread-local mode by its own; a relaxed thread by none.
cudaError_t unsafe_in_capture(const char* call) {
  if (thread_mode == cudaStreamCaptureModeRelaxed) return cudaSuccess;
  for (const CapturePtr& capture : state().captures) {
    const bool own = capture->thread == std::this_thread::get_id() && capture->mode != cudaStreamCaptureModeRelaxed;
    const bool global = thread_mode == cudaStreamCaptureModeGlobal && capture->mode == cudaStreamCaptureModeGlobal;
    if (!own && !global) continue;
    invalidate(*capture, std::string(call) + " during the capture");
    return refuse(cudaErrorStreamCaptureUnsupported, std::string(call) + " while a stream is captured");
  }
  return cudaSuccess;
}

cudaError_t add_node(CUstream_st& stream, Work work, cudaGraphNodeType type, const char* what) {
  Capture& capture = *stream.capture;
  if (!capture.invalid.empty()) return refuse(cudaErrorStreamCaptureInvalidated, capture.invalid);
  auto node = std::make_unique<CUgraphNode_st>();
  node->type = type;
  node->what = what;
  node->work = std::make_shared<const Work>(std::move(work));
  node->after = stream.frontier;
  node->index = capture.graph->nodes.size();
  stream.frontier.assign(1, node.get());
  capture.graph->nodes.push_back(std::move(node));
  return cudaSuccess;
}

void add_silent_step(Capture& capture, Work work) {
  auto node = std::make_unique<CUgraphNode_st>();
  node->what = kNothing;
  node->work = std::make_shared<const Work>(std::move(work));
  node->index = capture.graph->nodes.size();
  // After all that was captured before, and before all that comes: allocators are told of no streams.
  auto& nodes = capture.graph->nodes;
  for (auto before = nodes.rbegin(); before != nodes.rend(); ++before) {
    node->after.push_back(before->get());
    if ((*before)->what == kNothing) break;  // which is after all that was captured before it
  }
  for (cudaStream_t stream : state().streams)
    if (stream->capture.get() == &capture) stream->frontier.push_back(node.get());
  nodes.push_back(std::move(node));
}

void record_in_capture(CUstream_st& stream, CUevent_st& event) {
  event.capture = stream.capture;
  event.nodes = stream.frontier;
  event.record = nullptr;
}

cudaError_t wait_in_capture(CUstream_st& stream, CUevent_st& event) {
  const CapturePtr joined = event.capture != nullptr ? event.capture : stream.capture;
  if (event.capture != nullptr && event.capture->ended)
    return refuse(cudaErrorInvalidValue, "cudaStreamWaitEvent of an event recorded in a capture that has ended");
  if (event.capture == nullptr) {
    if (event.record == nullptr) return cudaSuccess;
    invalidate(*stream.capture, "a wait for an event that was recorded outside the capture");
    return refuse(cudaErrorStreamCaptureIsolation,
                  "a captured stream waits for an event that was recorded outside the capture");
  }
  if (stream.legacy) {
    invalidate(*joined, "the null stream waits for an event of the capture");
    return refuse(cudaErrorStreamCaptureImplicit, "the null stream waits for an event recorded in a capture");
  }
  if (stream.capture != nullptr && stream.capture != event.capture) {
    invalidate(*stream.capture, "a wait for an event of another capture");
    invalidate(*event.capture, "a wait by a stream of another capture");
    return remember(cudaErrorStreamCaptureMerge);
  }
  if (!joined->invalid.empty()) return refuse(cudaErrorStreamCaptureInvalidated, joined->invalid);
  stream.capture = joined;
  for (CUgraphNode_st* node : event.nodes)
    if (std::find(stream.frontier.begin(), stream.frontier.end(), node) == stream.frontier.end())
      stream.frontier.push_back(node);
  return cudaSuccess;
}

void destroy_graphs() {
  State& s = state();
  for (cudaGraph_t graph : s.graphs) delete graph;
  for (cudaGraphExec_t executable : s.executables) delete executable;
  s.graphs.clear();
  s.executables.clear();
}

namespace {

bool is_silent(const CUgraphNode_st& node) { return node.what == kNothing; }

// Whether all that was captured is behind the origin's last nodes.
bool is_joined(const Capture& capture) {
  std::vector<bool> reached(capture.graph->nodes.size(), false);
  std::vector<const CUgraphNode_st*> open(capture.origin->frontier.begin(), capture.origin->frontier.end());
  while (!open.empty()) {
    const CUgraphNode_st* const node = open.back();
    open.pop_back();
    if (reached[node->index]) continue;
    reached[node->index] = true;
    open.insert(open.end(), node->after.begin(), node->after.end());
  }
  for (const auto& node : capture.graph->nodes)
    if (!reached[node->index] && !is_silent(*node)) return false;
  return true;
}

std::shared_ptr<const std::vector<CUgraphExec_st::Step>> steps_of(const CUgraph_st& graph) {
  auto steps = std::make_shared<std::vector<CUgraphExec_st::Step>>();
  for (const auto& node : graph.nodes) {
    CUgraphExec_st::Step step{node->type, node->what, node->work, {}};
    for (const CUgraphNode_st* before : node->after) step.after.push_back(before->index);
    steps->push_back(std::move(step));
  }
  return steps;
}

// Eager: in the order of the capture. Lazy: of those that may run, always the one captured last, so that a dependency
// which the capture forgot shows.
void run_steps(const std::vector<CUgraphExec_st::Step>& steps) {
  if (!options().lazy_streams) {
    for (const auto& step : steps)
      if (!has_failed() && *step.work) (*step.work)();
    return;
  }
  std::vector<std::size_t> missing(steps.size());
  std::vector<std::vector<std::size_t>> followers(steps.size());
  std::set<std::size_t> ready;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    missing[i] = steps[i].after.size();
    for (const std::size_t before : steps[i].after) followers[before].push_back(i);
    if (missing[i] == 0) ready.insert(i);
  }
  while (!ready.empty() && !has_failed()) {
    const std::size_t i = *std::prev(ready.end());
    ready.erase(i);
    if (*steps[i].work) (*steps[i].work)();
    for (const std::size_t next : followers[i])
      if (--missing[next] == 0) ready.insert(next);
  }
}

cudaError_t instantiate(cudaGraphExec_t* result, cudaGraph_t graph) {
  if (result == nullptr || !state().graphs.contains(graph)) return remember(cudaErrorInvalidValue);
  *result = new CUgraphExec_st{steps_of(*graph)};
  state().executables.insert(*result);
  return cudaSuccess;
}

}  // namespace
}  // namespace graft::simt::runtime

using namespace graft::simt;
using namespace graft::simt::runtime;

namespace {
cudaError_t no_stream() { return refuse(cudaErrorInvalidResourceHandle, "no such stream (destroyed?)"); }
}  // namespace

extern "C" {

cudaError_t CUDARTAPI cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  GRAFT_SIMT_ASK();
  if (mode == nullptr) return remember(cudaErrorInvalidValue);
  std::swap(*mode, thread_mode);
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  GRAFT_SIMT_ENTER();
  CUstream_st* const stream = find_stream(handle);
  if (stream == nullptr) return no_stream();
  if (stream->legacy) return refuse(cudaErrorStreamCaptureUnsupported, "the null stream cannot be captured");
  if (stream->capture != nullptr) return refuse(cudaErrorIllegalState, "the stream is being captured already");
  const auto capture = std::make_shared<Capture>();
  capture->id = ++state().ids;
  capture->mode = mode;
  capture->thread = std::this_thread::get_id();
  capture->origin = stream;
  capture->graph = std::make_unique<CUgraph_st>();
  stream->capture = capture;
  stream->frontier.clear();
  state().captures.insert(capture);
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* result) {
  GRAFT_SIMT_ENTER();
  CUstream_st* const stream = find_stream(handle);
  if (stream == nullptr) return no_stream();
  if (result == nullptr) return remember(cudaErrorInvalidValue);
  *result = nullptr;
  const CapturePtr capture = stream->capture;
  if (capture == nullptr) return refuse(cudaErrorIllegalState, "the stream is not being captured");
  if (capture->origin != stream) {
    invalidate(*capture, "an end of the capture in a stream that did not begin it");
    return remember(cudaErrorStreamCaptureUnmatched);
  }
  if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != std::this_thread::get_id())
    return remember(cudaErrorStreamCaptureWrongThread);
  const bool joined = is_joined(*capture);
  for (cudaStream_t other : state().streams)
    if (other->capture == capture) {
      other->capture = nullptr;
      other->frontier.clear();
    }
  capture->ended = true;
  state().captures.erase(capture);
  if (!capture->invalid.empty()) return refuse(cudaErrorStreamCaptureInvalidated, capture->invalid);
  if (!joined)
    return refuse(cudaErrorStreamCaptureUnjoined,
                  "a stream that joined the capture was not waited for by the stream that began it");
  *result = capture->graph.release();
  state().graphs.insert(*result);
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
  GRAFT_SIMT_ENTER();
  const CUstream_st* const stream = find_stream(handle);
  if (stream == nullptr) return no_stream();
  if (status == nullptr) return remember(cudaErrorInvalidValue);
  *status = stream->capture == nullptr         ? cudaStreamCaptureStatusNone
            : stream->capture->invalid.empty() ? cudaStreamCaptureStatusActive
                                               : cudaStreamCaptureStatusInvalidated;
  return cudaSuccess;
}

#if CUDART_VERSION >= 13000
cudaError_t CUDARTAPI cudaStreamGetCaptureInfo(cudaStream_t handle, cudaStreamCaptureStatus* status,
                                               unsigned long long* id, cudaGraph_t* graph,
                                               const cudaGraphNode_t** dependencies, const cudaGraphEdgeData** edges,
                                               std::size_t* count) {
  if (edges != nullptr) *edges = nullptr;
#else
cudaError_t CUDARTAPI cudaStreamGetCaptureInfo_v2(cudaStream_t handle, cudaStreamCaptureStatus* status,
                                                  unsigned long long* id, cudaGraph_t* graph,
                                                  const cudaGraphNode_t** dependencies, std::size_t* count) {
#endif
  if (const cudaError_t error = cudaStreamIsCapturing(handle, status); error != cudaSuccess) return error;
  const Lock guard = lock();
  const CUstream_st* const stream = find_stream(handle);
  const bool active = *status == cudaStreamCaptureStatusActive;
  if (id != nullptr) *id = active ? stream->capture->id : 0;
  if (graph != nullptr) *graph = active ? stream->capture->graph.get() : nullptr;
  if (dependencies != nullptr) *dependencies = active ? stream->frontier.data() : nullptr;
  if (count != nullptr) *count = active ? stream->frontier.size() : 0;
  return cudaSuccess;
}

// --- graphs ---------------------------------------------------------------------------------------------------------

cudaError_t CUDARTAPI cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, std::size_t* count) {
  GRAFT_SIMT_ENTER();
  if (!state().graphs.contains(graph) || count == nullptr) return remember(cudaErrorInvalidValue);
  std::vector<cudaGraphNode_t> all;
  for (const auto& node : graph->nodes)
    if (!is_silent(*node)) all.push_back(node.get());
  if (nodes != nullptr) {
    *count = std::min(*count, all.size());
    std::copy_n(all.begin(), *count, nodes);
  } else {
    *count = all.size();
  }
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType* type) {
  GRAFT_SIMT_ENTER();
  if (node == nullptr || type == nullptr) return remember(cudaErrorInvalidValue);
  *type = node->type;
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaGraphDestroy(cudaGraph_t graph) {
  GRAFT_SIMT_ENTER();
  if (state().graphs.erase(graph) == 0) return remember(cudaErrorInvalidValue);
  delete graph;
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaGraphInstantiate(cudaGraphExec_t* result, cudaGraph_t graph, unsigned long long) {
  GRAFT_SIMT_ENTER();
  return instantiate(result, graph);
}
cudaError_t CUDARTAPI cudaGraphInstantiateWithFlags(cudaGraphExec_t* result, cudaGraph_t graph, unsigned long long) {
  GRAFT_SIMT_ENTER();
  return instantiate(result, graph);
}

cudaError_t CUDARTAPI cudaGraphExecUpdate(cudaGraphExec_t executable, cudaGraph_t graph,
                                          cudaGraphExecUpdateResultInfo* result) {
  GRAFT_SIMT_ENTER();
  if (!state().executables.contains(executable) || !state().graphs.contains(graph) || result == nullptr)
    return remember(cudaErrorInvalidValue);
  const auto updated = steps_of(*graph);
  const auto& steps = *executable->steps;
  *result = {};
  result->result = cudaGraphExecUpdateSuccess;
  bool same = steps.size() == updated->size();
  for (std::size_t i = 0; same && i < steps.size(); ++i) {
    const auto &a = steps[i], &b = (*updated)[i];
    same = a.type == b.type && a.what == b.what && a.after == b.after;
  }
  if (!same) {
    result->result = cudaGraphExecUpdateErrorTopologyChanged;
    return refuse(cudaErrorGraphExecUpdateFailure, "the graphs differ in their nodes or edges");
  }
  executable->steps = updated;
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaGraphExecDestroy(cudaGraphExec_t executable) {
  GRAFT_SIMT_ENTER();
  if (state().executables.erase(executable) == 0) return remember(cudaErrorInvalidValue);
  delete executable;
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaGraphUpload(cudaGraphExec_t executable, cudaStream_t handle) {
  GRAFT_SIMT_ENTER();
  if (find_stream(handle) == nullptr) return no_stream();
  return state().executables.contains(executable) ? cudaSuccess : remember(cudaErrorInvalidValue);
}

cudaError_t CUDARTAPI cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t handle) {
  GRAFT_SIMT_ENTER();
  CUstream_st* const stream = find_stream(handle);
  if (stream == nullptr) return no_stream();
  if (!state().executables.contains(executable)) return remember(cudaErrorInvalidValue);
  return queue(
      *stream, [steps = executable->steps] { run_steps(*steps); }, cudaGraphNodeTypeGraph, "cudaGraphLaunch");
}

}  // extern "C"
