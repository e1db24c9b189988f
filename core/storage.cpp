#include <graft/core/storage.h>

#include <atomic>

#include <graft/core/stream.h>
#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/host_memory.h>

namespace graft {
namespace {

void check_device(Device device) {
  check(device.is_cpu(), "this build of graft has no ", device,
        ": it was made without CUDA kernels; use Device::cpu()");
}

}  // namespace

Storage::Storage(std::size_t bytes, Device device) : bytes_(bytes), device_(device) {
  check_device(device);
  data_ = runtime::host_allocate(bytes);
}

Storage::Storage(void* data, std::size_t bytes, Device device, std::shared_ptr<void> owner)
    : data_(data), bytes_(bytes), device_(device), owner_(std::move(owner)) {
  check_device(device);
  check(owner_ != nullptr, "Storage: foreign memory needs an owner that keeps it alive");
}

Storage::~Storage() {
  if (owner_ == nullptr) runtime::host_free(data_, bytes_);
}

std::uint64_t Storage::next_tag() {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

Stream& current_stream(Device device) {
  check_device(device);
  thread_local Stream cpu;
  return cpu;
}

}  // namespace graft
