#include <graft/core/data/augment.h>

#include <algorithm>
#include <cmath>

namespace graft::data {
namespace {

void check_amount(const char* what, double amount, double below) {
  check(std::isfinite(amount) && amount >= 0 && amount < below, "AffineAugment: ", what, " is ", amount,
        ", expected at least 0 and less than ", below);
}

}  // namespace

void AffineAugment::validate() const {
  check_amount("rotation", rotation, 6.3);
  check_amount("scale", scale, 1);  // a factor of 0 has no inverse
  check_amount("shear", shear, 10);
  check_amount("shift", shift, 1e6);
}

Tensor affine_matrices(const AffineAugment& augment, std::uint64_t seed, std::uint64_t epoch,
                       const std::vector<std::int64_t>& positions) {
  augment.validate();
  const auto n = static_cast<std::int64_t>(positions.size());
  Tensor theta = Tensor::empty({n, 2, 3});
  if (n == 0) return theta;
  float* row = theta.data<float>();
  const std::uint64_t stream = kernels::augment_seed(seed, epoch);
  for (const std::int64_t position : positions) {
    const auto map = kernels::affine_row(
        augment.amounts(), stream, static_cast<std::uint64_t>(position), [](double a) { return std::cos(a); },
        [](double a) { return std::sin(a); });
    row = std::copy(map.begin(), map.end(), row);
  }
  return theta;
}

}  // namespace graft::data
