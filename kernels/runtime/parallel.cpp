#include <graft/kernels/runtime/parallel.h>

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <optional>

#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/fork.h>
#include <graft/kernels/runtime/openmp.h>
#include <graft/kernels/runtime/settings.h>

namespace graft {
namespace {

constexpr const char* kOurs = "GRAFT_NUM_THREADS";
constexpr const char* kOpenMps = "OMP_NUM_THREADS";

// The first number of OpenMP's list ("4,2": of nested regions). Nothing where OpenMP takes it for invalid, which it
// says itself when the program starts.
std::optional<int> openmp_thread_count() {
  const char* const value = std::getenv(kOpenMps);
  if (value == nullptr) return std::nullopt;
  char* end = nullptr;
  const long long count = std::strtoll(value, &end, 10);
  if (end == value || count < 1) return std::nullopt;
  while (std::isspace(static_cast<unsigned char>(*end)) != 0) ++end;
  if (*end != '\0' && *end != ',') return std::nullopt;
  check(count <= kMaxThreads, kOpenMps, " is '", value, "', expected ", kMaxThreads, " threads at most");
  return static_cast<int>(count);
}

int initial_thread_count() {
  if (const auto ours = runtime::number_setting(kOurs, 1, kMaxThreads)) return static_cast<int>(*ours);
  if (const auto openmps = openmp_thread_count()) return *openmps;
  cpu_set_t allowed;
  const int cores = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : omp_get_num_procs();
  return std::clamp(cores, 1, kMaxThreads);
}

std::atomic<int>& thread_count() {
  static std::atomic<int> count = initial_thread_count();
  return count;
}

runtime::ForkMark threads_used;

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
  check(count >= 1 && count <= kMaxThreads, "set_num_threads: expected 1 to ", kMaxThreads, ", got ", count);
  check(count == 1 || !threads_used.lost(), "set_num_threads: got ", count,
        ", expected 1: this process was made by fork() after its parent had used several threads, which are not in it; "
        "start a program (exec), or fork before the first op");
  thread_count() = count;
  omp_set_num_threads(count);  // oneDNN asks OpenMP
}

int num_threads() {
  const int count = thread_count().load(std::memory_order_relaxed);
  return threads_used.lost() ? 1 : count;
}

void detail::note_threads() { threads_used.set(); }

void detail::parallel_for(std::int64_t count, std::int64_t grain, void (*body)(void*, std::int64_t, std::int64_t),
                          void* context) {
  if (count <= 0) return;
  grain = std::max<std::int64_t>(grain, 1);
  const auto threads = static_cast<int>(std::min<std::int64_t>(num_threads(), count / grain));
  if (threads <= 1 || serial || omp_in_parallel()) {
    body(context, 0, count);
    return;
  }
  note_threads();
  Loop loop{count, body, context, {}, {}};
  GOMP_parallel(&run_share, &loop, static_cast<unsigned>(threads), 0);
  if (loop.error) std::rethrow_exception(loop.error);
}

}  // namespace graft
