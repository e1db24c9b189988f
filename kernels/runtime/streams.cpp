// Streams and events.
#include <graft/kernels/runtime/streams.h>

#include <cuda_runtime_api.h>

#include <array>
#include <atomic>
#include <mutex>

#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/activity_counters.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/cuda_check.h>
#include <graft/kernels/runtime/device_allocator.h>
#include <graft/kernels/runtime/faults.h>
#include <graft/kernels/runtime/tickets.h>

namespace graft::runtime {
namespace {

constexpr int kDevices = 32;

cudaStream_t native(const Stream& stream) { return static_cast<cudaStream_t>(stream.native); }

cudaStream_t new_stream(int device) {
  require_device(device);
  make_current(device);
  cudaStream_t stream = nullptr;
  GRAFT_CUDA(cudaStreamCreateWithFlags, &stream, cudaStreamNonBlocking);
  return stream;
}

}  // namespace

Stream default_stream(int device) {
  static std::array<std::atomic<void*>, kDevices>
      streams{};  // never destroyed: memory is freed on them at the very end
  static std::mutex mutex;
  require_device(device);
  check(device < kDevices, "cuda:", device, " is beyond the ", kDevices, " devices that graft knows");
  auto& slot = streams[static_cast<std::size_t>(device)];
  if (slot.load(std::memory_order_acquire) == nullptr) {
    const std::lock_guard lock(mutex);
    if (slot.load() == nullptr) slot.store(new_stream(device), std::memory_order_release);
  }
  return {Device::cuda(device), slot.load(std::memory_order_acquire)};
}

Stream& current_stream(int device) {
  thread_local std::array<Stream, kDevices> streams{};
  if (device < 0 || device >= kDevices || streams[static_cast<std::size_t>(device)].native == nullptr) [[unlikely]] {
    const Stream stream = default_stream(device);  // refuses what cannot be used
    streams[static_cast<std::size_t>(device)] = stream;
  }
  return streams[static_cast<std::size_t>(device)];
}

StreamScope::StreamScope(const Stream& stream) {
  check(stream.device.is_cuda() && stream.native != nullptr, "StreamScope: expected a stream of a CUDA device");
  previous_ = current_stream(stream.device.index);
  current_stream(stream.device.index) = stream;
}

StreamScope::~StreamScope() { current_stream(previous_.device.index) = previous_; }

OwnedStream::OwnedStream(int device) : stream_{Device::cuda(device), new_stream(device)} {}

OwnedStream::~OwnedStream() {
  if (cuda_lost_by_fork()) return;
  const OutsideCapture outside;  // of another stream, by this thread
  try_make_current(stream_.device.index);
  cudaStreamSynchronize(native(stream_));
  retire_tickets(stream_);
  try {
    device_allocator(stream_.device.index).hand_over(stream_.native, default_stream(stream_.device.index).native);
  } catch (const std::exception&) {  // the device is lost, and its memory with it
  }
  cudaStreamDestroy(native(stream_));
}

void OwnedStream::synchronize() const { runtime::synchronize(stream_); }

bool OwnedStream::is_done() const {
  make_current(stream_.device.index);
  refuse_while_capturing(stream_, "asking whether the stream is done");
  refuse_while_thread_captures("asking whether another stream is done", stream_.device);
  const cudaError_t status = cudaStreamQuery(native(stream_));
  if (status == cudaErrorNotReady) return false;
  check_cuda(status, "cudaStreamQuery", stream_);
  return true;
}

void synchronize(const Stream& stream) {
  if (stream.device.is_cpu()) return;
  make_current(stream.device.index);
  refuse_while_capturing(stream, "waiting for the stream");
  refuse_while_thread_captures("waiting for another stream", stream.device);
  count_one(activity_counters().waits);
  check_cuda(cudaStreamSynchronize(native(stream)), "cudaStreamSynchronize", stream);
  check_faults(stream.device.index);
}

// --- events ---------------------------------------------------------------------------------------------------------

Event::Event(int device, bool timed) : device_(device), timed_(timed) {
  require_device(device);
  make_current(device);
  cudaEvent_t event = nullptr;
  GRAFT_CUDA(cudaEventCreateWithFlags, &event, timed ? cudaEventDefault : cudaEventDisableTiming);
  event_ = event;
}

Event::~Event() {
  if (cuda_lost_by_fork()) return;
  try_make_current(device_);
  cudaEventDestroy(static_cast<cudaEvent_t>(event_));
}

void Event::record(const Stream& stream) {
  check(stream.device == Device::cuda(device_), "Event::record: the event is of cuda:", device_, ", the stream of ",
        stream.device);
  make_current(device_);
  check_cuda(cudaEventRecord(static_cast<cudaEvent_t>(event_), native(stream)), "cudaEventRecord", stream);
  recorded_ = true;
  capture_ = capture_of_thread() != 0 && is_capturing(stream) ? capture_of_thread() : 0;
}

void Event::wait(const Stream& stream) const {
  check(stream.device.is_cuda(), "Event::wait: the stream is the CPU's; use synchronize()");
  make_current(stream.device.index);
  check(!recorded_ || capture_of_thread() == 0 || capture_ == capture_of_thread() || !is_capturing(stream),
        "Event::wait on ", stream.device,
        " while a graph is being captured: the event was recorded outside the capture, and the graph cannot wait for it "
        "at each launch; wait before the capture, or before the launch");
  check_cuda(cudaStreamWaitEvent(native(stream), static_cast<cudaEvent_t>(event_), 0), "cudaStreamWaitEvent", stream);
}

bool Event::is_done() const {
  refuse_while_thread_captures("asking whether an event is reached", Device::cuda(device_));
  make_current(device_);
  const cudaError_t status = cudaEventQuery(static_cast<cudaEvent_t>(event_));
  if (status == cudaErrorNotReady) return false;
  check_cuda(status, "cudaEventQuery");
  return true;
}

void Event::synchronize() const {
  refuse_while_thread_captures("waiting for an event", Device::cuda(device_));
  make_current(device_);
  count_one(activity_counters().waits);
  GRAFT_CUDA(cudaEventSynchronize, static_cast<cudaEvent_t>(event_));
}

float Event::elapsed_ms(const Event& begin) const {
  check(timed_ && begin.timed_, "Event::elapsed_ms: both events must be made with timed = true");
  check(is_done() && begin.is_done(), "Event::elapsed_ms: an event is not reached yet; synchronize() first");
  float ms = 0;
  GRAFT_CUDA(cudaEventElapsedTime, &ms, static_cast<cudaEvent_t>(begin.event_), static_cast<cudaEvent_t>(event_));
  return ms;
}

}  // namespace graft::runtime
