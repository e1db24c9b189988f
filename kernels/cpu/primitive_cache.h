// The prepared primitives of a thread.
#pragma once

#include <memory>

#include <graft/kernels/cpu/dnnl_compat.h>
#include <graft/kernels/cpu/lru_cache.h>
#include <graft/kernels/runtime/of_thread.h>

namespace graft::kernels::cpu {

/// Primitives kept per thread and kind. A network has some dozens of geometries.
inline constexpr std::size_t kPrimitivesKept = 256;

template <class Spec>
using PrimitiveCache = LruCache<Spec, Primitive>;

template <class Spec>
PrimitiveCache<Spec>& primitives_of_thread(PrimitiveCache<Spec>*& mine) {
  return runtime::of_thread(mine, [] { return std::make_unique<PrimitiveCache<Spec>>(kPrimitivesKept); });
}

}  // namespace graft::kernels::cpu
