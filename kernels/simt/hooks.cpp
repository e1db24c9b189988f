// What the compiler calls for each access of an instrumented kernel.
//
// The kernels are compiled with -fsanitize=thread and -fsanitize=alignment but linked without their runtimes: these
// functions stand in for them. The real ThreadSanitizer will not do. It knows threads of the host and their locks, not
// blocks, warps and barriers; the blocks of a grid, which run one after another here, would be ordered to it, so that a
// race between blocks could never show; its reports could not name a CUDA thread; and it knows nothing of device
// memory.
//
// Never instrumented itself.
#include <graft/kernels/simt/sanitizers.h>

#if !GRAFT_SIMT_ASAN && !GRAFT_SIMT_TSAN

#include <graft/kernels/simt/checker_access.h>
#include <graft/kernels/simt/checker_report.h>
#include <graft/kernels/simt/symbolize.h>

#include <cstring>
#include <string>
#include <type_traits>

using graft::simt::checker::check;
using graft::simt::checker::check_range;
using graft::simt::checker::Kind;
using graft::simt::checker::place_of;
using graft::simt::checker::watch;

namespace {

template <Kind kind>
inline void range(const void* p, std::size_t bytes, const void* caller) {
  const std::size_t offset = reinterpret_cast<std::uintptr_t>(p) - watch.begin;
  if (offset < watch.bytes && bytes > 0)
    check_range<kind>(offset, bytes, place_of(caller));
  else if (reinterpret_cast<std::uintptr_t>(p) - watch.registers < watch.register_bytes)
    graft::simt::checker::touch_registers(p, bytes, kind, place_of(caller));
}

// As in the runtime of UndefinedBehaviorSanitizer.
struct SourceLocation {
  const char* file;
  std::uint32_t line, column;
};
struct TypeDescriptor {
  std::uint16_t kind, info;
  char name[1];
};
struct TypeMismatch {
  SourceLocation where;
  const TypeDescriptor* type;
  unsigned char log_alignment, access;
};

void misaligned(const TypeMismatch& data, std::uintptr_t p, const void* caller) {
  if (p - watch.begin >= watch.bytes) return;
  {
    const std::size_t alignment = std::size_t{1} << data.log_alignment;
    static const char* const verbs[] = {"read of ", "write of ", "reference to ", "member access in "};
    const std::string text = std::string("misaligned: ") + (data.access < 4 ? verbs[data.access] : "use of ") +
                             data.type->name + " at an address that is " + std::to_string(p % alignment) +
                             " bytes past a multiple of " + std::to_string(alignment);
    graft::simt::SourcePlace place{data.where.file, static_cast<int>(data.where.line)};
    if (place.file.find("kernels/simt/") != std::string::npos) {  // an instruction's stand-in: whose?
      const auto found = graft::simt::source_place(reinterpret_cast<std::uintptr_t>(caller));
      if (!found.file.empty()) place = found;
    }
    graft::simt::report_failure({place.file.c_str(), place.line},
                                place.caller.empty() ? text : text + " (in " + place.caller + ")");
  }
  graft::simt::abandon_thread();
}

}  // namespace

#define CALLER __builtin_return_address(0)

extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

#define GRAFT_ACCESS(bytes)                                                                      \
  void __tsan_read##bytes(void* p) { check<bytes, Kind::read>(p, place_of(CALLER)); }            \
  void __tsan_write##bytes(void* p) { check<bytes, Kind::write>(p, place_of(CALLER)); }          \
  void __tsan_volatile_read##bytes(void* p) { check<bytes, Kind::read>(p, place_of(CALLER)); }   \
  void __tsan_volatile_write##bytes(void* p) { check<bytes, Kind::write>(p, place_of(CALLER)); } \
  void __tsan_unaligned_read##bytes(void* p) { range<Kind::read>(p, bytes, CALLER); }            \
  void __tsan_unaligned_write##bytes(void* p) { range<Kind::write>(p, bytes, CALLER); }
GRAFT_ACCESS(1)
GRAFT_ACCESS(2)
GRAFT_ACCESS(4)
GRAFT_ACCESS(8)
GRAFT_ACCESS(16)

