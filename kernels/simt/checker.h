// Watches what the threads of a kernel do to memory. The kernels are compiled with -fsanitize=thread, which puts a call
// before every load and store; those calls come here, not to TSan. Found: accesses outside any allocation or shared
// variable, after a free, misaligned, reads of bytes that nothing wrote, and races: two accesses, one of them a write,
// that no synchronisation orders, by threads of one block (vector clocks) or of different blocks of a launch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <graft/kernels/simt/core.h>

namespace graft::simt::checker {

/// Whether the kernels are watched; while they are not, nothing else here is called.
extern bool active;
inline bool enabled() { return active; }

/// Told by the runtime before each grid: whether it is to be watched. Never is in a build whose kernels are not
/// instrumented.
void set_active(bool on);

// --- told by the scheduler ------------------------------------------------------------------------------------------

void grid_begin(const LaunchDims& dims);
void grid_end();

/// A block (or a cluster of `blocks` blocks that run together) begins with `threads` threads in all; thread t belongs
/// to block first_block + t / (threads / blocks). Its shared memory, `arena_bytes` at each arena, is outside any
/// variable until declared, and nothing has been written to it.
void block_begin(std::uint64_t first_block, unsigned blocks, unsigned threads);
void declare_shared(const void* begin, std::size_t bytes);
void block_end();

/// The thread (its number within the group of block_begin) whose accesses come next.
void running(unsigned thread);

/// A barrier of these threads: what each did before it happens before what any does after it.
void join(std::span<const unsigned> threads);
void join_all();

/// One-sided order through an object (an mbarrier): what a thread did before release happens before what another does
/// after acquire.
void release(const void* object, unsigned thread);
void acquire(const void* object, unsigned thread);
/// The present of the running thread, and whether the running thread has heard of such a moment of another.
std::uint64_t moment();
bool knows(std::uint64_t moment);
/// What object `from` holds goes to `to`; `from` is as new.
void pass_on(const void* from, const void* to);

/// Order between blocks, as between any threads of the device (checker_tickets.cpp): what the running thread knows at a
/// device_fence, its atomic operations after it say; what its atomic operations before a fence have read of that, it
/// knows after the fence. `p` is an address of device memory; each operation counts as one that changes it.
void device_fence();
void draw(const void* p);

/// All threads of a block of the group have returned: whatever others do to its shared memory must have happened
/// before.
void block_leaves(unsigned rank);

// --- accesses that the emulator performs for the running thread (asynchronous copies, ldmatrix, atomics)
// ---------------

void read(const void* p, std::size_t bytes, Loc where);
void write(const void* p, std::size_t bytes, Loc where);
/// An asynchronous copy that was started now writes these bytes at some time until the write() that completes it.
void will_write(const void* p, std::size_t bytes, Loc where);
/// Atomic accesses do not race with one another.
void atomic(const void* p, std::size_t bytes, Loc where);

// --- asynchronous operations: bulk copies and wgmma -----------------------------------------------------------------
// Their accesses happen as if by a thread of their own, an agent. It begins with what its issuer knows; nothing orders
// it with anybody, its issuer included, before somebody learns of its end.

/// Agents of the group: one a warpgroup for wgmma, and those that bulk copies take in turn.
inline constexpr unsigned kWarpgroupAgents = 64, kCopyAgents = 64, kAgents = kWarpgroupAgents + kCopyAgents;

/// What somebody knows who learns of an operation's end.
struct Operation {
  std::shared_ptr<const std::vector<std::uint32_t>> known;
  std::uint32_t serial = 0;
};

/// The accesses up to end() are those of an operation that the running thread issues.
Operation begin(unsigned agent);
void end();
/// The next agent for a bulk copy.
unsigned copy_agent();

/// As read() and write(), by an operation: ordinary writes to these bytes of shared memory must have been followed by
/// fence.proxy.async of the writing thread.
void async_read(const void* p, std::size_t bytes, Loc where);
void async_write(const void* p, std::size_t bytes, Loc where);
/// What async_write announced is there.
void arrived(const void* p, std::size_t bytes);

/// The operation is done, says an object (an mbarrier), or is seen to be by a thread.
void tell(const Operation& operation, const void* object);
void learn(const Operation& operation, unsigned thread);

/// fence.proxy.async by a thread.
void fence(unsigned thread);

/// [begin, begin + bytes) of the thread's stack holds registers that wgmma works on: whoever touches it is told to
/// registers_touched() of group.h.
void watch_registers(unsigned thread, const void* begin, std::size_t bytes);

}  // namespace graft::simt::checker
