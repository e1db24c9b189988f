// The computed permutation is one, depends on its seed, and spreads.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include <graft/kernels/api/permutation.h>

namespace graft::kernels {
namespace {

std::vector<std::uint64_t> order(std::uint64_t size, std::uint64_t seed) {
  const Permutation permutation(size, seed);
  std::vector<std::uint64_t> all(size);
  for (std::uint64_t i = 0; i < size; ++i) all[i] = permutation(i);
  return all;
}

TEST(Permutation, GivesEveryElementOnce) {
  for (const std::uint64_t size : {1, 2, 3, 4, 5, 7, 15, 16, 17, 63, 64, 65, 100, 1000, 4096, 60000}) {
    std::vector<std::uint64_t> all = order(size, size * 31 + 7);
    std::sort(all.begin(), all.end());
    for (std::uint64_t i = 0; i < size; ++i) ASSERT_EQ(all[i], i) << "of " << size;
  }
}

TEST(Permutation, DependsOnItsSeed) {
  EXPECT_EQ(order(100, 1), order(100, 1));
  EXPECT_NE(order(100, 1), order(100, 2));
}

TEST(Permutation, HoldsForSizesBeyond32Bits) {
  const std::uint64_t size = 5'000'000'000;
  const Permutation permutation(size, 3);
  std::vector<std::uint64_t> some;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    some.push_back(permutation(size - 1 - i));
    EXPECT_LT(some.back(), size);
  }
  std::sort(some.begin(), some.end());
  EXPECT_EQ(std::adjacent_find(some.begin(), some.end()), some.end());
  EXPECT_GT(some.back(), std::uint64_t{1} << 32);
}

// Where elements of 0 .. n - 1 stand, over many seeds: chi-square over an n by n table has (n - 1)^2 degrees of
// freedom, and its mean plus six standard deviations sqrt(2 (n - 1)^2) is passed once in 10^9.
TEST(Permutation, PutsEveryElementEverywhereAlike) {
  constexpr std::uint64_t n = 11;
  constexpr int kSeeds = 20000;
  double count[n][n] = {};
  for (int seed = 0; seed < kSeeds; ++seed) {
    const Permutation permutation(n, static_cast<std::uint64_t>(seed));
    for (std::uint64_t i = 0; i < n; ++i) ++count[i][permutation(i)];
  }
  const double expected = static_cast<double>(kSeeds) / n;
  double chi_square = 0;
  for (const auto& row : count)
    for (const double seen : row) chi_square += (seen - expected) * (seen - expected) / expected;
  const double freedom = (n - 1) * (n - 1);
  EXPECT_LT(chi_square, freedom + 6 * std::sqrt(2 * freedom));
  EXPECT_GT(chi_square, freedom - 6 * std::sqrt(2 * freedom));
}

// Neighbours are torn apart: the distance of two that stood side by side is on average (n + 1) / 3, with a standard
// deviation of the mean of about n / (3 sqrt(2 n)); six of those.
TEST(Permutation, TearsNeighboursApart) {
  constexpr std::uint64_t n = 10007;
  const std::vector<std::uint64_t> all = order(n, 9);
  double sum = 0;
  for (std::size_t i = 1; i < n; ++i)
    sum += static_cast<double>(all[i] > all[i - 1] ? all[i] - all[i - 1] : all[i - 1] - all[i]);
  EXPECT_NEAR(sum / (n - 1), (n + 1) / 3.0, 6 * n / (3 * std::sqrt(2.0 * n)));
}

}  // namespace
}  // namespace graft::kernels
