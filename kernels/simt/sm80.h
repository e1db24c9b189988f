#pragma once
#include <graft/kernels/simt/device.h>
#define SIMT_NOTSAN __attribute__((no_sanitize("thread")))   // reads other lanes' registers
namespace graft::kernels::cuda::arch {
inline uint32_t shared_address(const void* p) { return graft::simt::shared_addr(p); }
inline void cp_async16(void* d, const void* s, int n = 16, SIMT_SITE) { graft::simt::cp_async(d, s, 16, n, SIMT_LOC); }
inline void cp_async4(void* d, const void* s, int n = 4, SIMT_SITE) { graft::simt::cp_async(d, s, 4, n, SIMT_LOC); }
inline void cp_async_commit() { graft::simt::cp_async_commit(); }
template <int N> inline void cp_async_wait() { graft::simt::cp_async_wait(N); }
struct LdmArg { uint16_t row[8]; uint32_t r[4]; };
template <bool TRANS> SIMT_NOTSAN inline void ldm_combine(void** a, unsigned) {
  for (int l = 0; l < 32; ++l) for (int i = 0; i < 4; ++i) {
    int r0 = TRANS ? l % 4 * 2 : l / 4, c0 = TRANS ? l / 4 : l % 4 * 2;
    uint32_t lo = ((LdmArg*)a[i * 8 + r0])->row[c0];
    uint32_t hi = TRANS ? ((LdmArg*)a[i * 8 + r0 + 1])->row[c0] : ((LdmArg*)a[i * 8 + r0])->row[c0 + 1];
    ((LdmArg*)a[l])->r[i] = lo | hi << 16;
  }
}
template <bool TRANS> inline void ldm4(uint32_t (&r)[4], const void* row, graft::simt::Loc l) {
  if ((uintptr_t)row & 15) graft::simt::device_fail("ldmatrix: misaligned row at %s:%d", l.file, l.line);
  LdmArg a; for (int i = 0; i < 8; ++i) a.row[i] = ((const uint16_t*)row)[i];   // each lane reads its own row: ASan/TSan see it
  graft::simt::warp_collective(~0u, &a, ldm_combine<TRANS>, "ldmatrix", l, false);
  for (int i = 0; i < 4; ++i) r[i] = a.r[i];
}
inline void ldmatrix_x4(uint32_t (&r)[4], const void* row, SIMT_SITE) { ldm4<false>(r, row, SIMT_LOC); }
inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row, SIMT_SITE) { ldm4<true>(r, row, SIMT_LOC); }
struct MmaArg { float d[4]; uint32_t a[4], b[2]; };
template <class T> inline float half_bits(uint32_t u) { uint16_t h = (uint16_t)u; T t; std::memcpy(static_cast<void*>(&t), &h, 2); return (float)t; }
template <class T> SIMT_NOTSAN inline void mma_combine(void** p, unsigned) {
  float A[16][16], B[16][8];
  for (int l = 0; l < 32; ++l) {
    const MmaArg& x = *(const MmaArg*)p[l]; int g = l / 4, t = l % 4 * 2;
    for (int i = 0; i < 4; ++i) for (int h = 0; h < 2; ++h) A[g + (i & 1) * 8][t + h + (i >> 1) * 8] = half_bits<T>(x.a[i] >> (16 * h));
    for (int i = 0; i < 2; ++i) for (int h = 0; h < 2; ++h) B[t + h + i * 8][g] = half_bits<T>(x.b[i] >> (16 * h));
  }
  for (int l = 0; l < 32; ++l) {
    MmaArg& x = *(MmaArg*)p[l]; int g = l / 4, t = l % 4 * 2;
    for (int i = 0; i < 4; ++i) { float s = x.d[i]; for (int k = 0; k < 16; ++k) s += A[g + (i >> 1) * 8][k] * B[k][t + (i & 1)]; x.d[i] = s; }
  }
}
template <class T> inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, SIMT_SITE) {
  MmaArg m{{d[0], d[1], d[2], d[3]}, {a[0], a[1], a[2], a[3]}, {b0, b1}};
  graft::simt::warp_collective(~0u, &m, mma_combine<T>, "mma.sync", SIMT_LOC, false);
  for (int i = 0; i < 4; ++i) d[i] = m.d[i];
}
}
