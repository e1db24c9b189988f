// Who knows of whom: what checker.cpp and checker_async.cpp share. Internal to the checker.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <graft/kernels/simt/checker_access.h>

namespace graft::simt::checker {

using SharedVector = std::shared_ptr<const Vector>;

struct SharedRange {
  const void* begin;
  std::size_t bytes;
};

/// What is known of other blocks, by tickets: of each address that atomic operations draw from, how many of its
/// releases (checker_tickets.cpp). Sorted by address number.
struct Drawn {
  std::uint32_t address, count;
};
using SharedDrawn = std::shared_ptr<const std::vector<Drawn>>;

struct Knowledge {
  std::uint32_t top = 0;  // the number of the last synchronisation
  Vector clock;           // of each thread and agent
  Vector warp_base;       // of each warp
  std::vector<SharedVector> overlay;
  bool overlaid = false;  // some thread has one
  struct Object {
    const void* address;
    SharedVector known;
    SharedDrawn drawn;
  };
  std::vector<Object> objects;  // mbarriers and the like; few
  // Asynchronous operations.
  Vector agent_base;  // of each agent, what all threads know
  Vector issuer;      // of each agent, the thread whose operation came last
  Vector fenced;      // of each thread, the last clock whose writes a proxy fence covers
  struct Box {
    std::uintptr_t begin = 0;
    std::size_t bytes = 0;
  };
  std::vector<Box> registers;  // of each thread
  // Of each thread and agent, what it has learnt by tickets. Empty as long as nobody of the group has drawn any.
  std::vector<SharedDrawn> drawn;
};
Knowledge& knowledge();

/// The shared variables of the group that runs.
std::vector<SharedRange>& declared();

/// What the running thread's accesses are compared with.
void refresh();

/// The number of a new synchronisation. A group of half a million of them without a full barrier gets one for nothing:
/// the checker then misses races, it never sees one too many.
std::uint32_t tick();

void raise(Vector& to, const Vector& from);
/// Adds what a thread knows, itself included.
void add_knowledge(Vector& to, unsigned thread, bool with_warp);

/// The knowledge that an object holds, to be added to.
Vector& known_by(const void* object);
void learn(const SharedVector& known, unsigned thread);

/// A group begins.
void begin_agents();

// --- tickets --------------------------------------------------------------------------------------------------------

void begin_launch_tickets();
void begin_group_tickets();
SharedDrawn both(const SharedDrawn& a, const SharedDrawn& b);
/// All threads know what any of them has learnt.
void share_drawn();

}  // namespace graft::simt::checker
