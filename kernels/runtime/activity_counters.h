// Where what activity.h reports is counted.
#pragma once

#include <atomic>
#include <cstdint>

namespace graft::runtime {

/// Where those who do such things count them.
struct ActivityCounters {
  std::atomic<std::uint64_t> launches{0}, graph_launches{0}, copies{0}, waits{0}, allocations{0};
};
ActivityCounters& activity_counters();
inline void count_one(std::atomic<std::uint64_t>& counter) { counter.fetch_add(1, std::memory_order_relaxed); }

}  // namespace graft::runtime
