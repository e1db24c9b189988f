// Streams and events, and the tasks that are queued in them.
#include <graft/kernels/simt/runtime_state.h>

#include <algorithm>

namespace graft::simt::runtime {

State& state() {
  static auto* const s = [] {
    auto* made = new State;
    made->null.legacy = true;
    made->streams.insert(&made->null);
    return made;
  }();
  return *s;
}

CUstream_st* find_stream(cudaStream_t handle) {
  if (handle == nullptr || handle == cudaStreamLegacy) return &state().null;
  return state().streams.contains(handle) ? handle : nullptr;
}

// --- running tasks --------------------------------------------------------------------------------------------------

namespace {

// All undone tasks that are needed for these, in the order of their numbers.
std::vector<TaskPtr> closure(std::vector<TaskPtr> tasks) {
  std::set<Task*> seen;
  for (const TaskPtr& t : tasks) seen.insert(t.get());
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    const TaskPtr task = tasks[i];
    for (const TaskPtr& before : task->after)
      if (!before->done && seen.insert(before.get()).second) tasks.push_back(before);
  }
  std::sort(tasks.begin(), tasks.end(), [](const TaskPtr& a, const TaskPtr& b) { return a->number < b->number; });
  return tasks;
}

void run_all(const std::vector<TaskPtr>& tasks);

// The changes of memory that the host made before a task was queued, each after all tasks queued before it.
void make_changes_before(std::uint64_t number) {
  State& s = state();
  while (!s.changes.empty() && s.changes.front().number < number) {
    const State::Change change = std::move(s.changes.front());
    s.changes.pop_front();
    std::vector<TaskPtr> earlier;
    for (cudaStream_t stream : s.streams)
      for (const TaskPtr& task : stream->queue)
        if (task->number < change.number) earlier.push_back(task);
    if (!earlier.empty()) run_all(closure(std::move(earlier)));
    change.work();
  }
}

void run_one(const TaskPtr& task) {
  if (task->done) return;
  make_changes_before(task->number);
  if (task->done) return;
  task->done = true;
  if (!has_failed() && task->work) task->work();
  task->work = nullptr;
  task->after.clear();
  auto& queue = task->stream->queue;
  if (const auto i = std::find(queue.begin(), queue.end(), task); i != queue.end()) {
    queue.erase(i);
    --state().queued;
  }
}

void run_all(const std::vector<TaskPtr>& tasks) {
  for (const TaskPtr& task : tasks) run_one(task);
}

void settle() {
  if (state().queued == 0) make_changes_before(UINT64_MAX);
}

// The last task of each stream that the null stream is ordered with.
void add_last_of_blocking(std::vector<TaskPtr>& after) {
  for (cudaStream_t stream : state().streams)
    if (stream->blocking && !stream->legacy && !stream->queue.empty()) after.push_back(stream->queue.back());
}

}  // namespace

void complete(const TaskPtr& task) {
  if (task != nullptr && !task->done) run_all(closure({task}));
  settle();
}

void complete(CUstream_st& stream) {
  std::vector<TaskPtr> tasks;
  if (!stream.queue.empty()) tasks.push_back(stream.queue.back());
  if (stream.legacy) add_last_of_blocking(tasks);
  run_all(closure(std::move(tasks)));
  settle();
}

void complete_all() {
  std::vector<TaskPtr> tasks;
  for (cudaStream_t stream : state().streams)
    if (!stream->queue.empty()) tasks.push_back(stream->queue.back());
  run_all(closure(std::move(tasks)));
  settle();
}

void change_memory(Work work) {
  State& s = state();
  if (s.queued == 0) {
    make_changes_before(UINT64_MAX);
    work();
  } else {
    s.changes.push_back({++s.numbers, std::move(work)});
  }
}

