#include <graft/core/storage.h>

#include <atomic>

#include <graft/core/stream.h>
#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/device_memory.h>
#include <graft/kernels/runtime/host_memory.h>
#include <graft/kernels/runtime/streams.h>

namespace graft {

Storage::Storage(std::size_t bytes, Device device) : bytes_(bytes), device_(device) {
  data_ = device.is_cpu() ? runtime::host_allocate(bytes) : runtime::device_allocate(bytes, current_stream(device));
}

Storage::Storage(void* data, std::size_t bytes, Device device, std::shared_ptr<void> owner)
    : data_(data), bytes_(bytes), device_(device), owner_(std::move(owner)) {
  check(owner_ != nullptr, "Storage: foreign memory needs an owner that keeps it alive");
}

Storage::~Storage() {
  if (owner_ != nullptr) return;
  if (device_.is_cpu())
    runtime::host_free(data_, bytes_);
  else
    runtime::device_free(data_, device_);
}

std::uint64_t Storage::next_tag() {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

Stream& current_stream(Device device) {
  if (device.is_cuda()) return runtime::current_stream(device.index);
  thread_local Stream cpu;
  return cpu;
}

}  // namespace graft
