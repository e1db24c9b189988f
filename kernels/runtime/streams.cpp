// Streams and events.
#include <graft/kernels/runtime/streams.h>

#include <cuda_runtime_api.h>

#include <array>
#include <atomic>
#include <mutex>

#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/activity.h>
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
  const OutsideCapture outside;  // of another stream, by this thread
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
  const cudaError_t status = cudaStreamQuery(native(stream_));
  if (status == cudaErrorNotReady) return false;
  check_cuda(status, "cudaStreamQuery", stream_);
  return true;
}

bool is_capturing(const Stream& stream) {
  if (!stream.device.is_cuda()) return false;
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check_cuda(cudaStreamIsCapturing(native(stream), &status), "cudaStreamIsCapturing", stream);
  return status != cudaStreamCaptureStatusNone;
}

void refuse_while_capturing(const Stream& stream, const char* what) {
  check(!is_capturing(stream), what, " on ", stream.device,
        " while a graph is being captured: nothing has run yet that could be waited for (item(), to_vector() and copies"
        " to the host wait too); do it after the capture");
}

void synchronize(const Stream& stream) {
  if (stream.device.is_cpu()) return;
  make_current(stream.device.index);
  refuse_while_capturing(stream, "waiting for the stream");
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

Event::~Event() { cudaEventDestroy(static_cast<cudaEvent_t>(event_)); }

void Event::record(const Stream& stream) {
  check(stream.device == Device::cuda(device_), "Event::record: the event is of cuda:", device_, ", the stream of ",
        stream.device);
  make_current(device_);
  check_cuda(cudaEventRecord(static_cast<cudaEvent_t>(event_), native(stream)), "cudaEventRecord", stream);
}

void Event::wait(const Stream& stream) const {
  check(stream.device.is_cuda(), "Event::wait: the stream is the CPU's; use synchronize()");
  make_current(stream.device.index);
  check_cuda(cudaStreamWaitEvent(native(stream), static_cast<cudaEvent_t>(event_), 0), "cudaStreamWaitEvent", stream);
}

bool Event::is_done() const {
  const cudaError_t status = cudaEventQuery(static_cast<cudaEvent_t>(event_));
  if (status == cudaErrorNotReady) return false;
  check_cuda(status, "cudaEventQuery");
  return true;
}

void Event::synchronize() const {
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