void drop_queued() {
  State& s = state();
  for (cudaStream_t stream : s.streams) {
    for (const TaskPtr& task : stream->queue) {
      task->done = true;
      task->after.clear();
    }
    stream->queue.clear();
  }
  s.queued = 0;
  settle();
}

void destroy_streams() {
  State& s = state();
  for (const CapturePtr& capture : s.captures) capture->ended = true;
  s.captures.clear();
  for (cudaStream_t stream : s.streams)
    if (!stream->legacy) delete stream;
  s.streams = {&s.null};
  for (cudaEvent_t event : s.events) delete event;
  s.events.clear();
}

cudaError_t queue(CUstream_st& stream, Work work, cudaGraphNodeType type, const char* what, const TaskPtr& also_after) {
  State& s = state();
  if (stream.capture != nullptr) return add_node(stream, std::move(work), type, what);
  if (stream.legacy)
    for (const CapturePtr& capture : s.captures)
      for (cudaStream_t other : s.streams)
        if (other->capture == capture && other->blocking) {
          invalidate(*capture, std::string(what) + " in the null stream");
          return refuse(cudaErrorStreamCaptureImplicit,
                        std::string(what) + " in the null stream while a blocking stream is captured");
        }
  const auto task = std::make_shared<Task>();
  task->number = ++s.numbers;
  task->work = std::move(work);
  task->stream = &stream;
  if (!stream.queue.empty()) task->after.push_back(stream.queue.back());
  if (also_after != nullptr && !also_after->done) task->after.push_back(also_after);
  if (stream.legacy)
    add_last_of_blocking(task->after);
  else if (stream.blocking && !s.null.queue.empty())
    task->after.push_back(s.null.queue.back());
  stream.queue.push_back(task);
  ++s.queued;
  if (!options().lazy_streams) complete(task);
  return remember(obstacle());
}

}  // namespace graft::simt::runtime

using namespace graft::simt::runtime;

namespace {

cudaError_t no_stream() { return refuse(cudaErrorInvalidResourceHandle, "no such stream (destroyed?)"); }
cudaError_t no_event() { return refuse(cudaErrorInvalidResourceHandle, "no such event (destroyed?)"); }

bool is_event(cudaEvent_t event) { return state().events.contains(event); }

cudaError_t create_stream(cudaStream_t* result, unsigned flags, int priority) {
  if (result == nullptr || (flags != cudaStreamDefault && flags != cudaStreamNonBlocking))
    return remember(cudaErrorInvalidValue);
  auto* const stream = new CUstream_st;
  stream->blocking = flags == cudaStreamDefault;
  stream->priority = std::clamp(priority, -5, 0);
  stream->id = ++state().ids;
  stream->device = current_device();
  state().streams.insert(stream);
  *result = stream;
  return cudaSuccess;
}

// Work that was found under way is done by the time somebody asks again, so that a loop that polls comes to its end.
template <class Complete>
cudaError_t not_ready_once(unsigned& queries, Complete complete_it) {
  if (queries++ == 0) return remember(cudaErrorNotReady);
  queries = 0;
  complete_it();
  return remember(obstacle());
}

}  // namespace

extern "C" {

cudaError_t CUDARTAPI cudaStreamCreate(cudaStream_t* stream) {
  GRAFT_SIMT_ENTER();
  return create_stream(stream, cudaStreamDefault, 0);
}
cudaError_t CUDARTAPI cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  GRAFT_SIMT_ENTER();
  return create_stream(stream, flags, 0);
}
cudaError_t CUDARTAPI cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int priority) {
  GRAFT_SIMT_ENTER();
  return create_stream(stream, flags, priority);
}

cudaError_t CUDARTAPI cudaStreamDestroy(cudaStream_t handle) {
  GRAFT_SIMT_ENTER();
  CUstream_st* const stream = find_stream(handle);
  if (stream == nullptr || stream->legacy) return no_stream();
  if (stream->capture != nullptr) {
    invalidate(*stream->capture, "a captured stream was destroyed");
    stream->capture = nullptr;
  } else {
    complete(*stream);
  }
  state().streams.erase(stream);
  delete stream;
  return remember(obstacle());
}

