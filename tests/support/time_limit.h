// Ends the program when a kernel hangs: nothing else gets a host thread out of a wait for the device.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

namespace graft::test {

/// While it lives, a thread counts. When `limit` is over, it prints `what` and ends the process with exit code 124, as
/// `timeout` does, without destructors: they would wait for the kernel too. The driver ends the kernel with the process.
class TimeLimit {
 public:
  TimeLimit(std::string what, std::chrono::seconds limit)
      : thread_([this, what = std::move(what), limit] {
          std::unique_lock lock(mutex_);
          if (changed_.wait_for(lock, limit, [this] { return done_; })) return;
          std::fflush(stdout);
          std::fprintf(stderr, "\n%s: still running after %lld s. The program ends here.\n", what.c_str(),
                       static_cast<long long>(limit.count()));
          std::fflush(stderr);
          std::_Exit(124);
        }) {}
  ~TimeLimit() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }
  TimeLimit(const TimeLimit&) = delete;
  TimeLimit& operator=(const TimeLimit&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace graft::test
