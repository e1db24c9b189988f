// Sums for mean and variance, without a loss of digits to a large mean: deviations are counted from a shift that is one
// of the values.
#pragma once

#include <graft/kernels/cuda/columns.cuh>

namespace graft::kernels::cuda {

/// `value` where it is finite, else 0: what deviations may be taken from, so that an infinite value stays infinite.
template <class C>
GRAFT_DEVICE C finite_or_zero(C value) {
  return value - value == 0 ? value : C(0);
}

/// Sums of d and d^2 over `count` values, with d counted from `shift`, as they are with d counted from `from`.
GRAFT_DEVICE Sums sums_from(double from, double shift, double count, double sum, double squares) {
  const double by = shift - from;
  return {sum + count * by, squares + by * (2 * sum + count * by)};
}

/// The sum of squared deviations from the mean, from Sums of `count` deviations. With the shift one of the values,
/// sum d^2 is at most count + 1 times the result (where that value is far from all others; as a rule a few times): the
/// subtraction makes roundings of the sums, in double, at most so much larger.
GRAFT_DEVICE double squared_deviations(const Sums& sums, double count) {
  const double m2 = sums.second - sums.first * (sums.first / count);
  return m2 < 0 ? 0 : m2;
}

}  // namespace graft::kernels::cuda
