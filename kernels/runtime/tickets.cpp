#include <graft/kernels/runtime/tickets.h>

#include <cuda_runtime_api.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <compare>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/cuda_check.h>
#include <graft/kernels/runtime/device_allocator.h>

namespace graft::runtime {
namespace {

constexpr std::int64_t kPiece = 1024, kSegment = 16 * kPiece;  // counters: of a stream at least, of a segment at least

struct Piece {
  std::uint32_t* counters;
  std::int64_t count;
};

struct Holder {
  int device;
  std::uint64_t pool;  // of the captured graph; 0: none
  StreamKey stream;
  auto operator<=>(const Holder&) const = default;
};

struct Counters {
  std::mutex mutex;
  std::map<Holder, std::vector<Piece>> held;    // of each the largest last, which is the one in use
  std::map<int, std::vector<Piece>> free;       // of each device
  std::vector<std::pair<int, void*>> segments;  // with their devices
};
/// Never destroyed: graphs may outlive anything.
Counters& counters() {
  static auto* const c = new Counters;
  return *c;
}

std::atomic<bool> lost = false;  // a kernel has failed: what counters hold is not known

void forget_what_is_lost() {
  if (!lost.exchange(false)) return;
  counters().held.clear();
  counters().free.clear();
}

/// Gives the segments back when the program ends, before the CUDA runtime goes, which was there when the first was made.
struct AtEnd {
  ~AtEnd() {
    if (cuda_lost_by_fork()) return;
    const std::lock_guard lock(counters().mutex);
    counters().held.clear();
    counters().free.clear();
    for (const auto& [device, segment] : counters().segments)
      if (cudaFree(segment) != cudaSuccess) cudaGetLastError();
    counters().segments.clear();
  }
};

/// Device memory full of zeros, also while this thread captures: outside the capture.
std::uint32_t* make_segment(int device, std::int64_t count) {
  make_current(device);
  const OutsideCapture outside;
  const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(std::uint32_t);
  cudaStream_t stream = nullptr;
  void* memory = nullptr;
  GRAFT_CUDA(cudaMalloc, &memory, bytes);
  counters().segments.emplace_back(device, memory);
  GRAFT_CUDA(cudaStreamCreateWithFlags, &stream, cudaStreamNonBlocking);
  const cudaError_t cleared = cudaMemsetAsync(memory, 0, bytes, stream);
  const cudaError_t waited = cudaStreamSynchronize(stream);
  const cudaError_t destroyed = cudaStreamDestroy(stream);
  check_cuda(cleared, "cudaMemsetAsync");
  check_cuda(waited, "cudaStreamSynchronize");
  check_cuda(destroyed, "cudaStreamDestroy");
  static const AtEnd at_end;
  return static_cast<std::uint32_t*>(memory);
}

Piece take(int device, std::int64_t count) {
  auto& free = counters().free[device];
  auto best = free.end();  // the smallest, and of those the one given back last
  for (auto piece = free.begin(); piece != free.end(); ++piece)
    if (piece->count >= count && (best == free.end() || piece->count <= best->count)) best = piece;
  if (best != free.end()) {
    const Piece piece = *best;
    free.erase(best);
    return piece;
  }
  const auto rounded = static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(std::max(count, kPiece))));
  std::uint32_t* const segment = make_segment(device, std::max(rounded, kSegment));
  for (std::int64_t at = rounded; at < kSegment; at += kPiece) free.push_back({segment + at, kPiece});
  return {segment, rounded};
}

template <class Ended>
void retire(Ended ended) noexcept {
  try {
    Counters& c = counters();
    const std::lock_guard lock(c.mutex);
    forget_what_is_lost();
    for (auto holder = c.held.begin(); holder != c.held.end();) {
      if (!ended(holder->first)) {
        ++holder;
        continue;
      }
      auto& free = c.free[holder->first.device];
      free.insert(free.end(), holder->second.begin(), holder->second.end());
      holder = c.held.erase(holder);
    }
  } catch (const std::exception&) {  // no memory of the host: then nobody has these counters any more
  }
}

}  // namespace

std::uint32_t* ticket_counters(std::int64_t count, const Stream& stream) {
  check(stream.device.is_cuda(), "ticket_counters: the stream is the CPU's");
  const int device = stream.device.index;
  const Holder holder{device, device_allocator(device).capture_pool(stream.native), stream.native};
  Counters& c = counters();
  const std::lock_guard lock(c.mutex);
  forget_what_is_lost();
  std::vector<Piece>& pieces = c.held[holder];
  // A smaller piece stays with its holder: work under way, or in the graph, may have it.
  if (pieces.empty() || pieces.back().count < count) pieces.push_back(take(device, count));
  return pieces.back().counters;
}

void retire_tickets(const Stream& stream) noexcept {
  retire([&](const Holder& holder) {
    return holder.device == stream.device.index && holder.pool == 0 && holder.stream == stream.native;
  });
}

void retire_tickets(int device, std::uint64_t pool) noexcept {
  retire([&](const Holder& holder) { return holder.device == device && holder.pool == pool; });
}

void drop_tickets() noexcept { lost = true; }

}  // namespace graft::runtime
