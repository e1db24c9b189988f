#include <graft/kernels/runtime/faults.h>

#include <cuda_runtime_api.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <mutex>
#include <thread>

#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/cuda_check.h>

namespace graft::runtime {
namespace {

constexpr int kDevices = 32;
std::array<std::atomic<FaultRecord*>, kDevices> records{};

std::string describe(const FaultRecord& fault) {
  const auto outside = [&](const char* what) {
    return cat(what, "[", fault.position, "] is ", fault.value, ": expected 0 to ", fault.limit - 1);
  };
  switch (fault.kind) {
    case FaultKind::index_select:
      return outside("index_select: index");
    case FaultKind::gather:
      return outside("gather: index");
    case FaultKind::target:
      return outside("cross_entropy: targets");
    case FaultKind::division_by_zero:
      return cat("div: integer division by zero (element ", fault.position, ")");
    case FaultKind::gradient_norm:
      return cat("grad_scale: the norm of the gradients is not finite at step ", fault.position + 1,
                 " (a lower rate or a look at the input may help)");
  }
  return "a kernel reported a fault of an unknown kind";
}

}  // namespace

FaultRecord* fault_record(int device) {
  require_device(device);
  auto& slot = records[static_cast<std::size_t>(device)];
  if (FaultRecord* record = slot.load(std::memory_order_acquire)) return record;
  static std::mutex making;
  const std::lock_guard lock(making);
  if (slot.load() == nullptr) {
    void* memory = pinned_allocate(sizeof(FaultRecord));
    std::memset(memory, 0, sizeof(FaultRecord));
    slot.store(static_cast<FaultRecord*>(memory), std::memory_order_release);
  }
  return slot.load();
}

void check_faults(int device) {
  FaultRecord* record = records[static_cast<std::size_t>(device)].load(std::memory_order_acquire);
  if (record == nullptr) return;  // no kernel has been given it
  const std::atomic_ref claimed(record->claimed);
  if (claimed.load(std::memory_order_acquire) == 0) return;
  // Another stream's kernel may be writing it right now. Waiting for the device would break other threads' captures.
  const auto enough = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  while (claimed.load(std::memory_order_acquire) != 2 && std::chrono::steady_clock::now() < enough)
    std::this_thread::yield();
  const FaultRecord fault = *record;
  claimed.store(0, std::memory_order_release);
  fail(describe(fault), " (on ", Device::cuda(device), ", seen when its work was waited for)");
}

}  // namespace graft::runtime
