// Conversion of an element to another dtype, by the rules of CopyArgs.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>

#include <graft/kernels/cuda/common.cuh>

namespace graft::kernels::cuda {

/// Toward zero; NaN becomes 0 and what does not fit the nearest end of the range.
template <class From>
constexpr std::int64_t truncate(From value) {
  if (value >= From(0x1p63)) return std::numeric_limits<std::int64_t>::max();
  if (value < -From(0x1p63)) return std::numeric_limits<std::int64_t>::min();
  return value == value ? static_cast<std::int64_t>(value) : 0;
}

/// Defined for every value: floats are truncated to i64 and that wraps into a shorter integer, as integers do among
/// themselves; to bool is value != 0; to a 16-bit float the value is rounded to float first. From: float, double, bool
/// or an integer (16-bit floats are widened by the caller).
template <class To, class From>
GRAFT_DEVICE To convert(From value) {
  if constexpr (std::is_same_v<To, bool>)
    return value != From(0);
  else if constexpr (is_half<To>)
    return narrow<To>(static_cast<float>(value));
  else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>)
    return static_cast<To>(truncate(value));
  else
    return static_cast<To>(value);
}

}  // namespace graft::kernels::cuda
