// wgmma against plain loops: the types, the widths, every layout of both matrices, a in registers.
#include "sm90/sm90.h"

#include <bit>
#include <ostream>

#include "sm90/images.h"

namespace graft::test::sm90 {

static void PrintTo(const WgmmaShape& s, std::ostream* out) { *out << s.columns << " columns"; }

namespace {

using runtime::Swizzle;

constexpr Swizzle kSwizzles[] = {Swizzle::none, Swizzle::bytes32, Swizzle::bytes64, Swizzle::bytes128};

std::string shape_name(const testing::TestParamInfo<WgmmaShape>& info) {
  const WgmmaShape& s = info.param;
  const char* const elements[] = {"bf16", "f16", "tf32"};
  return std::string(elements[static_cast<int>(s.element)]) + "_" + std::to_string(s.columns) +
         (s.registers_a ? "_a_in_registers" : "") + (s.a_columns ? "_a_by_columns" : "") + (s.b_rows ? "_b_by_rows" : "");
}

class Sm90Wgmma : public Sm90Test, public testing::WithParamInterface<WgmmaShape> {
 protected:
  static unsigned bytes() { return GetParam().element == Element::tf32 ? 4 : 2; }
  static std::uint32_t bits_of(float value) {
    switch (GetParam().element) {
      case Element::bf16:
        return bf16(value).bits;
      case Element::f16:
        return f16(value).bits;
      default:
        return std::bit_cast<std::uint32_t>(value);  // the values have a few bits only
    }
  }

  static void check(Swizzle swizzle_a, Swizzle swizzle_b) {
    const WgmmaShape& s = GetParam();
    const auto n = static_cast<unsigned>(s.columns);
    const unsigned depth = 32 / bytes();
    const std::vector<float> a = random_values(64 * kImageDepth, 1), b = random_values(n * kImageDepth, 2),
                             before = random_values(64 * n, 3);
    using MatrixImage = Image<MatrixLayout>;
    const auto image_a = MatrixImage::of(a, swizzle_a, s.a_columns, bytes(), kBytesOfA, bits_of),
               image_b = MatrixImage::of(b, swizzle_b, s.b_rows, bytes(), kBytesOfB, bits_of);
    const DeviceArray<std::uint32_t> device_a(s.registers_a ? in_registers(a, depth, bits_of) : image_a.words),
        device_b(image_b.words);
    const DeviceArray<float> y(before);
    multiply(s, device_a, image_a.layout, device_b, image_b.layout, kImageDepth / depth, y, stream());
    const std::vector<float> got = y.values();
    int wrong = 0;
    for (unsigned i = 0; i < 64; ++i)
      for (unsigned j = 0; j < n; ++j) {
        float sum = before[i * n + j];
        for (unsigned k = 0; k < kImageDepth; ++k) sum += a[i * kImageDepth + k] * b[j * kImageDepth + k];
        // Equal: the values are such that nothing is rounded, in whatever order.
        if (got[i * n + j] == sum) continue;
        if (++wrong <= 3)
          ADD_FAILURE() << "row " << i << ", column " << j << ": " << got[i * n + j] << ", expected " << sum
                        << ", swizzles " << span_of(swizzle_a) << " and " << span_of(swizzle_b);
      }
    EXPECT_EQ(wrong, 0) << "of " << 64 * n << ", swizzles " << span_of(swizzle_a) << " and " << span_of(swizzle_b);
  }
};
INSTANTIATE_TEST_SUITE_P(Shapes, Sm90Wgmma, testing::ValuesIn(wgmma_shapes()), shape_name);

// A swizzle of rows of 32, 64 or 128 bytes of b by rows needs as many columns.
TEST_P(Sm90Wgmma, TakesEveryLayout) {
  const WgmmaShape& s = GetParam();
  for (const Swizzle b : kSwizzles) {
    if (s.b_rows && static_cast<unsigned>(s.columns) * bytes() % std::max(span_of(b), 16u) != 0) continue;
    if (s.registers_a) {
      check(Swizzle::none, b);
      continue;
    }
    for (const Swizzle a : kSwizzles) check(a, b);
  }
}

}  // namespace
}  // namespace graft::test::sm90
