#include <graft/core/data/augment.h>

#include <cmath>

#include <graft/core/random.h>

namespace graft::data {
namespace {

constexpr std::uint64_t kAugmentStream = 0x61756767ull;  // keeps these draws apart from the loader's shuffling

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
  const Generator stream = Generator(seed).fork(kAugmentStream).fork(epoch);
  for (const std::int64_t position : positions) {
    Generator generator = stream.fork(static_cast<std::uint64_t>(position));
    const auto draw = [&](double half_width) { return half_width * (2 * generator.uniform() - 1); };
    const double angle = draw(augment.rotation);
    const double factor = 1 + draw(augment.scale);
    const double shear = draw(augment.shear);
    const double shift_x = draw(augment.shift);
    const double shift_y = draw(augment.shift);

    // The picture goes through p -> A p + shift with A = factor * R(angle) * (1 shear; 0 1). The warp looks the other
    // way, from the output to the input: q -> A^-1 (q - shift), where A^-1 = (1 -shear; 0 1) * R(-angle) / factor.
    const double c = std::cos(angle) / factor, s = std::sin(angle) / factor;
    const double a = c + shear * s, b = s - shear * c;
    row[0] = static_cast<float>(a);
    row[1] = static_cast<float>(b);
    row[2] = static_cast<float>(-(a * shift_x + b * shift_y));
    row[3] = static_cast<float>(-s);
    row[4] = static_cast<float>(c);
    row[5] = static_cast<float>(-(-s * shift_x + c * shift_y));
    row += 6;
  }
  return theta;
}

}  // namespace graft::data
