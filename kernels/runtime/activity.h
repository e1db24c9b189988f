// Counts of what the host has given to CUDA devices and waited for: what shows that a loop in its steady state neither
// allocates nor waits. No CUDA header.
#pragma once

#include <atomic>
#include <cstdint>

namespace graft::runtime {

/// Of the process, all devices together.
struct DeviceActivity {
  std::uint64_t launches = 0;        // of kernels, those of graphs not counted
  std::uint64_t graph_launches = 0;  // of graphs
  std::uint64_t copies = 0;          // between host and device, and on the device
  std::uint64_t waits = 0;           // for a stream, an event or the device
  std::uint64_t allocations = 0;     // from the caching allocators
};

DeviceActivity device_activity();

/// Where those who do such things count them.
struct ActivityCounters {
  std::atomic<std::uint64_t> launches{0}, graph_launches{0}, copies{0}, waits{0}, allocations{0};
};
ActivityCounters& activity_counters();
inline void count_one(std::atomic<std::uint64_t>& counter) { counter.fetch_add(1, std::memory_order_relaxed); }

}  // namespace graft::runtime
