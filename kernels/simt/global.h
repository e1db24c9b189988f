// The functions of arch/global.h on the host; what they do stands there. The assignments are the kernel's own code to
// the compiler, so that the checker sees them: alignment, bounds and races. They are of one whole object: a struct that the
// compiler holds in parts would be written in parts.
#pragma once

#include <graft/kernels/simt/device.h>

namespace graft::kernels::cuda::arch {

using SixteenBytes [[gnu::may_alias, gnu::vector_size(16)]] = long long;
using EightBytes [[gnu::may_alias, gnu::vector_size(8)]] = int;

template <class V>
[[gnu::always_inline]] inline void store16(void* to, const V& value, SIMT_SITE) {
  static_assert(sizeof(V) == 16 && alignof(V) == 16);
  graft::simt::require_global(to, "store16", SIMT_LOC);
  *static_cast<SixteenBytes*>(to) = reinterpret_cast<const SixteenBytes&>(value);
}
template <class V>
[[gnu::always_inline]] inline void store8(void* to, const V& value, SIMT_SITE) {
  static_assert(sizeof(V) == 8 && alignof(V) == 8);
  graft::simt::require_global(to, "store8", SIMT_LOC);
  *static_cast<EightBytes*>(to) = reinterpret_cast<const EightBytes&>(value);
}

}  // namespace graft::kernels::cuda::arch
