// The caching allocators of the CUDA devices.
#include <graft/kernels/runtime/device_memory.h>

#include <cuda_runtime_api.h>

#include <array>
#include <atomic>
#include <mutex>
#include <vector>

#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/activity_counters.h>
#include <graft/kernels/runtime/caching_allocator.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/cuda_check.h>
#include <graft/kernels/runtime/cuda_launch.h>
#include <graft/kernels/runtime/device_allocator.h>
#include <graft/kernels/runtime/profile.h>
#include <graft/kernels/runtime/settings.h>

namespace graft::runtime {
namespace {

class CudaSource final : public MemorySource {
 public:
  explicit CudaSource(int device) : device_(device) {}

  std::string name() const override { return to_string(Device::cuda(device_)); }

  void* take(std::size_t bytes) override {
    make_current(device_);
    const OutsideCapture outside;
    void* memory = nullptr;
    const cudaError_t status = cudaMalloc(&memory, bytes);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      return nullptr;
    }
    check_cuda(status, "cudaMalloc");
    return memory;
  }

  void give(void* segment) noexcept override {
    if (cuda_lost_by_fork()) return;
    const OutsideCapture outside;
    try_make_current(device_);
    cudaFree(segment);
  }

  void wait_for_all() override {
    make_current(device_);
    const OutsideCapture outside;  // on another device: here nothing is captured
    GRAFT_CUDA(cudaDeviceSynchronize);
  }

  Room room() override {
    make_current(device_);
    Room room;
    if (cudaMemGetInfo(&room.free, &room.total) != cudaSuccess) cudaGetLastError();
    return room;
  }

  void* record(StreamKey stream) override {
    make_current(device_);
    cudaEvent_t event = nullptr;
    if (idle_events_.empty()) {
      GRAFT_CUDA(cudaEventCreateWithFlags, &event, cudaEventDisableTiming);
    } else {
      event = idle_events_.back();
      idle_events_.pop_back();
    }
    GRAFT_CUDA(cudaEventRecord, event, static_cast<cudaStream_t>(stream));
    return event;
  }

  bool passed(void* event) override {
    make_current(device_);
    const OutsideCapture outside;  // on another device
    const cudaError_t status = cudaEventQuery(static_cast<cudaEvent_t>(event));
    if (status == cudaErrorNotReady) return false;
    check_cuda(status, "cudaEventQuery");
    idle_events_.push_back(static_cast<cudaEvent_t>(event));
    return true;
  }

  bool is_capturing(StreamKey stream) override { return runtime::is_capturing(Stream{Device::cuda(device_), stream}); }

 private:
  int device_;
  std::vector<cudaEvent_t> idle_events_;  // used under the allocator's lock
};

CachingAllocator::Mode asked_mode() {
  return choice_setting("GRAFT_ALLOCATOR", {"caching", "direct"}) == 1 ? CachingAllocator::Mode::direct
                                                                       : CachingAllocator::Mode::caching;
}

struct DeviceMemory {
  CudaSource source;
  CachingAllocator allocator{source, asked_mode()};
  explicit DeviceMemory(int device) : source(device) {}
};

constexpr int kDevices = 32;
std::mutex making;
std::array<std::atomic<DeviceMemory*>, kDevices> memories{};  // never destroyed: tensors may outlive anything

MemoryObserver& observer_slot() {
  static MemoryObserver observer;
  return observer;
}

thread_local const char* current_name = nullptr;

/// The allocator that handed out a block is found by asking each: there is one device as a rule.
CachingAllocator* existing(int device) {
  DeviceMemory* memory = memories[static_cast<std::size_t>(device)].load(std::memory_order_acquire);
  return memory == nullptr ? nullptr : &memory->allocator;
}

}  // namespace

CachingAllocator& device_allocator(int device) {
  require_device(device);
  check(device < kDevices, "device_allocate: cuda:", device, " is beyond the ", kDevices, " devices that graft knows");
  auto& slot = memories[static_cast<std::size_t>(device)];
  if (DeviceMemory* memory = slot.load(std::memory_order_acquire)) return memory->allocator;
  const std::lock_guard lock(making);
  if (slot.load() == nullptr) {
    auto* made = new DeviceMemory(device);
    made->allocator.set_observer(observer_slot());
    slot.store(made, std::memory_order_release);
  }
  return slot.load()->allocator;
}

void* device_allocate(std::size_t bytes, const Stream& stream) {
  check(stream.device.is_cuda(), "device_allocate: the stream is the CPU's");
  if (bytes > 0) count_one(activity_counters().allocations);
  return device_allocator(stream.device.index).allocate(bytes, stream.native, current_name);
}

void device_free(void* block, const Stream& stream) noexcept {
  if (block == nullptr) return;
  try {
    CachingAllocator& allocator = device_allocator(stream.device.index);
    allocator.record_stream(block, stream.native);  // nothing where it is the block's own
    allocator.free(block);
  } catch (const std::exception&) {
    // The device is lost (a kernel failed): so is the block, and a destructor has nobody to tell.
  }
}

void device_free(void* block, Device device) noexcept {
  if (block == nullptr) return;
  try {
    device_allocator(device.index).free(block);
  } catch (const std::exception&) {
    // As above.
  }
}

void device_record_stream(void* block, const Stream& stream) {
  device_allocator(stream.device.index).record_stream(block, stream.native);
}

DeviceMemoryStats device_memory_stats(int device) { return device_allocator(device).stats(); }
std::size_t device_memory_available(int device) { return device_allocator(device).available(); }
void device_reset_peak(int device) { device_allocator(device).reset_peak(); }
void device_release_cache(int device) { device_allocator(device).release_cache(); }

AllocationName::AllocationName(const char* name) : previous_(current_name) { current_name = name; }
AllocationName::~AllocationName() { current_name = previous_; }
const char* allocation_name() { return current_name; }

void set_memory_observer(const MemoryObserver& observer) {
  const std::lock_guard lock(making);
  for (int device = 0; device < kDevices; ++device)
    if (CachingAllocator* allocator = existing(device)) allocator->set_observer(observer);
  observer_slot() = observer;
}

const MemoryObserver& memory_observer() { return observer_slot(); }

void check_cuda_settings() {
  profiling();
  synchronous_launches();
  asked_mode();
}

}  // namespace graft::runtime
