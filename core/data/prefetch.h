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

namespace graft::data {

class Prefetcher {
 public:
  /// Makes batch `index`. Called from several threads at once; what it refers to must outlive the Prefetcher.
  using Make = std::function<Batch(std::int64_t index)>;

  /// `threads` of 0: batches are made in next(). `depth`: batches made or being made at most. Throws Error when threads
  /// is negative or depth is not positive.
  Prefetcher(int threads, int depth);
  /// Waits for the batches being made, no longer.
  ~Prefetcher();
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  /// Begins batches 0 .. count - 1; what was left of an earlier call is dropped.
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
  void work();
  Slot& slot(std::int64_t index) { return slots_[static_cast<std::size_t>(index) % slots_.size()]; }

  std::mutex mutex_;
  std::condition_variable room_, ready_;
  // A worker whose job is no longer this one throws its batch away.
  std::shared_ptr<const Job> job_;
  std::int64_t claimed_ = 0, taken_ = 0;  // batches [taken_, claimed_) are made or being made
  std::vector<Slot> slots_;               // batch i lies in slot i % depth
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace graft::data
