// The thread count, and loops over it. One OpenMP runtime serves our loops and oneDNN.
#pragma once

#include <cstdint>
#include <type_traits>

#include <graft/kernels/api/export.h>

namespace graft {

/// More threads than this are refused, as a mistake: OpenMP ends the process when it cannot start one.
inline constexpr int kMaxThreads = 1024;

/// Threads that ops on the CPU use, 1 to kMaxThreads. Default: GRAFT_NUM_THREADS, else OMP_NUM_THREADS (as OpenMP does,
/// the first of a list), else all cores this process may run on. Results never depend on it. Throws Error for another
/// count; num_threads(), and with it the first op, when a variable holds one.
///
/// After fork() a child whose parent had used several threads has one: OpenMP's others are not there, and waiting for
/// them would never end. num_threads() is 1 in it, and set_num_threads throws Error for more.
GRAFT_API void set_num_threads(int count);
GRAFT_API int num_threads();

/// While it lives, parallel_for on the calling thread runs serially: for threads that are one of several already, whose
/// own teams would fight over the same cores.
class GRAFT_API SerialScope {
 public:
  SerialScope();
  ~SerialScope();
  SerialScope(const SerialScope&) = delete;
  SerialScope& operator=(const SerialScope&) = delete;

 private:
  bool previous_;
};

namespace detail {
GRAFT_API void parallel_for(std::int64_t count, std::int64_t grain, void (*body)(void*, std::int64_t, std::int64_t),
                            void* context);
}

/// Calls f(begin, end) on consecutive ranges that cover [0, count), each at least `grain` long (but the last), in
/// parallel; serial when one grain covers all or when already inside a parallel region. An exception thrown by f is
/// rethrown to the caller. How the range is cut depends on the thread count: where the order of additions matters, cut
/// into fixed chunks yourself and loop over chunk numbers.
template <class F>
void parallel_for(std::int64_t count, std::int64_t grain, F&& f) {
  detail::parallel_for(
      count, grain,
      [](void* context, std::int64_t begin, std::int64_t end) {
        (*static_cast<std::remove_reference_t<F>*>(context))(begin, end);
      },
      const_cast<void*>(static_cast<const void*>(&f)));
}

}  // namespace graft
