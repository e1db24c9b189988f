// wgmma against plain loops: the types, several widths, every layout of both matrices, a in registers.
#include "simt/exec.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "simt/kernels/wgmma_products.cu"
#include "sm90/images.h"

namespace graft::simt {
namespace {

using namespace wgmma_products;
using runtime::Swizzle;

using test::kImageDepth;
using test::span_of;

template <class T>
constexpr unsigned kBytes = std::is_same_v<T, arch::Tf32> ? 4 : 2;

template <class T>
std::uint32_t bits_of(float value) {
  if constexpr (std::is_same_v<T, arch::Tf32>) {
    return arch::to_tf32(value);
  } else {
    const T rounded = static_cast<T>(value);
    std::uint16_t bits = 0;
    std::memcpy(&bits, static_cast<const void*>(&rounded), sizeof bits);
    return bits;
  }
}

class ExecWgmma : public Exec {
 protected:
  template <class T, int N, bool AColumns = false, bool BRows = false, bool RegistersA = false>
  static void check(Swizzle swizzle_a, Swizzle swizzle_b) {
    constexpr unsigned depth = 32 / kBytes<T>;
    const std::vector<float> a = random_values(64 * kImageDepth, 1), b = random_values(N * kImageDepth, 2),
                             before = random_values(64 * N, 3);
    using MatrixImage = test::Image<Layout>;
    const auto image_a = MatrixImage::of(a, swizzle_a, AColumns, kBytes<T>, kBytesOfA, bits_of<T>),
               image_b = MatrixImage::of(b, swizzle_b, BRows, kBytes<T>, kBytesOfB, bits_of<T>);
    const OnDevice<std::uint32_t> device_a(RegistersA ? test::in_registers(a, depth, bits_of<T>) : image_a.words),
        device_b(image_b.words);
    const OnDevice<float> y(before);
    expect_success(launch(multiply<T, N, AColumns, BRows, RegistersA>, dims(1, 128, sizeof(Images)),
                          static_cast<std::uint32_t*>(device_a), image_a.layout, static_cast<std::uint32_t*>(device_b),
                          image_b.layout, kImageDepth / depth, static_cast<float*>(y)));
    const std::vector<float> got = y.values();
    for (unsigned i = 0; i < 64; ++i)
      for (unsigned j = 0; j < N; ++j) {
        float sum = before[i * N + j];
        for (unsigned k = 0; k < kImageDepth; ++k) sum += a[i * kImageDepth + k] * b[j * kImageDepth + k];
        // Equal: the values are such that nothing is rounded, in whatever order.
        ASSERT_EQ(got[i * N + j], sum) << "row " << i << ", column " << j << " of " << N << ", swizzles "
                                       << span_of(swizzle_a) << " and " << span_of(swizzle_b);
      }
  }
  template <class T, int N, bool AColumns = false, bool BRows = false>
  static void check_swizzles() {
    for (const Swizzle a : {Swizzle::none, Swizzle::bytes32, Swizzle::bytes64, Swizzle::bytes128})
      for (const Swizzle b : {Swizzle::none, Swizzle::bytes32, Swizzle::bytes64, Swizzle::bytes128})
        check<T, N, AColumns, BRows>(a, b);
  }
};
INSTANTIATE_TEST_SUITE_P(Schedules, ExecWgmma, kSchedules, schedule_name);

TEST_P(ExecWgmma, TakesEveryLayoutWithTheDepthInnermost) {
  check_swizzles<__nv_bfloat16, 64>();
  check_swizzles<arch::Tf32, 32>();
}
TEST_P(ExecWgmma, TakesEveryLayoutByColumnsAndRows) {
  check_swizzles<__nv_bfloat16, 64, true, false>();
  check_swizzles<__nv_bfloat16, 64, false, true>();
  check_swizzles<__half, 64, true, true>();
}
TEST_P(ExecWgmma, HasManyWidths) {
  check<__nv_bfloat16, 8>(Swizzle::bytes128, Swizzle::bytes128);
  check<__half, 24>(Swizzle::bytes128, Swizzle::bytes128);
  check<__nv_bfloat16, 136>(Swizzle::bytes128, Swizzle::bytes64);
  check<__half, 256>(Swizzle::bytes128, Swizzle::bytes128);
  check<__nv_bfloat16, 256, false, true>(Swizzle::bytes128, Swizzle::bytes128);
  check<arch::Tf32, 128>(Swizzle::bytes128, Swizzle::bytes128);
}
TEST_P(ExecWgmma, TakesAFromRegisters) {
  check<__nv_bfloat16, 64, false, false, true>(Swizzle::none, Swizzle::bytes128);
  check<__half, 64, false, true, true>(Swizzle::none, Swizzle::bytes128);
  check<arch::Tf32, 64, false, false, true>(Swizzle::none, Swizzle::bytes128);
}

}  // namespace
}  // namespace graft::simt