cudaError_t CUDARTAPI cudaStreamGetFlags(cudaStream_t handle, unsigned* flags) {
  GRAFT_SIMT_ENTER();
  const CUstream_st* const stream = find_stream(handle);
  if (stream == nullptr) return no_stream();
  *flags = stream->blocking ? cudaStreamDefault : cudaStreamNonBlocking;
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaStreamGetPriority(cudaStream_t handle, int* priority) {
  GRAFT_SIMT_ENTER();
  const CUstream_st* const stream = find_stream(handle);
  if (stream == nullptr) return no_stream();
  *priority = stream->priority;
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaStreamGetId(cudaStream_t handle, unsigned long long* id) {
  GRAFT_SIMT_ENTER();
  const CUstream_st* const stream = find_stream(handle);
  if (stream == nullptr) return no_stream();
  *id = stream->id;
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaStreamGetDevice(cudaStream_t handle, int* device) {
  GRAFT_SIMT_ENTER();
  const CUstream_st* const stream = find_stream(handle);
  if (stream == nullptr) return no_stream();
  *device = stream->device;
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaStreamSynchronize(cudaStream_t handle) {
  GRAFT_SIMT_ENTER();
  CUstream_st* const stream = find_stream(handle);
  if (stream == nullptr) return no_stream();
  if (stream->capture != nullptr) {
    invalidate(*stream->capture, "cudaStreamSynchronize of the captured stream");
    return refuse(cudaErrorStreamCaptureUnsupported, "cudaStreamSynchronize of a captured stream");
  }
  if (const cudaError_t error = unsafe_in_capture("cudaStreamSynchronize"); error != cudaSuccess) return error;
  complete(*stream);
  return remember(obstacle());
}

cudaError_t CUDARTAPI cudaStreamQuery(cudaStream_t handle) {
  GRAFT_SIMT_ENTER();
  CUstream_st* const stream = find_stream(handle);
  if (stream == nullptr) return no_stream();
  if (stream->capture != nullptr) {
    invalidate(*stream->capture, "cudaStreamQuery of the captured stream");
    return refuse(cudaErrorStreamCaptureUnsupported, "cudaStreamQuery of a captured stream");
  }
  if (const cudaError_t error = unsafe_in_capture("cudaStreamQuery"); error != cudaSuccess) return error;
  if (stream->queue.empty()) return cudaSuccess;
  return not_ready_once(stream->queries, [&] { complete(*stream); });
}

cudaError_t CUDARTAPI cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned flags) {
  GRAFT_SIMT_ENTER();
  CUstream_st* const stream = find_stream(handle);
  if (stream == nullptr) return no_stream();
  if (!is_event(event)) return no_event();
  if (flags != cudaEventWaitDefault) return remember(cudaErrorInvalidValue);
  if (stream->capture != nullptr || event->capture != nullptr) return wait_in_capture(*stream, *event);
  if (event->record == nullptr || event->record->task->done) return cudaSuccess;
  return queue(*stream, {}, cudaGraphNodeTypeEmpty, "cudaStreamWaitEvent", event->record->task);
}

cudaError_t CUDARTAPI cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void* data) {
  GRAFT_SIMT_ENTER();
  CUstream_st* const stream = find_stream(handle);
  if (stream == nullptr) return no_stream();
  if (function == nullptr) return remember(cudaErrorInvalidValue);
  const auto call = [function, data] {
    const HostFunction running;
    function(data);
  };
  return queue(*stream, call, cudaGraphNodeTypeHost, "cudaLaunchHostFunc");
}

// --- events ---------------------------------------------------------------------------------------------------------

cudaError_t CUDARTAPI cudaEventCreateWithFlags(cudaEvent_t* result, unsigned flags) {
  GRAFT_SIMT_ENTER();
  if (result == nullptr || (flags & ~(cudaEventBlockingSync | cudaEventDisableTiming)) != 0)
    return remember(cudaErrorInvalidValue);
  *result = new CUevent_st;
  (*result)->flags = flags;
  state().events.insert(*result);
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaEventCreate(cudaEvent_t* result) {
  return cudaEventCreateWithFlags(result, cudaEventDefault);
}

cudaError_t CUDARTAPI cudaEventDestroy(cudaEvent_t event) {
  GRAFT_SIMT_ENTER();
  if (!is_event(event)) return no_event();
  state().events.erase(event);
  delete event;
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t handle, unsigned flags) {
  GRAFT_SIMT_ENTER();
  CUstream_st* const stream = find_stream(handle);
  if (stream == nullptr) return no_stream();
  if (!is_event(event)) return no_event();
  if (flags != cudaEventRecordDefault) return remember(cudaErrorInvalidValue);
  event->queries = 0;
  if (stream->capture != nullptr) {
    record_in_capture(*stream, *event);
    return cudaSuccess;
  }
  const auto record = std::make_shared<Record>();
  const cudaError_t error = queue(
      *stream, [when = record->when] { *when = std::chrono::steady_clock::now(); }, cudaGraphNodeTypeEmpty,
      "cudaEventRecord");
  if (error != cudaSuccess) return error;
  if (stream->queue.empty()) {
    record->task = std::make_shared<Task>();
    record->task->done = true;
  } else {
    record->task = stream->queue.back();
  }
  event->record = record;
  event->capture = nullptr;
  event->nodes.clear();
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return cudaEventRecordWithFlags(event, stream, cudaEventRecordDefault);
}

cudaError_t CUDARTAPI cudaEventQuery(cudaEvent_t event) {
  GRAFT_SIMT_ENTER();
  if (!is_event(event)) return no_event();
  if (event->capture != nullptr) {
    invalidate(*event->capture, "cudaEventQuery of an event recorded in the capture");
    return remember(cudaErrorCapturedEvent);
  }
  if (const cudaError_t error = unsafe_in_capture("cudaEventQuery"); error != cudaSuccess) return error;
  if (event->record == nullptr || event->record->task->done) return cudaSuccess;
  return not_ready_once(event->queries, [&] { complete(event->record->task); });
}

cudaError_t CUDARTAPI cudaEventSynchronize(cudaEvent_t event) {
  GRAFT_SIMT_ENTER();
  if (!is_event(event)) return no_event();
  if (event->capture != nullptr) {
    invalidate(*event->capture, "cudaEventSynchronize of an event recorded in the capture");
    return remember(cudaErrorCapturedEvent);
  }
  if (const cudaError_t error = unsafe_in_capture("cudaEventSynchronize"); error != cudaSuccess) return error;
  if (is_unloading()) return remember(cudaErrorCudartUnloading);
  if (event->record != nullptr) complete(event->record->task);
  return remember(obstacle());
}

cudaError_t CUDARTAPI cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  GRAFT_SIMT_ENTER();
  if (milliseconds == nullptr) return remember(cudaErrorInvalidValue);
  for (cudaEvent_t event : {start, end}) {
    if (!is_event(event)) return no_event();
    if (event->capture != nullptr) return remember(cudaErrorCapturedEvent);
    if (event->record == nullptr) return refuse(cudaErrorInvalidResourceHandle, "the event was never recorded");
    if ((event->flags & cudaEventDisableTiming) != 0)
      return refuse(cudaErrorInvalidResourceHandle, "the event was made without timing");
  }
  for (cudaEvent_t event : {start, end})
    if (!event->record->task->done) return remember(cudaErrorNotReady);
  *milliseconds = std::chrono::duration<float, std::milli>(*end->record->when - *start->record->when).count();
  return cudaSuccess;
}

}  // extern "C"
