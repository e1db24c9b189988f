// Who is told of every block of device memory that is handed out and taken back: the emulator's memory checker.
#pragma once

#include <cstddef>

namespace graft::runtime {

struct MemoryObserver {
  std::size_t red_zone = 0;  // bytes that stay unused behind every block
  void (*allocated)(void* block, std::size_t bytes) = nullptr;
  void (*freed)(void* block, std::size_t bytes) = nullptr;
};

/// Counts for blocks handed out from now on; no block may be in use. One at a time; {} takes it away.
void set_memory_observer(const MemoryObserver& observer);
const MemoryObserver& memory_observer();

}  // namespace graft::runtime
