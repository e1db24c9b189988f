// What op cases cannot say of the device's elementwise kernels: faults, exact bits, values outside an integer's range.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <graft/kernels/reference/table.h>
#include <graft/kernels/registry/registry.h>
#include <graft/kernels/runtime/cuda.h>

namespace graft::test {
namespace {

using namespace kernels;

class ElementwiseDevice : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = runtime::cuda_unavailable(); !why.empty()) GTEST_SKIP() << why;
    stream_ = runtime::default_stream(0);
  }
  void TearDown() override {
    for (void* block : blocks_) runtime::device_free(block, stream_);
  }

  /// The values in device memory, row-major.
  template <class T>
  TensorRef device(DType dtype, const Shape& shape, const std::vector<T>& values) {
    void* block = runtime::device_allocate(values.size() * sizeof(T), stream_);
    blocks_.push_back(block);
    runtime::copy_to_device(block, values.data(), values.size() * sizeof(T), stream_);
    return {block, dtype, shape, contiguous_strides(shape)};
  }
  template <class T>
  std::vector<T> host(const TensorRef& t) {
    std::vector<T> values(static_cast<std::size_t>(t.numel()));
    runtime::copy_to_host(values.data(), t.data, values.size() * sizeof(T), stream_);
    runtime::synchronize(stream_);
    return values;
  }
  template <class Args>
  void run(const Args& args) {
    Stream stream = stream_;
    kernels::run(args, stream);
  }
  /// The error that waiting for the device gives; "" for none.
  std::string fault() {
    try {
      runtime::synchronize(stream_);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  Stream stream_;
  std::vector<void*> blocks_;
};

template <class Args>
void run_reference(const Args& args) {
  Stream stream;
  reference::table().row<Args>().run(args, stream);
}

TEST_F(ElementwiseDevice, DivisionByZeroNamesTheElementAndTheDeviceLivesOn) {
  const Shape shape = {3, 5};
  std::vector<std::int32_t> divisors(15, 2);
  divisors[7] = 0;
  const TensorRef a = device<std::int32_t>(DType::i32, shape, std::vector<std::int32_t>(15, 9));
  const TensorRef b = device<std::int32_t>(DType::i32, shape, divisors);
  const TensorRef y = device<std::int32_t>(DType::i32, shape, std::vector<std::int32_t>(15, -1));
  run(BinaryArgs{BinaryOp::div, a, b, y});
  const std::string message = fault();
  EXPECT_NE(message.find("division by zero"), std::string::npos) << message;
  EXPECT_NE(message.find('7'), std::string::npos) << message;
  std::vector<std::int32_t> expected(15, 4);
  expected[7] = 0;
  EXPECT_EQ(host<std::int32_t>(y), expected) << "the other quotients are there";

  // The number of the element counts in row-major order of the shape, whatever the order of memory.
  TensorRef columns = b, out = y;
  columns.shape = out.shape = {5, 3};
  columns.strides = out.strides = {1, 5};  // memory 7 is row 2, column 1
  run(BinaryScalarArgs{BinaryOp::div, columns, 100, true, out});
  const std::string transposed = fault();
  EXPECT_NE(transposed.find("division by zero"), std::string::npos) << transposed;
  EXPECT_NE(transposed.find(std::to_string(2 * 3 + 1)), std::string::npos) << transposed;

  run(BinaryScalarArgs{BinaryOp::div, a, 0, false, y});
  EXPECT_NE(fault().find("division by zero"), std::string::npos);

  run(BinaryScalarArgs{BinaryOp::div, a, 3, false, y});
  EXPECT_EQ(fault(), "");
  EXPECT_EQ(host<std::int32_t>(y), std::vector<std::int32_t>(15, 3));
}

TEST_F(ElementwiseDevice, CastsOutsideTheRangeAsTheReference) {
  constexpr double inf = std::numeric_limits<double>::infinity();
  const std::vector<double> values = {0,    -0.0,  0.9,          -0.9,         255.5,       256,     -1,
                                      1e9,  -1e9,  2147483648.0, 4294967297.0, 0x1p63,      -0x1p63, 0x1p62,
                                      1e30, -1e30, inf,          -inf,         std::nan("")};
  const Shape shape = {static_cast<std::int64_t>(values.size())};
  const TensorRef from{const_cast<double*>(values.data()), DType::f64, shape, {1}};
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16, DType::f16}) {
    std::vector<std::uint64_t> rounded(values.size());  // room for any dtype
    const TensorRef x{rounded.data(), dtype, shape, {1}};
    run_reference(CopyArgs{from, x});
    TensorRef on_device = device<std::uint64_t>(dtype, shape, rounded);
    for (const DType to : {DType::i64, DType::i32, DType::u8, DType::boolean, DType::f16, DType::f32}) {
      std::vector<std::int64_t> wanted(values.size()), unwritten(values.size());
      const TensorRef want{wanted.data(), to, shape, {1}};
      run_reference(CopyArgs{x, want});
      const TensorRef y = device<std::int64_t>(to, shape, unwritten);
      run(CopyArgs{on_device, y});
      std::vector<double> got_wide(values.size()), want_wide(values.size());
      std::vector<std::int64_t> got = host<std::int64_t>({y.data, DType::i64, shape, {1}});
      run_reference(CopyArgs{{got.data(), to, shape, {1}}, {got_wide.data(), DType::f64, shape, {1}}});
      run_reference(CopyArgs{want, {want_wide.data(), DType::f64, shape, {1}}});
      for (std::size_t i = 0; i < values.size(); ++i)
        EXPECT_TRUE(got_wide[i] == want_wide[i] || (std::isnan(got_wide[i]) && std::isnan(want_wide[i])))
            << name(dtype) << " " << values[i] << " to " << name(to) << ": got " << got_wide[i] << ", expected "
            << want_wide[i];
    }
  }
}

