// Faults that a kernel finds in its data. A kernel cannot throw: it writes the fault to a record that the host reads
// when it next waits for the stream (runtime::synchronize), which then throws. The device stays usable.
#pragma once

#include <cstdint>

#include <graft/kernels/api/device.h>

namespace graft::runtime {

enum class FaultKind : std::uint32_t { index_select, gather, target, division_by_zero, gradient_norm };

/// One a device, in memory that both sides see. The first fault since the last look stays; later ones are dropped.
struct FaultRecord {
  std::uint32_t claimed = 0;  // 1: a thread of the device is writing the rest; 2: it has
  FaultKind kind{};
  std::int64_t position = 0;  // which element of the index, the targets, the divisor; which training step
  std::int64_t value = 0;     // what it held
  std::int64_t limit = 0;     // expected: 0 up to below this
};

FaultRecord* fault_record(int device);

/// Throws Error, and clears the record, when a kernel has reported a fault. The stream's work must be done; no other
/// stream is waited for.
void check_faults(int device);

}  // namespace graft::runtime
