// Division by what a whole launch divides by, as a multiplication, and what it is for: where a position of a picture
// lies.
#pragma once

#include <graft/kernels/cuda/common.cuh>

namespace graft::kernels::cuda {

/// n / d for n >= 0: below 2^31 as the high half of a product with ceil(2^(31 + ceil(log2 d)) / d) and a shift; beyond,
/// up to 2^52, by a reciprocal whose rounding is put right afterwards.
struct FastDivisor {
  std::uint32_t divisor = 1, magic = 0, shift = 0;
  double reciprocal = 1;

  FastDivisor() = default;
  /// 1 <= d < 2^31 (an empty tensor's 0 is taken as 1: nobody divides).
  explicit FastDivisor(std::int64_t d) : divisor(static_cast<std::uint32_t>(std::max<std::int64_t>(d, 1))) {
    reciprocal = 1.0 / divisor;
    if (divisor == 1) return;
    std::uint32_t bits = 1;
    while ((std::uint64_t{1} << bits) < divisor) ++bits;
    magic = static_cast<std::uint32_t>(((std::uint64_t{1} << (31 + bits)) + divisor - 1) / divisor);
    shift = bits - 1;
  }

  GRAFT_DEVICE int divide(int n) const {
    const auto value = static_cast<std::uint32_t>(n);
    return static_cast<int>(divisor == 1 ? value : __umulhi(value, magic) >> shift);
  }
  GRAFT_DEVICE std::int64_t divide(std::int64_t n) const {
    if (n <= std::numeric_limits<std::int32_t>::max()) return divide(static_cast<int>(n));
    const auto quotient = static_cast<std::int64_t>(static_cast<double>(n) * reciprocal);  // within 1
    const std::int64_t rest = n - quotient * divisor;
    return rest < 0 ? quotient - 1 : rest >= divisor ? quotient + 1 : quotient;
  }
};

/// A position of a batch of pictures.
struct Position {
  std::int64_t n;
  int row, col;
};

/// Position `index` of pictures of `width` columns, whose plane has by_plane.divisor positions.
GRAFT_DEVICE Position position(std::int64_t index, const FastDivisor& by_plane, const FastDivisor& by_width) {
  const std::int64_t n = by_plane.divide(index);
  const int rest = static_cast<int>(index - n * by_plane.divisor);
  const int row = by_width.divide(rest);
  return {n, row, rest - row * static_cast<int>(by_width.divisor)};
}

/// Index `i` split into i / d and i % d.
struct Split {
  int quotient, rest;
};
GRAFT_DEVICE Split split(int i, const FastDivisor& by) {
  const int quotient = by.divide(i);
  return {quotient, i - quotient * static_cast<int>(by.divisor)};
}

}  // namespace graft::kernels::cuda
