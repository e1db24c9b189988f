#include <graft/kernels/runtime/parallel.h>

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <mutex>

#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/openmp.h>

namespace graft {
namespace {

int initial_thread_count() {
  for (const char* variable : {"GRAFT_NUM_THREADS", "OMP_NUM_THREADS"})
    if (const char* text = std::getenv(variable))
      if (const int count = std::atoi(text); count >= 1) return count;
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return std::max(1, CPU_COUNT(&allowed));
  return std::max(1, omp_get_num_procs());
}

int& thread_count() {
  static int count = initial_thread_count();
  return count;
}

thread_local bool serial = false;

struct Loop {
  std::int64_t count;
  void (*body)(void*, std::int64_t, std::int64_t);
  void* context;
  std::mutex mutex;
  std::exception_ptr error;
};

// What each thread of a team does: its share of the range.
void run_share(void* data) {
  Loop& loop = *static_cast<Loop*>(data);
  const std::int64_t n = omp_get_num_threads(), id = omp_get_thread_num();
  const std::int64_t begin = loop.count * id / n, end = loop.count * (id + 1) / n;
  if (begin >= end) return;
  try {
    loop.body(loop.context, begin, end);
  } catch (...) {
    const std::lock_guard lock(loop.mutex);
    loop.error = std::current_exception();
  }
}

}  // namespace

SerialScope::SerialScope() : previous_(serial) { serial = true; }
SerialScope::~SerialScope() { serial = previous_; }

void set_num_threads(int count) {
  check(count >= 1, "set_num_threads: expected 1 or more, got ", count);
  thread_count() = count;
  omp_set_num_threads(count);  // oneDNN asks OpenMP
}

int num_threads() { return thread_count(); }

void detail::parallel_for(std::int64_t count, std::int64_t grain, void (*body)(void*, std::int64_t, std::int64_t),
                          void* context) {
  if (count <= 0) return;
  grain = std::max<std::int64_t>(grain, 1);
  const auto threads = static_cast<int>(std::min<std::int64_t>(num_threads(), count / grain));
  if (threads <= 1 || serial || omp_in_parallel()) {
    body(context, 0, count);
    return;
  }
  Loop loop{count, body, context, {}, {}};
  GOMP_parallel(&run_share, &loop, static_cast<unsigned>(threads), 0);
  if (loop.error) std::rethrow_exception(loop.error);
}

}  // namespace graft
