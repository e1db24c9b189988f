// The last block done: what many blocks have begun, the one that ends last finishes, in place of a second launch.
//
//   parts[block] = mine;                                          // any threads of the block
//   if (!is_last_block(counter, blocks)) return;                  // all threads, once a counter and launch
//   for (...) sum += parts[i];                                    // in a fixed order: not in that of the blocks' ends
//
// Each block draws a number from a counter in device memory, which is zero before the launch (host side: tickets() of
// this header) and zero again after it: the number after `blocks` - 1 is 0. No block waits for another, and which block
// is last makes no difference to the result where it reads all parts, its own too, from memory in an order of its own.
//
// The parts must not be read through __restrict__ const pointers: those may come from a cache that the fence does not
// clear. Nor may other blocks' parts be read before the ticket, or one's own be written after it.
#pragma once

#include <graft/kernels/cuda/common.cuh>
#include <graft/kernels/runtime/tickets.h>

namespace graft::kernels::cuda {

/// Counters for the kernels of a stream; the same for all of them, as they run one after another.
inline std::uint32_t* tickets(std::int64_t count, const Stream& stream) {
  return runtime::ticket_counters(count, stream);
}

/// Draws a ticket, which one thread of the block does, after a barrier of the block where others have written too. True
/// where it was the last of `blocks`: then the block's other threads may read after the next barrier.
GRAFT_DEVICE bool draw_last_ticket(std::uint32_t* counter, unsigned blocks) {
  __threadfence();  // what the block has written comes before the ticket
  const bool last = atomicInc(counter, blocks - 1) == blocks - 1;
  if (last) __threadfence();  // and what it will read, after it
  return last;
}

/// Whether this block is the last of `blocks` to come here; then all threads may read what all blocks wrote before.
GRAFT_DEVICE bool is_last_block(std::uint32_t* counter, unsigned blocks) {
  __syncthreads();
  return __syncthreads_or(threadIdx.x == 0 && draw_last_ticket(counter, blocks)) != 0;
}

/// The same where only thread 0 has written anything that the last block will read.
GRAFT_DEVICE bool is_last_block_of_first_threads(std::uint32_t* counter, unsigned blocks) {
  return __syncthreads_or(threadIdx.x == 0 && draw_last_ticket(counter, blocks)) != 0;
}

}  // namespace graft::kernels::cuda
