// The device side of CUDA for the host compiler: what nvcc knows in device code without a header.
#pragma once

#include <graft/kernels/simt/device_atomics.h>
#include <graft/kernels/simt/device_calls.h>
#include <graft/kernels/simt/device_math.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

inline constexpr int warpSize = 32;

// --- barriers and fences --------------------------------------------------------------------------------------------

inline void __syncthreads(SIMT_SITE) {
  graft::simt::block_barrier(graft::simt::Vote::none, 0, SIMT_LOC, "__syncthreads");
}
inline int __syncthreads_count(int predicate, SIMT_SITE) {
  return graft::simt::block_barrier(graft::simt::Vote::count, predicate, SIMT_LOC, "__syncthreads_count");
}
inline int __syncthreads_and(int predicate, SIMT_SITE) {
  return graft::simt::block_barrier(graft::simt::Vote::all, predicate, SIMT_LOC, "__syncthreads_and");
}
inline int __syncthreads_or(int predicate, SIMT_SITE) {
  return graft::simt::block_barrier(graft::simt::Vote::any, predicate, SIMT_LOC, "__syncthreads_or");
}
inline void __syncwarp(unsigned mask = 0xffffffffu, SIMT_SITE) { graft::simt::warp_barrier(mask, SIMT_LOC); }

// One host thread runs the whole grid, in program order: fences have nothing to do but to tell the checker.
inline void __threadfence(SIMT_SITE) { graft::simt::device_fence(SIMT_LOC); }
inline void __threadfence_block() {}
inline void __threadfence_system() {}

inline void __nanosleep(unsigned, SIMT_SITE) { graft::simt::yield_spin(SIMT_LOC, "__nanosleep"); }
[[noreturn]] inline void __trap(SIMT_SITE) { graft::simt::device_fail(SIMT_LOC, "__trap"); }

// --- shuffles -------------------------------------------------------------------------------------------------------

namespace graft::simt {

template <class T>
std::uint64_t to_bits(T value) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  std::uint64_t bits = 0;
  std::memcpy(&bits, static_cast<const void*>(&value), sizeof value);
  return bits;
}

template <class T>
T from_bits(std::uint64_t bits) {
  T value;
  std::memcpy(static_cast<void*>(&value), &bits, sizeof value);
  return value;
}

template <class T>
T shuffle(Shuffle kind, unsigned mask, T value, int argument, int width, Loc where) {
  return from_bits<T>(warp_shuffle(kind, mask, to_bits(value), argument, width, where));
}

}  // namespace graft::simt

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, SIMT_SITE) {
  return graft::simt::shuffle(graft::simt::Shuffle::index, mask, value, source, width, SIMT_LOC);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_SITE) {
  return graft::simt::shuffle(graft::simt::Shuffle::up, mask, value, static_cast<int>(delta), width, SIMT_LOC);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_SITE) {
  return graft::simt::shuffle(graft::simt::Shuffle::down, mask, value, static_cast<int>(delta), width, SIMT_LOC);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, SIMT_SITE) {
  return graft::simt::shuffle(graft::simt::Shuffle::exclusive_or, mask, value, lanes, width, SIMT_LOC);
}

// --- votes, matches, reductions -------------------------------------------------------------------------------------

inline unsigned __ballot_sync(unsigned mask, int predicate, SIMT_SITE) {
  return graft::simt::warp_ballot(mask, predicate, SIMT_LOC, "__ballot_sync");
}
inline int __any_sync(unsigned mask, int predicate, SIMT_SITE) {
  return graft::simt::warp_ballot(mask, predicate, SIMT_LOC, "__any_sync") != 0;
}
inline int __all_sync(unsigned mask, int predicate, SIMT_SITE) {
  return graft::simt::warp_ballot(mask, predicate, SIMT_LOC, "__all_sync") == mask;
}

template <class T>
unsigned __match_any_sync(unsigned mask, T value, SIMT_SITE) {
  return graft::simt::warp_match(mask, graft::simt::to_bits(value), SIMT_LOC, "__match_any_sync");
}
template <class T>
unsigned __match_all_sync(unsigned mask, T value, int* all_equal, SIMT_SITE) {
  *all_equal = graft::simt::warp_match(mask, graft::simt::to_bits(value), SIMT_LOC, "__match_all_sync") == mask;
  return *all_equal ? mask : 0u;
}

inline unsigned __reduce_add_sync(unsigned mask, unsigned value, SIMT_SITE) {
  return graft::simt::warp_reduction(graft::simt::Reduction::add, mask, value, SIMT_LOC);
}
inline unsigned __reduce_min_sync(unsigned mask, unsigned value, SIMT_SITE) {
  return graft::simt::warp_reduction(graft::simt::Reduction::minimum, mask, value, SIMT_LOC);
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned value, SIMT_SITE) {
  return graft::simt::warp_reduction(graft::simt::Reduction::maximum, mask, value, SIMT_LOC);
}
inline int __reduce_add_sync(unsigned mask, int value, SIMT_SITE) {
  return static_cast<int>(
      graft::simt::warp_reduction(graft::simt::Reduction::add, mask, static_cast<unsigned>(value), SIMT_LOC));
}
inline int __reduce_min_sync(unsigned mask, int value, SIMT_SITE) {
  return static_cast<int>(graft::simt::warp_reduction(graft::simt::Reduction::minimum_signed, mask,
                                                      static_cast<unsigned>(value), SIMT_LOC));
}
inline int __reduce_max_sync(unsigned mask, int value, SIMT_SITE) {
  return static_cast<int>(graft::simt::warp_reduction(graft::simt::Reduction::maximum_signed, mask,
                                                      static_cast<unsigned>(value), SIMT_LOC));
}
inline unsigned __reduce_and_sync(unsigned mask, unsigned value, SIMT_SITE) {
  return graft::simt::warp_reduction(graft::simt::Reduction::bit_and, mask, value, SIMT_LOC);
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned value, SIMT_SITE) {
  return graft::simt::warp_reduction(graft::simt::Reduction::bit_or, mask, value, SIMT_LOC);
}
inline unsigned __reduce_xor_sync(unsigned mask, unsigned value, SIMT_SITE) {
  return graft::simt::warp_reduction(graft::simt::Reduction::bit_xor, mask, value, SIMT_LOC);
}

// --- loads and stores with a caching hint, addresses ----------------------------------------------------------------

// clang-format off
template <class T> T __ldg(const T* p) { return *p; }
template <class T> T __ldca(const T* p) { return *p; }
template <class T> T __ldcg(const T* p) { return *p; }
template <class T> T __ldcs(const T* p) { return *p; }
template <class T> T __ldcv(const T* p) { return *p; }
template <class T> T __ldlu(const T* p) { return *p; }
template <class T> void __stcg(T* p, std::type_identity_t<T> value) { *p = value; }
template <class T> void __stcs(T* p, std::type_identity_t<T> value) { *p = value; }
template <class T> void __stwb(T* p, std::type_identity_t<T> value) { *p = value; }
template <class T> void __stwt(T* p, std::type_identity_t<T> value) { *p = value; }
// clang-format on

inline std::size_t __cvta_generic_to_shared(const void* p) { return graft::simt::shared_address(p); }
inline long long clock64() { return static_cast<long long>(graft::simt::stats().switches); }
