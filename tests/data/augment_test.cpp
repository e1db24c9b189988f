#include <graft/core/data/augment.h>

#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include <gtest/gtest.h>

#include "support/temporary_folder.h"

namespace graft::data {
namespace {

using Positions = std::vector<std::int64_t>;

Positions first(std::int64_t n) {
  Positions positions(static_cast<std::size_t>(n));
  std::iota(positions.begin(), positions.end(), std::int64_t{0});
  return positions;
}

/// What a row of theta does to the picture (theta is the inverse): p -> factor R(angle) (1 shear; 0 1) p + shift.
struct Move {
  double angle, factor, shear, shift_x, shift_y, stretch;
};

Move read_row(const float* t) {
  const double determinant = double{t[0]} * t[4] - double{t[1]} * t[3];
  const double a = t[4] / determinant, b = -t[1] / determinant, c = -t[3] / determinant, d = t[0] / determinant;
  const double angle = std::atan2(c, a), factor = std::hypot(a, c);
  // Undoing the rotation and the factor leaves (1 shear; 0 stretch), where stretch must be 1.
  const double shear = (std::cos(angle) * b + std::sin(angle) * d) / factor;
  const double stretch = (-std::sin(angle) * b + std::cos(angle) * d) / factor;
  return {angle, factor, shear, -(a * t[2] + b * t[5]), -(c * t[2] + d * t[5]), stretch};
}

TEST(AffineMatrices, NoAmountsGiveTheIdentity) {
  const Tensor theta = affine_matrices({}, 1, 2, first(3));
  EXPECT_EQ(theta.shape(), (Shape{3, 2, 3}));
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 6; ++j) EXPECT_EQ(theta.data<float>()[6 * i + j], j == 0 || j == 4 ? 1 : 0);
  EXPECT_FALSE(AffineAugment{}.enabled());
  EXPECT_TRUE(AffineAugment::handwriting().enabled());
}

TEST(AffineMatrices, EachAmountIsUniformWithItsHalfWidth) {
  const AffineAugment augment = AffineAugment::handwriting();
  const int n = 20000;
  const Tensor theta = affine_matrices(augment, 1, 0, first(n));
  struct Statistics {
    double sum = 0, squares = 0, largest = 0;
  };
  std::array<Statistics, 5> all;
  for (int i = 0; i < n; ++i) {
    const Move m = read_row(theta.data<float>() + 6 * i);
    EXPECT_NEAR(m.stretch, 1, 1e-5);
    const std::array<double, 5> values = {m.angle, m.factor - 1, m.shear, m.shift_x, m.shift_y};
    for (std::size_t k = 0; k < values.size(); ++k) {
      all[k].sum += values[k];
      all[k].squares += values[k] * values[k];
      all[k].largest = std::max(all[k].largest, std::abs(values[k]));
    }
  }
  const std::array<double, 5> half_width = {.2, .12, .2, 1.5, 1.5};
  for (std::size_t k = 0; k < all.size(); ++k) {
    const double w = half_width[k], deviation = w / std::sqrt(3.0);
    EXPECT_NEAR(all[k].sum / n, 0, 5 * deviation / std::sqrt(n)) << k;
    EXPECT_NEAR(std::sqrt(all[k].squares / n), deviation, .02 * deviation) << k;
    EXPECT_LE(all[k].largest, w * (1 + 1e-5)) << k;
    EXPECT_GT(all[k].largest, .99 * w) << k;
  }
}

TEST(AffineMatrices, AmountsAreIndependent) {
  const int n = 20000;
  const Tensor theta = affine_matrices(AffineAugment::handwriting(), 3, 0, first(n));
  double angle_shear = 0, shifts = 0;
  for (int i = 0; i < n; ++i) {
    const Move m = read_row(theta.data<float>() + 6 * i);
    angle_shear += m.angle * m.shear / (.2 * .2 / 3);
    shifts += m.shift_x * m.shift_y / (1.5 * 1.5 / 3);
  }
  EXPECT_NEAR(angle_shear / n, 0, .036);  // 5 deviations of 1 / sqrt(n)
  EXPECT_NEAR(shifts / n, 0, .036);
}

TEST(AffineMatrices, ARowDependsOnSeedEpochAndPositionOnly) {
  const AffineAugment augment = AffineAugment::handwriting();
  const std::vector<float> together = affine_matrices(augment, 5, 6, {10, 3, 10, 7}).to_vector<float>();
  const std::vector<float> alone = affine_matrices(augment, 5, 6, {3}).to_vector<float>();
  EXPECT_TRUE(std::equal(alone.begin(), alone.end(), together.begin() + 6));
  EXPECT_TRUE(std::equal(together.begin(), together.begin() + 6, together.begin() + 12));
  EXPECT_NE(alone, affine_matrices(augment, 5, 7, {3}).to_vector<float>());
  EXPECT_NE(alone, affine_matrices(augment, 6, 6, {3}).to_vector<float>());
  EXPECT_NE(alone, affine_matrices(augment, 5, 6, {4}).to_vector<float>());
}

TEST(AffineMatrices, NoPositions) { EXPECT_EQ(affine_matrices({}, 1, 2, {}).shape(), (Shape{0, 2, 3})); }

TEST(AffineMatrices, AmountsOutOfRangeAreNamed) {
  EXPECT_ERROR(affine_matrices({.rotation = -.1}, 0, 0, {0}), "rotation is -0.1");
  EXPECT_ERROR(affine_matrices({.scale = 1}, 0, 0, {0}), "scale is 1, expected at least 0 and less than 1");
  EXPECT_ERROR(affine_matrices({.shear = std::numeric_limits<double>::quiet_NaN()}, 0, 0, {0}), "shear is ");
  EXPECT_ERROR(affine_matrices({.shift = std::numeric_limits<double>::infinity()}, 0, 0, {0}), "shift is inf");
}

}  // namespace
}  // namespace graft::data
