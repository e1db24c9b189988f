#pragma once
// Device-side API of the emulation (what nvcc predeclares in device code).
#include <cmath>
#include <cstring>
#include <type_traits>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <graft/kernels/simt/core.h>
#define SIMT_LOC ::graft::simt::Loc{__file, __line}
#define SIMT_SITE const char* __file = __builtin_FILE(), int __line = __builtin_LINE()
static constexpr int warpSize = 32;

inline void __syncthreads(SIMT_SITE) { graft::simt::block_barrier(0, 0, SIMT_LOC, "__syncthreads"); }
inline int __syncthreads_count(int p, SIMT_SITE) { return graft::simt::block_reduce_barrier(0, p, SIMT_LOC); }
inline int __syncthreads_and(int p, SIMT_SITE) { return graft::simt::block_reduce_barrier(1, p, SIMT_LOC); }
inline int __syncthreads_or(int p, SIMT_SITE) { return graft::simt::block_reduce_barrier(2, p, SIMT_LOC); }
inline void __syncwarp(unsigned m = 0xffffffffu, SIMT_SITE) { graft::simt::warp_collective(m, nullptr, nullptr, "__syncwarp", SIMT_LOC, true); }
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline void __nanosleep(unsigned, SIMT_SITE) { graft::simt::yield_spin(SIMT_LOC, "__nanosleep"); }
inline unsigned __activemask() { return 0xffffffffu; }  // do not use in kernels; kept for assertions only

namespace graft::simt {
template <class T> inline T shfl(int kind, unsigned m, T v, int a, int w, Loc l) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  uint64_t u = 0; std::memcpy(&u, &v, sizeof v); u = warp_shfl(kind, m, u, a, w, l); std::memcpy(&v, &u, sizeof v); return v;
}
}
template <class T> inline T __shfl_sync(unsigned m, T v, int src, int w = 32, SIMT_SITE) { return graft::simt::shfl(0, m, v, src, w, SIMT_LOC); }
template <class T> inline T __shfl_up_sync(unsigned m, T v, unsigned d, int w = 32, SIMT_SITE) { return graft::simt::shfl(1, m, v, (int)d, w, SIMT_LOC); }
template <class T> inline T __shfl_down_sync(unsigned m, T v, unsigned d, int w = 32, SIMT_SITE) { return graft::simt::shfl(2, m, v, (int)d, w, SIMT_LOC); }
template <class T> inline T __shfl_xor_sync(unsigned m, T v, int x, int w = 32, SIMT_SITE) { return graft::simt::shfl(3, m, v, x, w, SIMT_LOC); }
inline unsigned __ballot_sync(unsigned m, int p, SIMT_SITE) { return graft::simt::warp_vote(m, p, SIMT_LOC); }
inline int __any_sync(unsigned m, int p, SIMT_SITE) { return graft::simt::warp_vote(m, p, SIMT_LOC) != 0; }
inline int __all_sync(unsigned m, int p, SIMT_SITE) { return (graft::simt::warp_vote(m, p, SIMT_LOC) & m) == m; }

// ---- atomics: real atomics so that TSan treats them as such ----
namespace graft::simt {
template <class T, class F> inline T rmw(T* p, F f) {
  using U = std::conditional_t<sizeof(T) == 8, uint64_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint16_t>>;
  U o = __atomic_load_n((U*)p, __ATOMIC_RELAXED), n; T ov;
  do { std::memcpy(&ov, &o, sizeof o); T nv = f(ov); std::memcpy(&n, &nv, sizeof n); }
  while (!__atomic_compare_exchange_n((U*)p, &o, n, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return ov;
}
}
template <class T> inline T atomicAdd(T* p, std::type_identity_t<T> v) { return graft::simt::rmw(p, [=](T o) { return T(o + v); }); }
template <class T> inline T atomicSub(T* p, std::type_identity_t<T> v) { return graft::simt::rmw(p, [=](T o) { return T(o - v); }); }
template <class T> inline T atomicMax(T* p, std::type_identity_t<T> v) { return graft::simt::rmw(p, [=](T o) { return o > v ? o : v; }); }
template <class T> inline T atomicMin(T* p, std::type_identity_t<T> v) { return graft::simt::rmw(p, [=](T o) { return o < v ? o : v; }); }
template <class T> inline T atomicExch(T* p, std::type_identity_t<T> v) { return graft::simt::rmw(p, [=](T) { return v; }); }
template <class T> inline T atomicOr(T* p, std::type_identity_t<T> v) { return graft::simt::rmw(p, [=](T o) { return T(o | v); }); }
template <class T> inline T atomicAnd(T* p, std::type_identity_t<T> v) { return graft::simt::rmw(p, [=](T o) { return T(o & v); }); }
template <class T> inline T atomicCAS(T* p, std::type_identity_t<T> c, std::type_identity_t<T> v) { return graft::simt::rmw(p, [=](T o) { return o == c ? v : o; }); }

// ---- loads, bits, maths ----
template <class T> inline T __ldg(const T* p) { return *p; }
template <class T> inline T __ldcs(const T* p) { return *p; }
template <class T> inline void __stcs(T* p, T v) { *p = v; }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline int __float_as_int(float f) { int i; std::memcpy(&i, &f, 4); return i; }
inline unsigned __float_as_uint(float f) { unsigned i; std::memcpy(&i, &f, 4); return i; }
inline float __int_as_float(int i) { float f; std::memcpy(&f, &i, 4); return f; }
inline float __uint_as_float(unsigned i) { float f; std::memcpy(&f, &i, 4); return f; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((uint64_t)a * b) >> 32); }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
[[noreturn]] inline void __trap() { graft::simt::device_fail("__trap()"); }
