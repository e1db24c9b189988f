#include <graft/kernels/runtime/faults.h>

#include <cuda_runtime_api.h>

#include <array>
#include <atomic>
#include <cstring>
#include <mutex>

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
  if (std::atomic_ref(record->claimed).load(std::memory_order_acquire) == 0) return;
  // Another stream's kernel may still be writing it.
  make_current(device);
  GRAFT_CUDA(cudaDeviceSynchronize);
  const FaultRecord fault = *record;
  std::memset(static_cast<void*>(record), 0, sizeof *record);
  fail(describe(fault), " (on ", Device::cuda(device), ", seen when its work was waited for)");
}

}  // namespace graft::runtime
