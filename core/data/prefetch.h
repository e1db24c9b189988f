// Makes numbered batches ahead of time on threads and hands them out in order.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <graft/core/data/dataset.h>
#include <graft/kernels/runtime/fork.h>

namespace graft::data {

class Prefetcher {
 public:
  /// Makes batch `index`. Called from several threads at once; what it refers to must outlive the Prefetcher.
  using Make = std::function<Batch(std::int64_t index)>;

  /// `threads` of 0: batches are made in next(). `depth`: batches made or being made at most. Throws Error when threads
  /// is negative or depth is not positive.
  Prefetcher(int threads, int depth);
  /// Waits for the batches being made, no longer. In a child made by fork() there is nothing to wait for.
  ~Prefetcher();
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  /// Begins batches 0 .. count - 1; what was left of an earlier call is dropped. Throws Error, as next() does, in a
  /// child made by fork(), where the threads are not.
  void start(std::int64_t count, Make make);
  /// The next batch; false when all were handed out. Throws what making it threw, and again on each call until start().
  bool next(Batch& batch);

 private:
  struct Job {
    std::int64_t count = 0;
    Make make;
  };
  struct Slot {
    bool ready = false;
    Batch batch;
    std::exception_ptr error;
  };
  /// What the threads share.
  struct State {
    void work();
    void stop();
    Slot& slot(std::int64_t index) { return slots[static_cast<std::size_t>(index) % slots.size()]; }

    std::mutex mutex;
    std::condition_variable room, ready;
    // A worker whose job is no longer this one throws its batch away.
    std::shared_ptr<const Job> job;
    std::int64_t claimed = 0, taken = 0;  // batches [taken, claimed) are made or being made
    std::vector<Slot> slots;              // batch i lies in slot i % depth
    bool stopping = false;
    std::vector<std::thread> threads;
  };
  void check_threads() const;

  std::unique_ptr<State> state_;
  runtime::ForkMark made_;
};

}  // namespace graft::data
