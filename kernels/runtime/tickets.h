// Counters in device memory for kernels whose last block finishes what all have begun (cuda/ticket.cuh).
//
// They are zero before a launch, and its last block leaves them zero; nobody clears them in between. Launches that may
// run at the same time must not share them: so each stream has its own, and in a captured graph, whose replays are
// ordered but may run beside anything else, each stream of the capture has some that belong to the graph. Launches of
// one stream run one after another and take the same. (A launch that may begin before the one ahead of it has ended
// must not.)
//
// The counters are cut out of segments that are cleared once, when they are made; what a stream or a graph leaves goes
// to the next. They do not come from the caching allocator: its blocks hold anything. A kernel that fails while it runs
// may leave any number: then no counter is used again (its device cannot be used by the process any more; the emulator
// can reset it, and goes on with new ones).
#pragma once

#include <cstdint>

#include <graft/kernels/api/device.h>

namespace graft::runtime {

/// At least `count` counters, all zero whenever a kernel of the stream begins. The same again for the same stream.
std::uint32_t* ticket_counters(std::int64_t count, const Stream& stream);

// --- told by the runtime --------------------------------------------------------------------------------------------

/// The stream ends, its work is done.
void retire_tickets(const Stream& stream) noexcept;
/// The graph with this pool of the caching allocator is gone, and its work done.
void retire_tickets(int device, std::uint64_t pool) noexcept;
/// A kernel has failed.
void drop_tickets() noexcept;

}  // namespace graft::runtime