void __tsan_read_range(void* p, std::size_t bytes) { range<Kind::read>(p, bytes, CALLER); }
void __tsan_write_range(void* p, std::size_t bytes) { range<Kind::write>(p, bytes, CALLER); }
// clang's: copies of structs, and loops that it takes for a copy.
void* __tsan_memcpy(void* to, const void* from, std::size_t bytes) {
  range<Kind::read>(from, bytes, CALLER);
  range<Kind::write>(to, bytes, CALLER);
  return std::memcpy(to, from, bytes);
}
void* __tsan_memmove(void* to, const void* from, std::size_t bytes) {
  range<Kind::read>(from, bytes, CALLER);
  range<Kind::write>(to, bytes, CALLER);
  return std::memmove(to, from, bytes);
}
void* __tsan_memset(void* to, int value, std::size_t bytes) {
  range<Kind::write>(to, bytes, CALLER);
  return std::memset(to, value, bytes);
}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

// Atomics: checked, then done. Everything is sequentially consistent: the threads of a kernel share one thread of the
// host, and other threads of the host may meet host code that was compiled beside a kernel.
#define GRAFT_FETCH(bits, T, operation)                                    \
  T __tsan_atomic##bits##_fetch_##operation(volatile T* p, T value, int) { \
    check<sizeof(T), Kind::atomic>(const_cast<T*>(p), place_of(CALLER));   \
    return __atomic_fetch_##operation(p, value, __ATOMIC_SEQ_CST);         \
  }
#define GRAFT_COMPARE(bits, T, strength, weak)                                                             \
  int __tsan_atomic##bits##_compare_exchange_##strength(volatile T* p, T* expected, T desired, int, int) { \
    check<sizeof(T), Kind::atomic>(const_cast<T*>(p), place_of(CALLER));                                   \
    return __atomic_compare_exchange_n(p, expected, desired, weak, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);    \
  }
// clang's: it gives the value that was there.
#define GRAFT_COMPARE_VALUE(bits, T)                                                                       \
  T __tsan_atomic##bits##_compare_exchange_val(volatile T* p, T expected, T desired, int, int) {           \
    check<sizeof(T), Kind::atomic>(const_cast<T*>(p), place_of(CALLER));                                   \
    __atomic_compare_exchange_n(p, &expected, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);         \
    return expected;                                                                                       \
  }
#define GRAFT_ATOMIC(bits, T)                                                  \
  T __tsan_atomic##bits##_load(const volatile T* p, int) {                     \
    check<sizeof(T), Kind::atomic>(const_cast<const T*>(p), place_of(CALLER)); \
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);                               \
  }                                                                            \
  void __tsan_atomic##bits##_store(volatile T* p, T value, int) {              \
    check<sizeof(T), Kind::atomic>(const_cast<T*>(p), place_of(CALLER));       \
    __atomic_store_n(p, value, __ATOMIC_SEQ_CST);                              \
  }                                                                            \
  T __tsan_atomic##bits##_exchange(volatile T* p, T value, int) {              \
    check<sizeof(T), Kind::atomic>(const_cast<T*>(p), place_of(CALLER));       \
    return __atomic_exchange_n(p, value, __ATOMIC_SEQ_CST);                    \
  }                                                                            \
  GRAFT_FETCH(bits, T, add)                                                    \
  GRAFT_FETCH(bits, T, sub)                                                    \
  GRAFT_FETCH(bits, T, and)                                                    \
  GRAFT_FETCH(bits, T, or)                                                     \
  GRAFT_FETCH(bits, T, xor)                                                    \
  GRAFT_FETCH(bits, T, nand)                                                   \
  GRAFT_COMPARE(bits, T, strong, false)                                        \
  GRAFT_COMPARE(bits, T, weak, true)                                           \
  GRAFT_COMPARE_VALUE(bits, T)
GRAFT_ATOMIC(8, std::uint8_t)
GRAFT_ATOMIC(16, std::uint16_t)
GRAFT_ATOMIC(32, std::uint32_t)
GRAFT_ATOMIC(64, std::uint64_t)
void __tsan_atomic_thread_fence(int) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
void __tsan_atomic_signal_fence(int) {}

void __ubsan_handle_type_mismatch_v1(const TypeMismatch* data, std::uintptr_t p) { misaligned(*data, p, CALLER); }
void __ubsan_handle_alignment_assumption(void*, std::uintptr_t, std::uintptr_t, std::uintptr_t) {}

}  // extern "C"

#endif
