#include <graft/core/data/prefetch.h>

#include <utility>

#include <graft/kernels/runtime/parallel.h>

namespace graft::data {

Prefetcher::Prefetcher(int threads, int depth) {
  check(threads >= 0, "Prefetcher: threads is ", threads, ", expected 0 or more");
  check(depth >= 1, "Prefetcher: depth is ", depth, ", expected 1 or more");
  state_ = std::make_unique<State>();
  state_->slots.resize(static_cast<std::size_t>(depth));
  made_.set();
  try {
    for (int i = 0; i < threads; ++i) state_->threads.emplace_back([state = state_.get()] { state->work(); });
  } catch (...) {  // the system has no more threads: those that run must end before the members do
    state_->stop();
    throw;
  }
}

Prefetcher::~Prefetcher() {
  if (made_.lost() && !state_->threads.empty()) {
    // Threads that are not there cannot be joined, nor does what they were waiting for let itself be destroyed.
    static auto& left = *new std::vector<std::unique_ptr<State>>;
    left.push_back(std::move(state_));
    return;
  }
  state_->stop();
}

void Prefetcher::check_threads() const {
  check(!made_.lost() || state_->threads.empty(),
        "Prefetcher: its threads (a Loader's) are not in this process, which was made by fork(); make a new Loader");
}

void Prefetcher::start(std::int64_t count, Make make) {
  check_threads();
  auto job = std::make_shared<const Job>(Job{count, std::move(make)});
  State& s = *state_;
  std::vector<Slot> dropped(s.slots.size());
  {
    const std::lock_guard lock(s.mutex);
    s.job.swap(job);
    s.claimed = s.taken = 0;
    s.slots.swap(dropped);  // so that memory is given back outside the lock
  }
  s.room.notify_all();
}

bool Prefetcher::next(Batch& batch) {
  check_threads();
  State& s = *state_;
  std::unique_lock lock(s.mutex);
  check(s.job != nullptr, "Prefetcher: next() before start()");
  if (s.taken == s.job->count) return false;
  if (s.threads.empty()) {
    batch = s.job->make(s.taken);
    ++s.taken;
    return true;
  }
  Slot& mine = s.slot(s.taken);
  s.ready.wait(lock, [&] { return mine.ready; });
  if (mine.error) std::rethrow_exception(mine.error);
  batch = std::move(mine.batch);
  mine = Slot{};
  ++s.taken;
  lock.unlock();
  s.room.notify_one();
  return true;
}

void Prefetcher::State::stop() {
  {
    const std::lock_guard lock(mutex);
    stopping = true;
  }
  room.notify_all();
  for (std::thread& thread : threads) thread.join();
}

void Prefetcher::State::work() {
  const SerialScope serial;  // batches are made side by side with the training step, which uses all cores
  std::unique_lock lock(mutex);
  for (;;) {
    room.wait(lock, [&] {
      return stopping || (job && claimed < job->count && claimed < taken + static_cast<std::int64_t>(slots.size()));
    });
    if (stopping) return;
    const std::shared_ptr<const Job> mine = job;
    const std::int64_t index = claimed++;
    lock.unlock();
    Slot made{.ready = true, .batch = {}, .error = nullptr};
    try {
      made.batch = mine->make(index);
    } catch (...) {
      made.error = std::current_exception();
    }
    lock.lock();
    if (mine != job) continue;
    slot(index) = std::move(made);
    ready.notify_one();
  }
}

}  // namespace graft::data
