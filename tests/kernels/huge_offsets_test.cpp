// Views whose elements lie more than 2^31 bytes (and elements) apart, on the device: offsets must be 64-bit. The memory
// between them is never touched.
#include <gtest/gtest.h>

#include <vector>

#include <graft/kernels/registry/registry.h>
#include <graft/kernels/runtime/cuda.h>

namespace graft::test {
namespace {

using namespace kernels;

class HugeOffsets : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = runtime::cuda_unavailable(); !why.empty()) GTEST_SKIP() << why;
    stream_ = runtime::default_stream(0);
    block_ = static_cast<std::byte*>(runtime::device_allocate(kBytes, stream_));
  }
  void TearDown() override {
    runtime::device_free(block_, stream_);
    runtime::synchronize(stream_);
  }

  TensorRef view(DType dtype, const Shape& shape, const Shape& strides, std::int64_t offset_bytes) const {
    return {block_ + offset_bytes, dtype, shape, strides};
  }
  template <class T>
  void set(const TensorRef& t, std::int64_t offset, T value) const {
    runtime::copy_to_device(t.as<T>() + offset, &value, sizeof value, stream_);
  }
  template <class T>
  T get(const TensorRef& t, std::int64_t offset) const {
    T value{};
    runtime::copy_to_host(&value, t.as<T>() + offset, sizeof value, stream_);
    runtime::synchronize(stream_);
    return value;
  }
  template <class Args>
  void run(const Args& args) {
    Stream stream = stream_;
    kernels::run(args, stream);
    runtime::synchronize(stream_);
  }

  static constexpr std::int64_t kFar = (std::int64_t{1} << 31) + 64;  // bytes
  static constexpr std::int64_t kBytes = kFar + 4096 + (std::int64_t{1} << 28);
  Stream stream_;
  std::byte* block_ = nullptr;
};

TEST_F(HugeOffsets, CopyBytes) {
  const TensorRef x = view(DType::u8, {2, 3}, {kFar, 1}, 0), y = view(DType::u8, {2, 3}, {kFar, 1}, 1024);
  for (std::int64_t r = 0; r < 2; ++r)
    for (std::int64_t c = 0; c < 3; ++c) set<std::uint8_t>(x, r * kFar + c, static_cast<std::uint8_t>(10 * r + c + 1));
  run(CopyArgs{x, y});
  for (std::int64_t r = 0; r < 2; ++r)
    for (std::int64_t c = 0; c < 3; ++c) EXPECT_EQ(get<std::uint8_t>(y, r * kFar + c), 10 * r + c + 1);
}

TEST_F(HugeOffsets, CopyVectors) {
  const TensorRef x = view(DType::u8, {2, 32}, {kFar, 1}, 0), y = view(DType::u8, {2, 32}, {kFar, 1}, 1024);
  for (std::int64_t r = 0; r < 2; ++r)
    for (std::int64_t c = 0; c < 32; ++c) set<std::uint8_t>(x, r * kFar + c, static_cast<std::uint8_t>(40 * r + c));
  run(CopyArgs{x, y});
  for (std::int64_t r = 0; r < 2; ++r)
    for (std::int64_t c = 0; c < 32; ++c) EXPECT_EQ(get<std::uint8_t>(y, r * kFar + c), 40 * r + c);
}

TEST_F(HugeOffsets, CopyThroughTiles) {
  // Sixteen columns: the last begins beyond 2^31.
  constexpr std::int64_t far = (std::int64_t{1} << 27) + (std::int64_t{1} << 24);
  static_assert(15 * far > std::int64_t{1} << 31);
  const TensorRef x = view(DType::u8, {16, 16}, {1, far}, 0), y = view(DType::u8, {16, 16}, {16, 1}, 1024);
  for (std::int64_t c = 0; c < 16; ++c)
    for (std::int64_t r = 0; r < 16; ++r) set<std::uint8_t>(x, r + c * far, static_cast<std::uint8_t>(16 * c + r));
  run(CopyArgs{x, y});
  for (std::int64_t c = 0; c < 16; ++c)
    for (std::int64_t r = 0; r < 16; ++r) ASSERT_EQ(get<std::uint8_t>(y, r * 16 + c), 16 * c + r);
}

TEST_F(HugeOffsets, CopyConverts) {
  const TensorRef x = view(DType::f32, {2}, {kFar / 4}, 0), y = view(DType::f64, {2}, {kFar / 8}, 1024);
  set(x, 0, 1.5f);
  set(x, kFar / 4, -2.5f);
  run(CopyArgs{x, y});
  EXPECT_EQ(get<double>(y, 0), 1.5);
  EXPECT_EQ(get<double>(y, kFar / 8), -2.5);
}

TEST_F(HugeOffsets, Binary) {
  const Shape shape = {2, 4}, strides = {kFar / 4, 1};
  const TensorRef a = view(DType::f32, shape, strides, 0), b = view(DType::f32, shape, {0, 1}, 512),
                  y = view(DType::f32, shape, strides, 1024);
  for (std::int64_t r = 0; r < 2; ++r)
    for (std::int64_t c = 0; c < 4; ++c) set(a, r * kFar / 4 + c, static_cast<float>(10 * r + c));
  for (std::int64_t c = 0; c < 4; ++c) set(b, c, 0.5f);
  run(BinaryArgs{BinaryOp::add, a, b, y});
  for (std::int64_t r = 0; r < 2; ++r)
    for (std::int64_t c = 0; c < 4; ++c)
      EXPECT_EQ(get<float>(y, r * kFar / 4 + c), static_cast<float>(10 * r + c) + 0.5f);
}

TEST_F(HugeOffsets, Unary) {
  const TensorRef x = view(DType::f64, {2}, {kFar / 8}, 0), y = view(DType::f64, {2}, {kFar / 8}, 1024);
  set(x, 0, 1.0);
  set(x, kFar / 8, 2.0);
  run(UnaryArgs{UnaryOp::neg, x, y});
  EXPECT_EQ(get<double>(y, 0), -1.0);
  EXPECT_EQ(get<double>(y, kFar / 8), -2.0);
}

}  // namespace
}  // namespace graft::test
