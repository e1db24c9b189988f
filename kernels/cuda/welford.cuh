// Mean and variance of parts of a sample, and how parts are merged (Chan, Golub and LeVeque, 1979; Welford, 1962).
#pragma once

#include <graft/kernels/cuda/common.cuh>

namespace graft::kernels::cuda {

/// `value` where it is finite, else 0: what deviations may be taken from, so that an infinite value stays infinite.
template <class C>
GRAFT_DEVICE C finite_or_zero(C value) {
  return value - value == 0 ? value : C(0);
}

/// Count, mean and sum of squared deviations from the mean.
struct Moments {
  double count, mean, m2;

  /// Of `n` values from the sums of their deviations d from `shift`. With shift one of the values, sum d^2 is at most
  /// n + 1 times m2: however large the mean, the subtraction costs no more than n + 1 epsilons.
  GRAFT_DEVICE static Moments of(std::int64_t n, double shift, double sum, double squares) {
    if (n == 0) return {0, 0, 0};
    const auto count = static_cast<double>(n);
    const double m2 = squares - sum * sum / count;
    return {count, shift + sum / count, m2 < 0 ? 0 : m2};
  }

  GRAFT_DEVICE void merge(const Moments& other) {
    if (other.count == 0) return;
    if (count == 0) {
      *this = other;
      return;
    }
    const double total = count + other.count, part = other.count / total, difference = other.mean - mean;
    m2 += other.m2 + difference * difference * count * part;
    mean = mean * (count / total) + other.mean * part;  // and not mean + difference part: infinity stays infinite
    count = total;
  }

  /// Of the lane `offset` further on.
  GRAFT_DEVICE Moments shuffled_down(int offset) const {
    return {__shfl_down_sync(kAllLanes, count, offset), __shfl_down_sync(kAllLanes, mean, offset),
            __shfl_down_sync(kAllLanes, m2, offset)};
  }
};

}  // namespace graft::kernels::cuda
