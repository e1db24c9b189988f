// Kernels over the rows of a contiguous (rows, n) tensor, whose row lies in registers.
//
// `Lanes` threads share a row: a warp (four rows a block) or a whole block. Each holds E elements as E / V vectors of V
// neighbours, and vector i of lane l begins at column (i Lanes + l) V, so that lanes side by side touch memory side by
// side. V is the vector of 16 bytes where every row begins at a multiple of 16 bytes, else 1.
#pragma once

#include <initializer_list>

#include <graft/kernels/cuda/common.cuh>

namespace graft::kernels::cuda {

template <int Lanes>
inline constexpr int kRowsPerBlock = Lanes == kWarp ? 4 : 1;
template <int Lanes>
inline constexpr int kRowThreads = Lanes* kRowsPerBlock<Lanes>;

/// The row of this thread; a kernel with fewer blocks than rows goes on in steps of row_step.
template <int Lanes>
GRAFT_DEVICE std::int64_t row_of_thread() {
  return static_cast<std::int64_t>(blockIdx.x) * kRowsPerBlock<Lanes> + threadIdx.x / Lanes;
}
template <int Lanes>
GRAFT_DEVICE std::int64_t row_step() {
  return static_cast<std::int64_t>(gridDim.x) * kRowsPerBlock<Lanes>;
}

/// The column of vector i of this thread.
template <int Lanes, int V>
GRAFT_DEVICE int vector_column(int i) {
  return (i * Lanes + static_cast<int>(threadIdx.x) % Lanes) * V;
}

template <int V, class T>
GRAFT_DEVICE Vector<T, V> load_vector(const T* p) {
  return *reinterpret_cast<const Vector<T, V>*>(p);
}

/// This thread's elements of a row of n (at most E Lanes, and a multiple of V); `otherwise` beyond its end.
template <int Lanes, int V, int E, class T>
GRAFT_DEVICE void load_row(const T* row, int n, Compute<T> otherwise, Compute<T> (&value)[E]) {
  static_assert(E % V == 0);
  GRAFT_UNROLL
  for (int i = 0; i < E / V; ++i) {
    const int column = vector_column<Lanes, V>(i);
    if (column < n) {
      const Vector<T, V> loaded = load_vector<V>(row + column);
      GRAFT_UNROLL
      for (int j = 0; j < V; ++j) value[i * V + j] = widen(loaded.at[j]);
    } else {
      GRAFT_UNROLL
      for (int j = 0; j < V; ++j) value[i * V + j] = otherwise;
    }
  }
}

/// The inverse.
template <int Lanes, int V, int E, class T>
GRAFT_DEVICE void store_row(T* row, int n, const Compute<T> (&value)[E]) {
  GRAFT_UNROLL
  for (int i = 0; i < E / V; ++i) {
    const int column = vector_column<Lanes, V>(i);
    if (column >= n) continue;
    Vector<T, V> stored;
    GRAFT_UNROLL
    for (int j = 0; j < V; ++j) stored.at[j] = narrow<T>(value[i * V + j]);
    store_vector<V>(row + column, stored);
  }
}

/// Columns of a long row that its threads take in one go, E each, and how many of them there are from column `base` on.
template <int Lanes, int E>
GRAFT_DEVICE int stretch(std::int64_t base, std::int64_t n) {
  return static_cast<int>(n - base < Lanes * E ? n - base : Lanes * E);
}

/// `combine` over the threads of a row, in a fixed order; all of them get the result.
template <int Lanes, class C, class Combine>
GRAFT_DEVICE C row_reduce(C value, C* scratch, Combine combine) {
  if constexpr (Lanes == kWarp)
    return warp_reduce(value, combine);
  else
    return block_reduce<Lanes>(value, scratch, combine);
}

// --- the host's side ------------------------------------------------------------------------------------------------

template <int Value>
using Constant = std::integral_constant<int, Value>;

/// Whether vectors of 16 bytes may be used in all rows of n elements of all of these tensors (undefined ones allow it).
template <class T>
bool rows_allow_vectors(std::int64_t n, std::initializer_list<const void*> tensors) {
  bool aligned = n % kVectorLength<T> == 0;
  for (const void* tensor : tensors) aligned = aligned && is_aligned(tensor, 16);
  return aligned;
}

/// Calls f(Constant<V>) with the 16-byte vector's length or 1.
template <class T, class F>
void visit_width(bool vectors, F&& f) {
  if (vectors)
    f(Constant<kVectorLength<T>>{});
  else
    f(Constant<1>{});
}

/// Elements that a thread takes in one go of a row that does not fit the registers.
template <class T, int V>
inline constexpr int kStretch = V == 1           ? 4
                                : sizeof(T) == 2 ? 16
                                                 : 8;

/// Calls f(Constant<Lanes>, Constant<E>) with the fewest registers that hold a row of n, or `wide()` when none do.
/// Where elements move one by one a thread has fewer of them: each needs a test and most an address of its own.
template <class T, int V, class F, class Wide>
void visit_row_size(std::int64_t n, F&& f, Wide&& wide) {
  constexpr int least = V > 4 ? V : 4;
  if (n <= kWarp * least) return f(Constant<kWarp>{}, Constant<least>{});
  if constexpr (sizeof(T) == 8) {
    if (n <= 256 * 8) return f(Constant<256>{}, Constant<8>{});
  } else if constexpr (V == 1) {
    if (n <= kWarp * 8) return f(Constant<kWarp>{}, Constant<8>{});
    if (n <= 256 * 8) return f(Constant<256>{}, Constant<8>{});
  } else {
    if (n <= kWarp * 32) return f(Constant<kWarp>{}, Constant<32>{});
    if (n <= 256 * 16) return f(Constant<256>{}, Constant<16>{});
    if (n <= 512 * 16) return f(Constant<512>{}, Constant<16>{});
  }
  wide();
}

/// Blocks for `rows` rows, one a row_of_thread.
template <int Lanes>
dim3 row_blocks(std::int64_t rows) {
  return dim3(blocks_for(rows, kRowsPerBlock<Lanes>));
}

}  // namespace graft::kernels::cuda
