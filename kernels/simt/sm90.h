#pragma once
#include <graft/kernels/simt/sm80.h>
namespace graft::kernels::cuda {
struct alignas(64) TensorMap { const char* base; uint64_t dim[2]; uint64_t pitch; uint32_t box[2]; int elem, swizzle; };   // dim[0] innermost
inline TensorMap make_tensor_map_2d(const void* p, int elem, uint64_t d0, uint64_t d1, uint64_t pitch, uint32_t b0, uint32_t b1, int swizzle) { return {(const char*)p, {d0, d1}, pitch, {b0, b1}, elem, swizzle}; }
}
namespace graft::kernels::cuda::arch {
inline uint32_t swz(uint32_t a, int s) { return s == 128 ? a ^ ((a >> 7 & 7) << 4) : a; }
inline void mbarrier_init(uint64_t* b, int n) { graft::simt::mbar_init(b, n); }
inline void mbarrier_arrive(uint64_t* b) { graft::simt::mbar_arrive(b, 0, true); }
inline void mbarrier_arrive_expect_tx(uint64_t* b, int bytes) { graft::simt::mbar_arrive(b, bytes, true); }
inline void mbarrier_wait(uint64_t* b, int parity, SIMT_SITE) { while (!graft::simt::mbar_test(b, parity)) graft::simt::yield_spin(SIMT_LOC, "mbarrier_wait"); }
inline void fence_async_proxy() {}
inline void fence_mbarrier_init() {}
inline void tma_load_2d(void* dst, const TensorMap* tm, int c0, int c1, uint64_t* bar) {
  TensorMap t = *tm; char* d = (char*)dst; uint32_t a0 = graft::simt::shared_addr(dst);
  if (a0 % (t.swizzle ? 1024 : 128)) graft::simt::device_fail("TMA destination misaligned");
  graft::simt::bulk_copy(bar, t.box[0] * t.box[1] * t.elem, [=] {
    for (uint32_t y = 0; y < t.box[1]; ++y) for (uint32_t x = 0; x < t.box[0]; ++x) {
      int64_t gx = (int64_t)c0 + x, gy = (int64_t)c1 + y; uint32_t o = swz(a0 + (y * t.box[0] + x) * t.elem, t.swizzle) - a0;
      if (gx >= 0 && gy >= 0 && gx < (int64_t)t.dim[0] && gy < (int64_t)t.dim[1]) std::memcpy(d + o, t.base + gy * t.pitch + gx * t.elem, t.elem);
      else std::memset(d + o, 0, t.elem);   // out of bounds reads as zero
    }});
}
struct SmemDesc { uint64_t v; };
inline SmemDesc smem_desc_sw128(const void* p) { return {(uint64_t)(shared_address(p) >> 4 & 0x3fff) | 64ull << 32 | 1ull << 62}; }   // SBO=1024
inline SmemDesc desc_add(SmemDesc d, int bytes) { return {d.v + (bytes >> 4)}; }
inline float sm_elem(SmemDesc d, int r, int k) {   // K-major, 128-byte swizzle
  uint32_t a = swz((uint32_t)(d.v & 0x3fff) * 16 + r / 8 * ((uint32_t)(d.v >> 32 & 0x3fff) * 16) + r % 8 * 128 + k * 2, 128);
  return half_bits<__nv_bfloat16>(*(const uint16_t*)graft::simt::shared_ptr32(a));
}
template <int N> inline void wgmma_m64k16_bf16(float (&d)[N / 2], SmemDesc a, SmemDesc b, int scale_d) {
  int t = threadIdx.x % 128, g = t / 32 * 16 + t % 32 / 4, c = t % 4 * 2; float* p = d;
  graft::simt::async_issue([=] { for (int j = 0; j < N / 8; ++j) for (int e = 0; e < 4; ++e) {
    float s = scale_d ? p[j * 4 + e] : 0.f; for (int k = 0; k < 16; ++k) s += sm_elem(a, g + e / 2 * 8, k) * sm_elem(b, j * 8 + c + e % 2, k); p[j * 4 + e] = s; } });
}
inline void wgmma_fence() {}
inline void wgmma_commit() { graft::simt::async_commit(); }
template <int K> inline void wgmma_wait() { graft::simt::async_wait(K); }
}
