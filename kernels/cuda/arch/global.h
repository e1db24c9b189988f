// Stores to global memory of 8 and 16 bytes, each one instruction. Written as an assignment through a pointer to a
// vector, such a store is taken apart by nvcc, and where a branch beside it stores the same elements one by one it is
// never put together again. On the host the emulator's functions of the same names.
#pragma once

#include <bit>

#include <graft/kernels/cuda/launch.cuh>

#if GRAFT_EMULATED
#include <graft/kernels/simt/global.h>
#else

namespace graft::kernels::cuda::arch {

/// Writes the 16 bytes of `value` to global memory; `to` is a multiple of 16.
template <class V>
GRAFT_DEVICE void store16(void* to, const V& value) {
  static_assert(sizeof(V) == 16 && alignof(V) == 16);
  const auto bits = std::bit_cast<uint4>(value);
  asm volatile("st.global.v4.b32 [%0], {%1,%2,%3,%4};" ::"l"(__cvta_generic_to_global(to)), "r"(bits.x), "r"(bits.y),
               "r"(bits.z), "r"(bits.w)
               : "memory");
}
/// The same for 8 bytes.
template <class V>
GRAFT_DEVICE void store8(void* to, const V& value) {
  static_assert(sizeof(V) == 8 && alignof(V) == 8);
  const auto bits = std::bit_cast<uint2>(value);
  asm volatile("st.global.v2.b32 [%0], {%1,%2};" ::"l"(__cvta_generic_to_global(to)), "r"(bits.x), "r"(bits.y)
               : "memory");
}

}  // namespace graft::kernels::cuda::arch

#endif
