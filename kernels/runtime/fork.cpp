#include <graft/kernels/runtime/fork.h>

#include <pthread.h>

#include <atomic>
#include <vector>

#include <graft/kernels/api/error.h>

namespace graft::runtime {
namespace {

std::atomic<std::uint64_t> generation{1};  // grows in the child

struct Held {
  std::mutex mutex;  // of the list; the first to be taken
  std::vector<std::mutex*> all;
};

// Never destroyed: a program may fork while it ends.
Held& held() {
  static auto* const instance = new Held;
  return *instance;
}

void before_fork() {
  held().mutex.lock();
  for (std::mutex* mutex : held().all) mutex->lock();
}

void release() {
  for (auto mutex = held().all.rbegin(); mutex != held().all.rend(); ++mutex) (*mutex)->unlock();
  held().mutex.unlock();
}

void after_fork_in_child() {
  generation.fetch_add(1, std::memory_order_relaxed);
  release();
}

void watch_forks() {
  static const int status = [] {
    held();
    return pthread_atfork(before_fork, release, after_fork_in_child);
  }();
  check(status == 0, "pthread_atfork failed (status ", status, "): no memory");
}

}  // namespace

void hold_while_forking(std::mutex& mutex) {
  watch_forks();
  const std::lock_guard lock(held().mutex);
  held().all.push_back(&mutex);
}

void ForkMark::set() {
  if (generation_.load(std::memory_order_relaxed) != 0) return;  // of the first use, which fork() may have lost
  watch_forks();
  generation_.store(generation.load(std::memory_order_relaxed), std::memory_order_relaxed);
}

bool ForkMark::lost() const noexcept {
  const std::uint64_t made = generation_.load(std::memory_order_relaxed);
  return made != 0 && made != generation.load(std::memory_order_relaxed);
}

}  // namespace graft::runtime
