// Objects that each thread has one of, and that may be used until the process is gone.
#pragma once

#include <memory>
#include <utility>

namespace graft::runtime {
namespace detail {
/// Calls destroy(slot) when the calling thread ends; never, where its thread_local objects are being destroyed already,
/// or have been.
void at_thread_end(void (*destroy)(void*), void* slot);
}  // namespace detail

/// The object of the calling thread that `slot`, a thread_local pointer, points to; made at its first use. A
/// thread_local object itself would not do: the main thread's are destroyed before static objects and std::atexit's
/// handlers, which may use the library too. Those get a new one, which is left to the end of the process.
template <class T, class Make>
T& of_thread(T*& slot, Make&& make) {
  if (slot == nullptr) [[unlikely]] {
    std::unique_ptr<T> made = make();
    detail::at_thread_end([](void* at) { delete std::exchange(*static_cast<T**>(at), nullptr); }, &slot);
    slot = made.release();
  }
  return *slot;
}

}  // namespace graft::runtime
