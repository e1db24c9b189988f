// The CUDA runtime of a build without a CUDA toolkit: every question has the same answer.
#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/cuda_launch.h>
#include <graft/kernels/runtime/device_memory.h>
#include <graft/kernels/runtime/faults.h>
#include <graft/kernels/runtime/memory_observer.h>
#include <graft/kernels/runtime/profile.h>
#include <graft/kernels/runtime/streams.h>
#include <graft/kernels/runtime/tensor_map.h>
#include <graft/kernels/runtime/tickets.h>
#include <graft/kernels/runtime/timed_launch.h>

namespace graft {

Device Device::best() { return Device::cpu(); }

namespace runtime {
namespace {

constexpr const char* kWhy =
    "this build of graft has no CUDA device: it was configured without a CUDA toolkit (nvcc); use Device::cpu()";

[[noreturn]] void refuse() { fail(kWhy); }

}  // namespace

std::string cuda_unavailable(int) { return kWhy; }
void check_cuda_settings() {}  // nothing here reads them
int cuda_device_count() { return 0; }
const CudaProperties& cuda_properties(int) { refuse(); }
void check_cuda(int, const char*) { refuse(); }
Stream default_stream(int) { refuse(); }
Stream& current_stream(int) { refuse(); }
void synchronize(const Stream& stream) {
  if (stream.device.is_cuda()) refuse();
}

bool profiling() { return false; }
void set_profiling(bool) {}
std::vector<KernelTime> kernel_times() { return {}; }
void reset_kernel_times() {}
std::string kernel_time_table() { return {}; }

void* device_allocate(std::size_t, const Stream&) { refuse(); }
void device_free(void*, const Stream&) noexcept {}
void device_free(void*, Device) noexcept {}
void device_record_stream(void*, const Stream&) { refuse(); }
DeviceMemoryStats device_memory_stats(int) { refuse(); }
std::size_t device_memory_available(int) { refuse(); }
void device_reset_peak(int) { refuse(); }
void device_release_cache(int) { refuse(); }
AllocationName::AllocationName(const char*) : previous_(nullptr) {}
AllocationName::~AllocationName() = default;
const char* allocation_name() { return nullptr; }
void set_memory_observer(const MemoryObserver&) { refuse(); }
const MemoryObserver& memory_observer() { refuse(); }

void* pinned_allocate(std::size_t) { refuse(); }
void pinned_free(void*) noexcept {}
void pinned_free_after(void*, const Stream&) { refuse(); }
bool is_pinned(const void*, std::size_t) { return false; }
void copy_to_device(void*, const void*, std::size_t, const Stream&) { refuse(); }
void copy_to_host(void*, const void*, std::size_t, const Stream&) { refuse(); }
void copy_on_device(void*, const void*, std::size_t, const Stream&) { refuse(); }
void set_bytes(void*, int, std::size_t, const Stream&) { refuse(); }

OwnedStream::OwnedStream(int) { refuse(); }
OwnedStream::~OwnedStream() = default;
void OwnedStream::synchronize() const { refuse(); }
bool OwnedStream::is_done() const { refuse(); }
StreamScope::StreamScope(const Stream&) { refuse(); }
StreamScope::~StreamScope() = default;
bool is_capturing(const Stream&) { return false; }
Event::Event(int device, bool timed) : device_(device), timed_(timed) { refuse(); }
Event::~Event() = default;
void Event::record(const Stream&) { refuse(); }
void Event::wait(const Stream&) const { refuse(); }
bool Event::is_done() const { refuse(); }
void Event::synchronize() const { refuse(); }
float Event::elapsed_ms(const Event&) const { refuse(); }

struct Graph::Impl {};
Graph::Graph() = default;
Graph::~Graph() = default;
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;
bool Graph::defined() const { return false; }
void Graph::launch(const Stream&) { refuse(); }
std::int64_t Graph::node_count() const { return 0; }
GraphCapture::GraphCapture(Graph& graph, const Stream& stream) : graph_(graph), stream_(stream), scope_(stream) {}
GraphCapture::~GraphCapture() = default;
void GraphCapture::finish() { refuse(); }

TensorMap make_tensor_map(const TensorLayout&, const std::array<int, 5>&, Swizzle, const std::array<int, 5>&) {
  refuse();
}
TensorMap make_im2col_map(const TensorLayout&, const Im2col&, Swizzle) { refuse(); }

FaultRecord* fault_record(int) { refuse(); }
void check_faults(int) {}
std::uint32_t* ticket_counters(std::int64_t, const Stream&) { refuse(); }
void set_synchronous_launches(bool) {}
bool synchronous_launches() { return false; }
LaunchScope::LaunchScope(const char* kernel, const Stream& stream) : kernel_(kernel), stream_(stream) { refuse(); }
TimedLaunch::~TimedLaunch() = default;
LaunchScope::~LaunchScope() = default;
void LaunchScope::finish(int, std::array<unsigned, 3>, std::array<unsigned, 3>, std::size_t) { refuse(); }

}  // namespace runtime
}  // namespace graft
