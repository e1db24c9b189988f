// How one kernel walks several tensors of a shape at once: dimensions sorted and merged on the host, offsets found on
// the device by multiplying instead of dividing. No CUDA header: tests read the plans.
//
// 1. collapse: drops dimensions of size 1, puts the rest in the order of the first operand's memory (innermost first)
// and
//    merges neighbours that every operand steps through as if they were one. Tensors that are dense in one and the same
//    order become one dimension, whatever that order is.
// 2. vector_fits: may a thread move V elements of the innermost dimension at once?
// 3. for_each_launch: cuts what has 2^31 elements or more into launches of fewer, so that element numbers are 32-bit.
//    Offsets are 64-bit throughout.
// 4. Walk: the kernel's parameter. Item i is a vector of V elements of the innermost dimension; locate(i) gives its
//    offset in every operand.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <numeric>

#include <graft/kernels/api/tensor_ref.h>

namespace graft::kernels::cuda {

/// Division of numbers below 2^31 by a fixed divisor of 1 to 2^31 - 1: a multiplication and a shift (Granlund and
/// Montgomery, 1994).
class Divider {
 public:
  constexpr Divider() = default;
  constexpr explicit Divider(std::uint32_t divisor) : divisor_(divisor) {
    while ((std::uint64_t{1} << shift_) < divisor) ++shift_;
    magic_ =
        static_cast<std::uint32_t>(((std::uint64_t{1} << 32) * ((std::uint64_t{1} << shift_) - divisor)) / divisor + 1);
  }

  constexpr std::uint32_t divisor() const { return divisor_; }
  constexpr std::uint32_t quotient(std::uint32_t n) const {
    const auto high = static_cast<std::uint32_t>((std::uint64_t{n} * magic_) >> 32);
    return (high + n) >> shift_;  // high <= n < 2^31: no carry is lost
  }

 private:
  std::uint32_t divisor_ = 1, magic_ = 1, shift_ = 0;
};

/// The dimensions of N operands together, innermost first; at least one. Strides and offsets are in elements.
template <int N>
struct Dims {
  int rank = 0;
  std::array<std::int64_t, kMaxRank> sizes{};
  std::array<std::array<std::int64_t, N>, kMaxRank> strides{};  // [dimension][operand]
  std::array<std::int64_t, N> first{};                          // the offset of element 0

