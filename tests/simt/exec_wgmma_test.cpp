// wgmma against plain loops: the types, several widths, every layout of both matrices, a in registers.
#include "simt/exec.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "simt/kernels/wgmma_products.cu"

namespace graft::simt {
namespace {

using namespace wgmma_products;
using runtime::Swizzle;

constexpr unsigned kDepth = 64;  // of every product

unsigned span_of(Swizzle swizzle) {
  return swizzle == Swizzle::bytes128 ? 128 : swizzle == Swizzle::bytes64 ? 64 : swizzle == Swizzle::bytes32 ? 32 : 0;
}

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

// A matrix of rows x kDepth elements as an image, and how it lies there. The atoms of each layout one after another:
// first along the rows under a swizzle, first along the depth without one.
struct Image {
  Layout layout{};
  std::vector<std::uint32_t> words;

  // Where element (row, k) of `bytes` bytes lies.
  static unsigned place(Swizzle swizzle, bool by_columns, unsigned rows, unsigned bytes, unsigned row, unsigned k) {
    const unsigned span = span_of(swizzle), a_chunk = 16 / bytes;
    const unsigned outer = by_columns ? k : row, inner = by_columns ? row : k;  // inner: neighbours in memory
    const unsigned outer_size = by_columns ? kDepth : rows, inner_size = by_columns ? rows : kDepth;
    if (span == 0) {
      const unsigned chunk = inner / a_chunk, in_chunk = inner % a_chunk * bytes;
      const unsigned a_row_of_blocks = by_columns ? outer_size / 8 * 128 : inner_size / a_chunk * 128;
      return by_columns ? chunk * a_row_of_blocks + outer / 8 * 128 + outer % 8 * 16 + in_chunk
                        : outer / 8 * a_row_of_blocks + chunk * 128 + outer % 8 * 16 + in_chunk;
    }
    const unsigned part = inner * bytes / span, byte = inner * bytes % span;
    unsigned chunk = byte / 16;
    if (span == 128) chunk ^= outer % 8;
    if (span == 64) chunk ^= outer / 2 % 4;
    if (span == 32) chunk ^= outer / 4 % 2;
    return part * outer_size * span + outer * span + chunk * 16 + byte % 16;
  }

  template <class T>
  static Image of(const std::vector<float>& values, Swizzle swizzle, bool by_columns, std::size_t image_bytes) {
    const auto rows = static_cast<unsigned>(values.size() / kDepth);
    constexpr unsigned bytes = kBytes<T>;
    Image image;
    std::vector<unsigned char> memory(image_bytes, 0xff);
    for (unsigned row = 0; row < rows; ++row)
      for (unsigned k = 0; k < kDepth; ++k) {
        const std::uint32_t bits = bits_of<T>(values[row * kDepth + k]);
        std::memcpy(&memory[place(swizzle, by_columns, rows, bytes, row, k)], &bits, bytes);
      }
    image.words.resize(image_bytes / 4);
    std::memcpy(image.words.data(), memory.data(), image_bytes);
    const unsigned span = span_of(swizzle);
    if (span == 0)
      image.layout = {swizzle, by_columns ? kDepth / 8 * 128 : kDepth * bytes / 16 * 128, 128, 1000, 0, 256};
    else if (by_columns)
      image.layout = {swizzle, 8 * span, kDepth * span, 1000, 0, 16 * span};
    else
      image.layout = {swizzle, 8 * span, 16, span / 32, rows * span, 32};
    return image;
  }
};

class ExecWgmma : public Exec {
 protected:
  template <class T, int N, bool AColumns = false, bool BRows = false, bool RegistersA = false>
  static void check(Swizzle swizzle_a, Swizzle swizzle_b) {
    constexpr unsigned depth = 32 / kBytes<T>;
    const std::vector<float> a = random_values(64 * kDepth, 1), b = random_values(N * kDepth, 2),
                             before = random_values(64 * N, 3);
    const Image image_a = Image::of<T>(a, swizzle_a, AColumns, kBytesOfA),
                image_b = Image::of<T>(b, swizzle_b, BRows, kBytesOfB);
    std::vector<std::uint32_t> registers(kBytesOfA / 4);
    if constexpr (RegistersA) {
      const auto element = [&](unsigned step, unsigned row, unsigned k) {
        return bits_of<T>(a[row * kDepth + step * depth + k]);
      };
      for (unsigned step = 0; step < kDepth / depth; ++step)
        for (unsigned t = 0; t < 128; ++t)
          for (unsigned i = 0; i < 4; ++i) {
            const unsigned row = t / 32 * 16 + t % 32 / 4 + i % 2 * 8, at = t % 4;
            registers[(step * 128 + t) * 4 + i] =
                depth == 8 ? element(step, row, at + i / 2 * 4)
                           : element(step, row, 2 * at + i / 2 * 8) | element(step, row, 2 * at + i / 2 * 8 + 1) << 16;
          }
    }
    const OnDevice<std::uint32_t> device_a(RegistersA ? registers : image_a.words), device_b(image_b.words);
    const OnDevice<float> y(before);
    expect_success(launch(multiply<T, N, AColumns, BRows, RegistersA>, dims(1, 128, sizeof(Images)),
                          static_cast<std::uint32_t*>(device_a), image_a.layout, static_cast<std::uint32_t*>(device_b),
                          image_b.layout, kDepth / depth, static_cast<float*>(y)));
    const std::vector<float> got = y.values();
    for (unsigned i = 0; i < 64; ++i)
      for (unsigned j = 0; j < N; ++j) {
        float sum = before[i * N + j];
        for (unsigned k = 0; k < kDepth; ++k) sum += a[i * kDepth + k] * b[j * kDepth + k];
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
