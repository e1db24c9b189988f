// Host memory for tensors: 64-byte aligned blocks, kept and reused, so that a training loop in its steady state asks
// the system for nothing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace graft::runtime {

inline constexpr std::size_t kHostAlignment = 64;

/// A block of at least `bytes`, aligned to kHostAlignment; nullptr for 0. Thread-safe. Throws Error (not bad_alloc)
/// that says what was asked for and what is held when the system has no more, after giving back what was cached.
void* host_allocate(std::size_t bytes);

/// Returns a block to the cache. `bytes` is what was asked for.
void host_free(void* block, std::size_t bytes) noexcept;

/// Gives all cached blocks back to the system.
void host_release_cache() noexcept;

struct HostMemoryStats {
  std::size_t in_use = 0;          // bytes handed out
  std::size_t cached = 0;          // bytes kept for reuse
  std::size_t peak = 0;            // highest in_use since the last reset
  std::uint64_t system_calls = 0;  // allocations that went to the system
};

HostMemoryStats host_memory_stats();
void host_reset_peak();

}  // namespace graft::runtime
