// The warp-specialised product, alone and in clusters of two. The values are such that no sum is rounded: any difference
// is an error.
#include "sm90/sm90.h"

#include <array>
#include <cmath>

namespace graft::test::sm90 {
namespace {

struct Product {
  std::size_t m, n, k;
  std::vector<float> a, b;
  std::vector<float> c;

  explicit Product(const std::array<int, 3>& sizes)
      : m(static_cast<std::size_t>(sizes[0])),
        n(static_cast<std::size_t>(sizes[1])),
        k(static_cast<std::size_t>(sizes[2])),
        a(random_values(m * k, 1)),
        b(random_values(n * k, 2)) {}

  void run(int cluster) {
    const DeviceArray<bf16> device_a(stored(a)), device_b(stored(b));
    const DeviceArray<float> device_c(m * n);
    multiply(device_a, device_b, device_c, static_cast<int>(m), static_cast<int>(n), static_cast<int>(k), cluster,
             stream());
    c = device_c.values();
  }

  float element(std::size_t i, std::size_t j) const {
    float sum = 0;
    for (std::size_t l = 0; l < k; ++l) sum += a[i * k + l] * b[j * k + l];
    return sum;
  }

  // Small: each element. Large: each row of c times a vector of random whole numbers must be the row of a times (b
  // transposed times the vector), in whole numbers; a wrong element hides in that with probability 1/2000 at most.
  void expect_right() const {
    if (m * n * k <= std::size_t{1} << 27) {
      for (std::size_t i = 0; i < m; ++i) expect_row(i);
      return;
    }
    std::mt19937 random(3);
    std::vector<std::int64_t> weight(n), b_weighted(k);
    for (std::int64_t& w : weight) w = static_cast<std::int64_t>(random() % 2001) - 1000;
    for (std::size_t j = 0; j < n; ++j)
      for (std::size_t l = 0; l < k; ++l) b_weighted[l] += weight[j] * whole(b[j * k + l], 8);
    int rows = 0;
    for (std::size_t i = 0; i < m; ++i) {
      std::int64_t want = 0, got = 0;
      bool finite = true;
      for (std::size_t l = 0; l < k; ++l) want += whole(a[i * k + l], 8) * b_weighted[l];
      for (std::size_t j = 0; j < n; ++j) {
        finite &= std::isfinite(c[i * n + j]);
        if (finite) got += whole(c[i * n + j], 64) * weight[j];
      }
      if (finite && want == got) continue;
      expect_row(i);
      ASSERT_LT(++rows, 3) << "and so on";
      ADD_FAILURE() << "row " << i;
    }
  }

 private:
  static std::int64_t whole(float value, int parts) { return std::llround(value * static_cast<float>(parts)); }
  static std::vector<bf16> stored(const std::vector<float>& values) {
    std::vector<bf16> result;
    for (const float v : values) result.emplace_back(v);
    return result;
  }
  void expect_row(std::size_t i) const {
    int wrong = 0;
    for (std::size_t j = 0; j < n; ++j)
      if (const float want = element(i, j); !(c[i * n + j] == want)) {
        ASSERT_LT(++wrong, 4) << "and so on";
        ADD_FAILURE() << "row " << i << ", column " << j << ": " << c[i * n + j] << ", expected " << want;
      }
  }
};

class Sm90Gemm : public Sm90Test, public testing::WithParamInterface<int> {
 protected:
  static void check(const std::array<int, 3>& sizes) {
    SCOPED_TRACE(std::to_string(sizes[0]) + "x" + std::to_string(sizes[1]) + "x" + std::to_string(sizes[2]));
    Product p(sizes);
    p.run(GetParam());
    p.expect_right();
  }
};
INSTANTIATE_TEST_SUITE_P(Clusters, Sm90Gemm, testing::Values(1, 2),
                         [](const testing::TestParamInfo<int>& cluster) { return "of_" + std::to_string(cluster.param); });

TEST_P(Sm90Gemm, IsRightAtWholeTiles) {
  check({128, 64, 64});
  check({256, 128, 192});
}
TEST_P(Sm90Gemm, IsRightAtAwkwardSizes) {
  check({1, 4, 8});
  check({100, 72, 328});
  check({130, 68, 520});
  check({300, 68, 328});
}
// Sixteen and more steps: the ring of three stages wraps more than five times.
TEST_P(Sm90Gemm, IsRightWhenTheRingWraps) {
  check({128, 64, 1024});
  check({140, 60, 1032});
}
TEST_P(Sm90Gemm, IsRightWhenLarge) {
  if (emulated()) GTEST_SKIP() << "minutes in the emulator";
  check({4096, 4096, 4096});
  check({2056, 1000, 2312});
  check({200, 136, 16384});
  check({100'000, 64, 64});
}

}  // namespace
}  // namespace graft::test::sm90
