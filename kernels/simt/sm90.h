// The functions of arch/sm90.h on the host; what they do stands there.
#pragma once

#include <graft/kernels/simt/sm80.h>

namespace graft::kernels::cuda::arch {

inline unsigned cluster_rank() { return graft::simt::cluster_rank(); }
inline unsigned cluster_size() { return graft::simt::cluster_size(); }
inline void cluster_arrive(SIMT_SITE) { graft::simt::cluster_arrive(SIMT_LOC); }
inline void cluster_wait(SIMT_SITE) { graft::simt::cluster_wait(SIMT_LOC); }
inline void cluster_sync(SIMT_SITE) {
  graft::simt::cluster_arrive(SIMT_LOC);
  graft::simt::cluster_wait(SIMT_LOC);
}
template <class T>
T* cluster_map(T* p, unsigned rank, SIMT_SITE) {
  return static_cast<T*>(graft::simt::map_shared(p, rank, SIMT_LOC));
}

inline bool elect_one(SIMT_SITE) { return graft::simt::elect_one(SIMT_LOC); }
template <int Count>
void registers_up(SIMT_SITE) {
  graft::simt::set_register_count(Count, SIMT_LOC);
}
template <int Count>
void registers_down(SIMT_SITE) {
  graft::simt::set_register_count(Count, SIMT_LOC);
}

inline void mbarrier_init(std::uint64_t* barrier, unsigned arrivals, SIMT_SITE) {
  graft::simt::mbarrier_init(barrier, arrivals, SIMT_LOC);
}
inline void mbarrier_invalidate(std::uint64_t* barrier, SIMT_SITE) {
  graft::simt::mbarrier_invalidate(barrier, SIMT_LOC);
}
inline void mbarrier_arrive(std::uint64_t* barrier, SIMT_SITE) {
  graft::simt::mbarrier_arrive(barrier, 1, 0, SIMT_LOC);
}
inline void mbarrier_arrive_expect(std::uint64_t* barrier, unsigned bytes, SIMT_SITE) {
  graft::simt::mbarrier_arrive(barrier, 1, bytes, SIMT_LOC);
}
inline void mbarrier_expect(std::uint64_t* barrier, unsigned bytes, SIMT_SITE) {
  graft::simt::mbarrier_expect(barrier, bytes, SIMT_LOC);
}
inline void mbarrier_arrive_remote(std::uint64_t* barrier, unsigned rank, SIMT_SITE) {
  graft::simt::mbarrier_arrive_remote(barrier, rank, SIMT_LOC);
}
inline bool mbarrier_try_wait(std::uint64_t* barrier, unsigned parity, SIMT_SITE) {
  return graft::simt::mbarrier_test(barrier, parity, SIMT_LOC);
}
inline void mbarrier_wait(std::uint64_t* barrier, unsigned parity, SIMT_SITE) {
  graft::simt::mbarrier_wait(barrier, parity, SIMT_LOC);
}
inline void fence_mbarrier_init(SIMT_SITE) { graft::simt::fence_mbarrier_init(SIMT_LOC); }
inline void fence_proxy_async(SIMT_SITE) { graft::simt::fence_proxy_async(SIMT_LOC); }

template <int Rank>
graft::simt::TensorPlace tensor_place(const int (&at)[Rank]) {
  graft::simt::TensorPlace place{Rank, {}, false, {}};
  for (int d = 0; d < Rank; ++d) place.at[d] = at[d];
  return place;
}
template <int Rank, int Offsets>
graft::simt::TensorPlace tensor_place(const int (&at)[Rank], const unsigned short (&offset)[Offsets]) {
  static_assert(Rank == Offsets + 2, "an offset for each dimension but the channels and the images");
  graft::simt::TensorPlace place = tensor_place(at);
  place.im2col = true;
  for (int d = 0; d < Offsets; ++d) place.offset[d] = offset[d];
  return place;
}

inline void prefetch_tensor_map(const runtime::TensorMap* map, SIMT_SITE) {
  graft::simt::tensor_prefetch(map, SIMT_LOC);
}
template <int Rank>
void tma_load(void* to, const runtime::TensorMap* map, std::uint64_t* barrier, const int (&at)[Rank], SIMT_SITE) {
  graft::simt::tensor_load(to, map, barrier, tensor_place(at), 0, SIMT_LOC);
}
template <int Rank>
void tma_load_multicast(void* to, const runtime::TensorMap* map, std::uint64_t* barrier, std::uint16_t blocks,
                        const int (&at)[Rank], SIMT_SITE) {
  graft::simt::tensor_load(to, map, barrier, tensor_place(at), blocks, SIMT_LOC);
}
template <int Rank, int Offsets>
void tma_load_im2col(void* to, const runtime::TensorMap* map, std::uint64_t* barrier, const int (&at)[Rank],
                     const unsigned short (&offset)[Offsets], SIMT_SITE) {
  graft::simt::tensor_load(to, map, barrier, tensor_place(at, offset), 0, SIMT_LOC);
}
template <int Rank, int Offsets>
void tma_load_im2col_multicast(void* to, const runtime::TensorMap* map, std::uint64_t* barrier, std::uint16_t blocks,
                               const int (&at)[Rank], const unsigned short (&offset)[Offsets], SIMT_SITE) {
  graft::simt::tensor_load(to, map, barrier, tensor_place(at, offset), blocks, SIMT_LOC);
}
template <int Rank>
void tma_store(const runtime::TensorMap* map, const void* from, const int (&at)[Rank], SIMT_SITE) {
  graft::simt::tensor_store(map, from, tensor_place(at), SIMT_LOC);
}
inline void bulk_load(void* to, const void* from, unsigned bytes, std::uint64_t* barrier, SIMT_SITE) {
  graft::simt::bulk_load(to, from, bytes, barrier, SIMT_LOC);
}
inline void bulk_store(void* to, const void* from, unsigned bytes, SIMT_SITE) {
  graft::simt::bulk_store(to, from, bytes, SIMT_LOC);
}
inline void bulk_commit(SIMT_SITE) { graft::simt::bulk_commit(SIMT_LOC); }
template <int N>
void bulk_wait(SIMT_SITE) {
  graft::simt::bulk_wait(N, false, SIMT_LOC);
}
template <int N>
void bulk_wait_read(SIMT_SITE) {
  graft::simt::bulk_wait(N, true, SIMT_LOC);
}

struct Tf32;
template <class T>
constexpr graft::simt::MmaType wgmma_type() {
  if constexpr (std::is_same_v<T, Tf32>) return graft::simt::MmaType::tf32;
  return std::is_same_v<T, __nv_bfloat16> ? graft::simt::MmaType::bf16 : graft::simt::MmaType::f16;
}
template <class T, bool AColumns = false, bool BRows = false, int Sums>
void wgmma(float (&d)[Sums], std::uint64_t a, std::uint64_t b, bool accumulate, SIMT_SITE) {
  graft::simt::wgmma({wgmma_type<T>(), 2 * Sums, d, nullptr, a, b, AColumns, BRows, accumulate, SIMT_LOC});
}
template <class T, bool BRows = false, int Sums>
void wgmma(float (&d)[Sums], const std::uint32_t (&a)[4], std::uint64_t b, bool accumulate, SIMT_SITE) {
  graft::simt::wgmma({wgmma_type<T>(), 2 * Sums, d, a, 0, b, false, BRows, accumulate, SIMT_LOC});
}
inline void wgmma_fence(SIMT_SITE) { graft::simt::wgmma_fence(SIMT_LOC); }
inline void wgmma_commit(SIMT_SITE) { graft::simt::wgmma_commit(SIMT_LOC); }
template <int N>
void wgmma_wait(SIMT_SITE) {
  graft::simt::wgmma_wait(N, SIMT_LOC);
}
template <int Sums>
void wgmma_keep(float (&)[Sums]) {}

}  // namespace graft::kernels::cuda::arch
