// Atomic operations: on 2, 4 and 8 bytes, of every type that CUDA has them for. Each returns the value before.
#pragma once

#include <graft/kernels/simt/device_calls.h>

#include <cstring>
#include <type_traits>

namespace graft::simt {

template <class T, class Change>
T atomic_change(T* p, Change change, bool between_blocks, Loc where) {
  static_assert((sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8) && std::is_trivially_copyable_v<T>);
  std::uint64_t bits = atomic_load(p, sizeof(T), between_blocks, where);
  T old;
  std::memcpy(static_cast<void*>(&old), &bits, sizeof old);
  const T changed = change(old);
  std::memcpy(&bits, static_cast<const void*>(&changed), sizeof changed);
  atomic_store(p, sizeof(T), bits);
  return old;
}

}  // namespace graft::simt

// The scopes differ only in what the checker is told: one of the block orders no other blocks.
#define GRAFT_SIMT_ATOMIC(name, between_blocks, changed)                         \
  template <class T>                                                             \
  T name(T* p, std::type_identity_t<T> value, SIMT_SITE) {                       \
    return ::graft::simt::atomic_change(                                         \
        p, [value](T old) -> T { return (changed); }, between_blocks, SIMT_LOC); \
  }
#define GRAFT_SIMT_ATOMIC_SCOPES(name, changed)  \
  GRAFT_SIMT_ATOMIC(name, true, changed)         \
  GRAFT_SIMT_ATOMIC(name##_block, false, changed) \
  GRAFT_SIMT_ATOMIC(name##_system, true, changed)

GRAFT_SIMT_ATOMIC_SCOPES(atomicAdd, static_cast<T>(old + value))
GRAFT_SIMT_ATOMIC_SCOPES(atomicSub, static_cast<T>(old - value))
GRAFT_SIMT_ATOMIC_SCOPES(atomicExch, (static_cast<void>(old), value))
GRAFT_SIMT_ATOMIC_SCOPES(atomicMin, value < old ? value : old)
GRAFT_SIMT_ATOMIC_SCOPES(atomicMax, old < value ? value : old)
GRAFT_SIMT_ATOMIC_SCOPES(atomicAnd, old& value)
GRAFT_SIMT_ATOMIC_SCOPES(atomicOr, old | value)
GRAFT_SIMT_ATOMIC_SCOPES(atomicXor, old ^ value)
GRAFT_SIMT_ATOMIC_SCOPES(atomicInc, old >= value ? T{0} : old + 1)
GRAFT_SIMT_ATOMIC_SCOPES(atomicDec, old == 0 || old > value ? value : old - 1)

#undef GRAFT_SIMT_ATOMIC_SCOPES
#undef GRAFT_SIMT_ATOMIC

#define GRAFT_SIMT_CAS(name, between_blocks)                                                                   \
  template <class T>                                                                                           \
  T name(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> value, SIMT_SITE) {                   \
    return ::graft::simt::atomic_change(                                                                       \
        p, [&](T old) { return std::memcmp(&old, &expected, sizeof old) == 0 ? value : old; }, between_blocks, \
        SIMT_LOC);                                                                                             \
  }
GRAFT_SIMT_CAS(atomicCAS, true)
GRAFT_SIMT_CAS(atomicCAS_block, false)
GRAFT_SIMT_CAS(atomicCAS_system, true)
#undef GRAFT_SIMT_CAS