TEST_F(ElementwiseDevice, ACopyKeepsTheBitsOfNaN) {
  const std::vector<std::uint32_t> bits = {
      0x7fc00001u, 0xffc12345u, 0x7f800001u, 0x80000000u, 0x00000001u, 0x7f800000u, 5, 6, 7};
  const TensorRef x = device<std::uint32_t>(DType::f32, {9}, bits);
  const TensorRef y = device<std::uint32_t>(DType::f32, {9}, std::vector<std::uint32_t>(9, 0));
  run(CopyArgs{x, y});
  EXPECT_EQ(host<std::uint32_t>(y), bits);
}

TEST_F(ElementwiseDevice, UniformNumbersAndMasksHaveTheReferencesBits) {
  const Shape shape = {1029};
  const RandomKey key = {0x123456789abcdefull, 77};
  const std::vector<float> zeros(1029, 0.0f), ones(1029, 1.0f);
  for (const auto& [a, b] : {std::pair{0.0, 1.0}, {-0.1, 0.3}, {-1 / std::sqrt(784.0), 1 / std::sqrt(784.0)}}) {
    std::vector<float> want = zeros;
    run_reference(RandomArgs{{want.data(), DType::f32, shape, {1}}, Distribution::uniform, a, b, key});
    const TensorRef y = device<float>(DType::f32, shape, zeros);
    run(RandomArgs{y, Distribution::uniform, a, b, key});
    EXPECT_EQ(host<float>(y), want) << a << " to " << b;
  }
  for (const double p : {0.0, 0.1, 0.5, 1 / 3.0, 0x1p-24, 1 - 0x1p-24, 1 - 0x1p-30, 1.0}) {
    std::vector<float> x = ones, want = zeros;
    run_reference(DropoutArgs{{x.data(), DType::f32, shape, {1}}, {want.data(), DType::f32, shape, {1}}, p, key});
    const TensorRef y = device<float>(DType::f32, shape, zeros);
    run(DropoutArgs{device<float>(DType::f32, shape, ones), y, p, key});
    const std::vector<float> got = host<float>(y);
    for (std::size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i] != 0, want[i] != 0) << "p " << p << ", element " << i;
  }
}

}  // namespace
}  // namespace graft::test
