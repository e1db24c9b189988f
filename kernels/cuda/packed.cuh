// A run of elements in registers, which moves in accesses of 16 bytes at most.
#pragma once

#include <initializer_list>
#include <type_traits>

#include <graft/kernels/cuda/common.cuh>

namespace graft::kernels::cuda {

/// N neighbouring elements: N = 8 of float moves with two accesses, N = 8 of bf16 with one.
template <class T, int N>
struct Packed {
  static constexpr int kBytes = N * static_cast<int>(sizeof(T));
  static constexpr int kPiece = kBytes <= 16 ? N : 16 / static_cast<int>(sizeof(T));  // elements of one access
  T at[N];
};

/// The alignment that load and store of N elements of T need, in bytes.
template <class T, int N>
inline constexpr std::size_t kPackedAlignment = sizeof(Vector<T, Packed<T, N>::kPiece>);

template <int N, class T>
GRAFT_DEVICE Packed<T, N> load(const T* p) {
  constexpr int piece = Packed<T, N>::kPiece;
  const auto* from = reinterpret_cast<const Vector<T, piece>*>(p);
  Packed<T, N> value;
  GRAFT_UNROLL
  for (int i = 0; i < N / piece; ++i) {
    const Vector<T, piece> part = from[i];
    GRAFT_UNROLL
    for (int j = 0; j < piece; ++j) value.at[i * piece + j] = part.at[j];
  }
  return value;
}

template <int N, class T>
GRAFT_DEVICE void store(T* p, const Packed<T, N>& value) {
  constexpr int piece = Packed<T, N>::kPiece;
  GRAFT_UNROLL
  for (int i = 0; i < N / piece; ++i) {
    Vector<T, piece> part;
    GRAFT_UNROLL
    for (int j = 0; j < piece; ++j) part.at[j] = value.at[i * piece + j];
    store_vector(p + i * piece, part);
  }
}

/// Whether every pointer (null ones aside) stands at a multiple of 16 bytes.
inline bool all_aligned(std::initializer_list<const void*> pointers) {
  return std::all_of(pointers.begin(), pointers.end(), [](const void* p) { return is_aligned(p, 16); });
}

/// Calls f with the vector length of T as a constant where `vectors` holds, else with 1.
template <class T, class F>
void visit_width(bool vectors, F&& f) {
  if (vectors)
    f(std::integral_constant<int, kVectorLength<T>>{});
  else
    f(std::integral_constant<int, 1>{});
}

}  // namespace graft::kernels::cuda
