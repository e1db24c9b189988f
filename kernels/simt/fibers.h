// Fibers: stacks that a kernel's threads run on, and the switch from one to another. A fiber is a worker: it is taken
// from a pool, runs any number of CUDA threads one after another, and goes back.
#pragma once

#include <graft/kernels/simt/core.h>
#include <graft/kernels/simt/sanitizers.h>

#include <cstddef>

namespace graft::simt {

struct Fiber {
  void* context = nullptr;  // where it was left (boost's fcontext_t)
  char* stack = nullptr;    // lowest address; nullptr: the host's own stack
  std::size_t stack_bytes = 0;
  void* fake_stack = nullptr;  // AddressSanitizer's
  Fiber* next_free = nullptr;
};

/// The threads of the largest cluster.
inline constexpr unsigned kMostFibers = 8 * 1024;

/// What a fiber runs; never returns.
using FiberMain = void (*)();

/// A fiber that nobody uses; its main has started already, or does when it is first switched to.
Fiber* take_fiber(FiberMain main);
void give_back(Fiber* fiber);

/// Makes an abandoned fiber new: what its stack holds is forgotten, without unwinding.
void reset_fiber(Fiber* fiber);

/// Leaves the running fiber for `to`; returns when somebody switches back. `from` is the running one.
void switch_fiber(Fiber* from, Fiber* to);

/// The host's stack, from which a grid is run.
Fiber* host_fiber();

}  // namespace graft::simt
