// The functions of arch/sm80.h on the host; what they do stands there.
#pragma once

#include <graft/kernels/simt/device.h>

namespace graft::kernels::cuda::arch {

inline std::uint32_t shared_address(const void* p) { return graft::simt::shared_address(p); }

inline void cp_async16(void* to, const void* from, int source_bytes = 16, SIMT_SITE) {
  graft::simt::cp_async(to, from, 16, source_bytes, SIMT_LOC);
}
inline void cp_async4(void* to, const void* from, int source_bytes = 4, SIMT_SITE) {
  graft::simt::cp_async(to, from, 4, source_bytes, SIMT_LOC);
}
inline void cp_async_commit() { graft::simt::cp_async_commit(); }
template <int N>
void cp_async_wait(SIMT_SITE) {
  graft::simt::cp_async_wait(N, SIMT_LOC);
}

inline void ldmatrix_x1(std::uint32_t& r, const void* row, SIMT_SITE) {
  graft::simt::load_matrices(&r, 1, false, row, SIMT_LOC);
}
inline void ldmatrix_x1_trans(std::uint32_t& r, const void* row, SIMT_SITE) {
  graft::simt::load_matrices(&r, 1, true, row, SIMT_LOC);
}
inline void ldmatrix_x2(std::uint32_t (&r)[2], const void* row, SIMT_SITE) {
  graft::simt::load_matrices(r, 2, false, row, SIMT_LOC);
}
inline void ldmatrix_x2_trans(std::uint32_t (&r)[2], const void* row, SIMT_SITE) {
  graft::simt::load_matrices(r, 2, true, row, SIMT_LOC);
}
inline void ldmatrix_x4(std::uint32_t (&r)[4], const void* row, SIMT_SITE) {
  graft::simt::load_matrices(r, 4, false, row, SIMT_LOC);
}
inline void ldmatrix_x4_trans(std::uint32_t (&r)[4], const void* row, SIMT_SITE) {
  graft::simt::load_matrices(r, 4, true, row, SIMT_LOC);
}

template <class T>
void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1, SIMT_SITE) {
  const std::uint32_t b[2] = {b0, b1};
  const auto type = std::is_same_v<T, __nv_bfloat16> ? graft::simt::MmaType::bf16 : graft::simt::MmaType::f16;
  graft::simt::warp_mma(type, d, a, b, SIMT_LOC);
}
inline void mma_m16n8k8_tf32(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1,
                             SIMT_SITE) {
  const std::uint32_t b[2] = {b0, b1};
  graft::simt::warp_mma(graft::simt::MmaType::tf32, d, a, b, SIMT_LOC);
}
inline std::uint32_t to_tf32(float value) {  // to nearest, ties away from zero; NaN stays one
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7f800000u) == 0x7f800000u) return (bits & 0x007fffffu) != 0 ? 0x7fffe000u : bits;
  return (bits + 0x1000u) & 0xffffe000u;
}

inline void named_barrier_sync(int id, int threads, SIMT_SITE) {
  graft::simt::named_barrier(id, threads, true, SIMT_LOC);
}
inline void named_barrier_arrive(int id, int threads, SIMT_SITE) {
  graft::simt::named_barrier(id, threads, false, SIMT_LOC);
}

}  // namespace graft::kernels::cuda::arch
