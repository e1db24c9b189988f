// Counts of what the host has given to CUDA devices and waited for: what shows that a loop in its steady state neither
// allocates nor waits. No CUDA header.
#pragma once

#include <cstdint>

#include <graft/kernels/api/export.h>

namespace graft::runtime {

/// Of the process, all devices together.
struct GRAFT_API DeviceActivity {
  std::uint64_t launches = 0;        // of kernels, those of graphs not counted
  std::uint64_t graph_launches = 0;  // of graphs
  std::uint64_t copies = 0;          // between host and device, and on the device
  std::uint64_t waits = 0;           // for a stream, an event or the device
  std::uint64_t allocations = 0;     // from the caching allocators
};

GRAFT_API DeviceActivity device_activity();

}  // namespace graft::runtime
