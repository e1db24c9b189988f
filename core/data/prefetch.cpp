#include <graft/core/data/prefetch.h>

#include <utility>

#include <graft/kernels/runtime/parallel.h>

namespace graft::data {

Prefetcher::Prefetcher(int threads, int depth) {
  check(threads >= 0, "Prefetcher: threads is ", threads, ", expected 0 or more");
  check(depth >= 1, "Prefetcher: depth is ", depth, ", expected 1 or more");
  slots_.resize(static_cast<std::size_t>(depth));
  try {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  } catch (...) {  // the system has no more threads: those that run must end before the members do
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    room_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    throw;
  }
}

Prefetcher::~Prefetcher() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  room_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Prefetcher::start(std::int64_t count, Make make) {
  auto job = std::make_shared<const Job>(Job{count, std::move(make)});
  std::vector<Slot> dropped(slots_.size());
  {
    const std::lock_guard lock(mutex_);
    job_.swap(job);
    claimed_ = taken_ = 0;
    slots_.swap(dropped);  // so that memory is given back outside the lock
  }
  room_.notify_all();
}

bool Prefetcher::next(Batch& batch) {
  std::unique_lock lock(mutex_);
  check(job_ != nullptr, "Prefetcher: next() before start()");
  if (taken_ == job_->count) return false;
  if (threads_.empty()) {
    batch = job_->make(taken_);
    ++taken_;
    return true;
  }
  Slot& mine = slot(taken_);
  ready_.wait(lock, [&] { return mine.ready; });
  if (mine.error) std::rethrow_exception(mine.error);
  batch = std::move(mine.batch);
  mine = Slot{};
  ++taken_;
  lock.unlock();
  room_.notify_one();
  return true;
}

void Prefetcher::work() {
  const SerialScope serial;  // batches are made side by side with the training step, which uses all cores
  std::unique_lock lock(mutex_);
  for (;;) {
    room_.wait(lock, [&] {
      return stopping_ ||
             (job_ && claimed_ < job_->count && claimed_ < taken_ + static_cast<std::int64_t>(slots_.size()));
    });
    if (stopping_) return;
    const std::shared_ptr<const Job> job = job_;
    const std::int64_t index = claimed_++;
    lock.unlock();
    Slot made{.ready = true, .batch = {}, .error = nullptr};
    try {
      made.batch = job->make(index);
    } catch (...) {
      made.error = std::current_exception();
    }
    lock.lock();
    if (job != job_) continue;
    slot(index) = std::move(made);
    ready_.notify_one();
  }
}

}  // namespace graft::data
