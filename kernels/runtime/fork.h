// fork() copies one thread and all memory. What belonged to other threads, or to a device, is then there and does not
// work: whoever has such things marks the generation they were made in.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

namespace graft::runtime {

/// From now on fork() waits until nobody holds `mutex`, so that the child can take it. The mutex must live for ever.
/// Calls nest in the order of registration: a mutex that is taken while another is held comes after it.
void hold_while_forking(std::mutex& mutex);

/// Remembers where something was first used, and so whether it is still of use. Constant-initialised, never destroyed.
class ForkMark {
 public:
  /// Something that does not survive fork() exists in this process now.
  void set();
  /// Whether it was made before the fork() that made this process: it is lost.
  bool lost() const noexcept;

 private:
  std::atomic<std::uint64_t> generation_{0};
};

}  // namespace graft::runtime
