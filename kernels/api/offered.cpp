#include <graft/kernels/api/offered.h>

#include <array>
#include <atomic>

namespace graft::kernels {
namespace {

constexpr std::size_t kIds = static_cast<std::size_t>(BackendId::vendor) + 1;
std::array<std::atomic<const BackendTable*>, kIds> offered{};

}  // namespace

void offer_backend(const BackendTable& table) {
  const BackendTable* before = nullptr;
  if (!offered[static_cast<std::size_t>(table.id)].compare_exchange_strong(before, &table))
    check(before == &table, "offer_backend: another backend '", name(table.id), "' was offered before");
}

const BackendTable* offered_backend(BackendId id) {
  return offered[static_cast<std::size_t>(id)].load(std::memory_order_acquire);
}

}  // namespace graft::kernels