  std::int64_t numel() const {
    std::int64_t n = 1;
    for (int d = 0; d < rank; ++d) n *= sizes[static_cast<std::size_t>(d)];
    return n;
  }
};

/// See the head of the file. The operands' strides belong to `shape`; operand 0 decides the order (equal strides of it:
/// operand 1, and so on). Dimensions with negative strides are ordered by their magnitude.
template <int N>
Dims<N> collapse(const Shape& shape, const std::array<Shape, N>& strides) {
  std::array<int, kMaxRank> order{};
  int rank = 0;
  for (int d = shape.rank() - 1; d >= 0; --d)
    if (shape[d] != 1) order[static_cast<std::size_t>(rank++)] = d;
  std::stable_sort(order.begin(), order.begin() + rank, [&](int a, int b) {
    for (const Shape& s : strides)
      if (std::abs(s[a]) != std::abs(s[b])) return std::abs(s[a]) < std::abs(s[b]);
    return false;
  });

  Dims<N> dims;
  for (int k = 0; k < rank; ++k) {
    const int d = order[static_cast<std::size_t>(k)];
    const auto inner = static_cast<std::size_t>(std::max(dims.rank - 1, 0));
    bool together = dims.rank > 0;
    for (std::size_t i = 0; i < N; ++i) together &= strides[i][d] == dims.strides[inner][i] * dims.sizes[inner];
    if (together) {
      dims.sizes[inner] *= shape[d];
      continue;
    }
    const auto next = static_cast<std::size_t>(dims.rank++);
    dims.sizes[next] = shape[d];
    for (std::size_t i = 0; i < N; ++i) dims.strides[next][i] = strides[i][d];
  }
  if (dims.rank == 0) {  // one element
    dims.rank = 1;
    dims.sizes[0] = 1;
    dims.strides[0].fill(1);
  }
  return dims;
}

/// One dimension of `count` elements, dense in every operand.
template <int N>
Dims<N> dense_dims(std::int64_t count) {
  Dims<N> dims;
  dims.rank = 1;
  dims.sizes[0] = count;
  dims.strides[0].fill(1);
  return dims;
}

/// True where every vector of `length` elements along the innermost dimension is one aligned access: the operand steps
/// by 1 there, and its address and other strides are multiples of the vector. An operand that does not move along the
/// innermost dimension (stride 0) is no hindrance, except the first, which is written.
template <int N>
bool vector_fits(const Dims<N>& dims, int length, const std::array<const void*, N>& data,
                 const std::array<std::size_t, N>& element_bytes) {
  if (dims.sizes[0] < length) return false;
  for (std::size_t i = 0; i < N; ++i) {
    const std::int64_t step = dims.strides[0][i];
    if (i > 0 && step == 0) continue;
    if (step != 1) return false;
    if (reinterpret_cast<std::uintptr_t>(data[i]) % (static_cast<std::size_t>(length) * element_bytes[i]) != 0)
      return false;
    if (dims.first[i] % length != 0) return false;
    for (int d = 1; d < dims.rank; ++d)
      if (dims.strides[static_cast<std::size_t>(d)][i] % length != 0) return false;
  }
  return true;
}

/// Elements a launch has at most.
inline constexpr std::int64_t kLaunchElements = (std::int64_t{1} << 31) - 1;

/// Calls f(dims) for pieces of at most `limit` elements each; nothing for an empty tensor. Pieces of one dimension
/// begin at multiples of 64 elements, so that vectors stay aligned.
template <int N, class F>
void for_each_launch(Dims<N> dims, F&& f, std::int64_t limit = kLaunchElements) {
  const std::int64_t count = dims.numel();
  if (count == 0) return;
  while (dims.rank > 1 && dims.sizes[static_cast<std::size_t>(dims.rank - 1)] == 1) --dims.rank;
  if (count <= limit) return f(dims);
  const auto outer = static_cast<std::size_t>(dims.rank - 1);
  std::int64_t half = (dims.sizes[outer] + 1) / 2;
  if (outer == 0) half = std::min((half + 63) / 64 * 64, dims.sizes[0] - 1);
  Dims<N> rest = dims;
  dims.sizes[outer] = half;
  rest.sizes[outer] -= half;
  for (std::size_t i = 0; i < N; ++i) rest.first[i] += half * dims.strides[outer][i];
  for_each_launch(dims, f, limit);
  for_each_launch(rest, f, limit);
}

/// Where an item lies: its offset in every operand, and how many elements its row has from there on.
template <int N>
struct Place {
  std::int64_t offset[N];
  std::uint32_t left;
};

/// The parameter of a kernel that walks `dims` in items of V elements of the innermost dimension.
template <int N>
struct Walk {
  std::uint32_t items = 0;  // below 2^31
  std::uint32_t inner = 1;  // elements of the innermost dimension
  std::int32_t outer = 0;   // dimensions besides
  Divider row;              // by the items of a row
  Divider sizes[kMaxRank - 1];
  std::int64_t strides[kMaxRank - 1][N] = {};
  std::int64_t step[N] = {};  // strides of the innermost dimension
  std::int64_t first[N] = {};

  Walk() = default;
  Walk(const Dims<N>& dims, int length) {
    inner = static_cast<std::uint32_t>(dims.sizes[0]);
    outer = dims.rank - 1;
    const std::int64_t row_items = (dims.sizes[0] + length - 1) / length;
    items = static_cast<std::uint32_t>(dims.numel() / dims.sizes[0] * row_items);
    row = Divider(static_cast<std::uint32_t>(row_items));
    for (int d = 1; d < dims.rank; ++d) {
      const auto from = static_cast<std::size_t>(d);
      sizes[d - 1] = Divider(static_cast<std::uint32_t>(dims.sizes[from]));
      for (std::size_t i = 0; i < N; ++i) strides[d - 1][i] = dims.strides[from][i];
    }
    for (std::size_t i = 0; i < N; ++i) {
      step[i] = dims.strides[0][i];
      first[i] = dims.first[i];
    }
  }

  template <int V>
  constexpr Place<N> locate(std::uint32_t item) const {
    Place<N> place{};
    std::uint32_t rest = outer > 0 ? row.quotient(item) : 0;
    const std::uint32_t column = (item - rest * row.divisor()) * V;
    place.left = inner - column;
    for (int i = 0; i < N; ++i) place.offset[i] = first[i] + static_cast<std::int64_t>(column) * step[i];
    for (int d = 0; d < outer; ++d) {
      const std::uint32_t next = d + 1 < outer ? sizes[d].quotient(rest) : 0;
      const std::uint32_t position = rest - next * sizes[d].divisor();
      for (int i = 0; i < N; ++i) place.offset[i] += static_cast<std::int64_t>(position) * strides[d][i];
      rest = next;
    }
    return place;
  }
};

}  // namespace graft::kernels::cuda
