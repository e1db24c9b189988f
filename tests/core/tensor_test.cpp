// Making tensors, what they tell of themselves, and getting at their elements.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>

#include <graft/core/autograd/node.h>
#include <graft/core/cuda.h>
#include <graft/core/ops/math.h>
#include <graft/core/ops/view.h>

#include "core/helpers.h"

namespace graft {
namespace {

TEST(TensorMaking, FillsAndCounts) {
  EXPECT_EQ(values(Tensor::zeros({2, 2})), std::vector<double>({0, 0, 0, 0}));
  EXPECT_EQ(values(Tensor::ones({3}, DType::i64)), std::vector<double>({1, 1, 1}));
  EXPECT_EQ(values(Tensor::full({2}, -1.5, DType::f64)), std::vector<double>({-1.5, -1.5}));
  const Tensor counted = Tensor::arange(4);
  EXPECT_EQ(counted.dtype(), DType::i64);
  EXPECT_EQ(values(counted), std::vector<double>({0, 1, 2, 3}));
  EXPECT_EQ(Tensor::arange(0).numel(), 0);
  expect_contains(error_of([] { Tensor::arange(-1); }), {"arange", "-1"});
}

TEST(TensorMaking, FromCopiesRowMajor) {
  std::vector<float> source = {1, 2, 3, 4, 5, 6};
  const Tensor t = Tensor::from(source, {2, 3});
  source[0] = 99;
  EXPECT_EQ(at(t, {0, 0}), 1);
  EXPECT_EQ(at(t, {1, 0}), 4);
  EXPECT_EQ(Tensor::from<std::int32_t>({7, 8}, {2}).dtype(), DType::i32);
  EXPECT_EQ(values(Tensor::from<bool>({true, false}, {2})), std::vector<double>({1, 0}));
  EXPECT_EQ(Tensor::from(std::vector<double>{}, {0, 3}).numel(), 0);
}

TEST(TensorMaking, FromRefusesAWrongCount) {
  expect_contains(error_of([] { Tensor::from<float>({1, 2, 3}, {2, 2}); }), {"(2, 2)", "4 elements", "got 3"});
}

TEST(TensorMaking, RankZeroIsOneElement) {
  const Tensor scalar = Tensor::full({}, 3, DType::f64);
  EXPECT_EQ(scalar.dim(), 0);
  EXPECT_EQ(scalar.numel(), 1);
  EXPECT_EQ(scalar.item(), 3);
  EXPECT_TRUE(scalar.is_contiguous());
  EXPECT_TRUE(scalar.is_dense());
}

TEST(TensorMaking, ImpossibleShapesAreRefused) {
  expect_contains(error_of([] { Tensor::empty({2, -1}); }), {"dimension 1", "(2, -1)", "negative"});
  const std::int64_t huge = std::int64_t{1} << 40;
  expect_contains(error_of([=] { Tensor::empty({huge, huge}); }), {"more elements"});
  // Its element count is 0, but its strides are not representable.
  expect_contains(error_of([=] { Tensor::empty({0, huge, huge}); }), {"more elements"});
  expect_contains(error_of([=] {
                    Tensor::empty({huge, huge, 1, 1}, DType::f32, Device::cpu(), MemoryFormat::channels_last);
                  }),
                  {"more elements"});
  expect_contains(error_of([] { Tensor::empty({1, 1, 1, 1, 1, 1, 1, 1, 1}); }), {"rank 9"});
  expect_contains(error_of([] { Tensor::empty({1 << 20, 1 << 20, 1 << 10}); }), {"bytes"});
}

TEST(TensorMaking, CudaIsRefusedWithAdvice) {
  // A device that no machine has, and any device where the build or the machine has none.
  EXPECT_NE(error_of([] { Tensor::empty({1}, DType::f32, Device::cuda(17)); }), "");
  EXPECT_NE(error_of([] { Tensor::ones({2}).to(Device::cuda(17)); }), "");
  if (cuda::is_available())
    expect_contains(error_of([] { Tensor::empty({1}, DType::f32, Device::cuda(17)); }),
                    {"there is no cuda:17", "cuda:0"});
  else
    expect_contains(error_of([] { Tensor::ones({2}).to(Device::cuda()); }), {"Device::cpu()"});
  const Tensor t = Tensor::ones({2});
  EXPECT_TRUE(t.to(Device::cpu()).is_same(t));
}

TEST(TensorMaking, EmptyLikeKeepsADenseLayoutOnly) {
  const Tensor image = Tensor::empty({2, 3, 4, 5}, DType::f64, Device::cpu(), MemoryFormat::channels_last);
  EXPECT_EQ(image.empty_like().strides(), image.strides());
  EXPECT_EQ(image.zeros_like().dtype(), DType::f64);
  const Tensor turned = transpose(Tensor::zeros({3, 4}), 0, 1);
  EXPECT_EQ(turned.empty_like().strides(), Shape({1, 4}));
  const Tensor part = slice(Tensor::zeros({3, 4}), 1, 0, 2);
  EXPECT_EQ(part.empty_like().strides(), Shape({2, 1}));
  EXPECT_EQ(expand(Tensor::zeros({3, 1}), {3, 4}).empty_like().strides(), Shape({4, 1}));
}

TEST(TensorWrap, SharesForeignMemoryAndKeepsItsOwner) {
  auto memory = std::make_shared<std::vector<float>>(std::vector<float>{1, 2, 3, 4});
  std::weak_ptr<std::vector<float>> watched = memory;
  Tensor view;
  {
    Tensor t = Tensor::wrap(memory->data(), {2, 2}, DType::f32, memory);
    (*memory)[3] = 9;
    EXPECT_EQ(at(t, {1, 1}), 9);
    view = slice(t, 0, 1, 2);
    memory.reset();
  }
  EXPECT_FALSE(watched.expired()) << "a view is left";
  EXPECT_EQ(values(view), std::vector<double>({3, 9}));
  view = {};
  EXPECT_TRUE(watched.expired());
}

TEST(TensorWrap, RefusesNoOwnerAndNoMemory) {
  float value = 0;
  expect_contains(error_of([&] { Tensor::wrap(&value, {1}, DType::f32, nullptr); }), {"owner"});
  const auto owner = std::make_shared<int>(0);
  expect_contains(error_of([&] { Tensor::wrap(nullptr, {1}, DType::f32, owner); }), {"null pointer", "(1,)"});
  expect_contains(error_of([&] { Tensor::wrap(&value, {-1}, DType::f32, owner); }), {"negative"});
  EXPECT_EQ(Tensor::wrap(nullptr, {0}, DType::f32, owner).numel(), 0);
}

TEST(TensorQueries, UndefinedTensorsSayWhatTheyAre) {
  const Tensor t;
  EXPECT_FALSE(t.defined());
  EXPECT_EQ(to_string(t), "undefined");
  const auto refused = [](const std::string& message) { expect_contains(message, {"undefined"}); };
  refused(error_of([&] { t.shape(); }));
  refused(error_of([&] { t.item(); }));
  refused(error_of([&] { t.requires_grad(); }));
  refused(error_of([&] { t.clone(); }));
  refused(error_of([&] { t.reshape({1}); }));
  refused(error_of([&] { t.contiguous(); }));
  refused(error_of([&] { t.to(DType::f64); }));
  refused(error_of([&] { t.to(Device::cpu()); }));
  refused(error_of([&] { t.backward(); }));
  refused(error_of([&] { t.as_strided({1}, {1}, 0); }));
  refused(error_of([&] { Tensor(t).fill_(1); }));
  refused(error_of([&] { Tensor(t).set_name("x"); }));
}

TEST(TensorQueries, SizeCountsFromBothEnds) {
  const Tensor t = Tensor::zeros({2, 3});
  EXPECT_EQ(t.size(0), 2);
  EXPECT_EQ(t.size(-1), 3);
  EXPECT_EQ(t.size(-2), 2);
  expect_contains(error_of([&] { t.size(2); }), {"dimension 2", "(2, 3)"});
  expect_contains(error_of([&] { t.size(-3); }), {"dimension -3"});
}

TEST(TensorQueries, LayoutsAreRecognised) {
  const Tensor rows = Tensor::zeros({2, 3, 4, 5});
  EXPECT_TRUE(rows.is_contiguous());
  EXPECT_FALSE(rows.is_channels_last());
  EXPECT_TRUE(rows.is_dense());
  const Tensor image = rows.contiguous(MemoryFormat::channels_last);
  EXPECT_FALSE(image.is_contiguous());
  EXPECT_TRUE(image.is_channels_last());
  EXPECT_TRUE(image.is_dense());
  EXPECT_EQ(image.strides(), Shape({60, 1, 15, 3}));
  // With one channel, or one pixel, both descriptions fit.
  EXPECT_TRUE(Tensor::zeros({2, 1, 4, 5}).is_channels_last());
  EXPECT_TRUE(Tensor::zeros({2, 3, 1, 1}).is_channels_last());
  EXPECT_FALSE(Tensor::zeros({2, 3, 4}).is_channels_last());
}

TEST(TensorQueries, DenseMeansNoGapsAndNoOverlap) {
  const Tensor t = Tensor::zeros({4, 6});
  EXPECT_TRUE(transpose(t, 0, 1).is_dense());
  EXPECT_TRUE(slice(t, 0, 1, 3).is_dense()) << "whole rows";
  EXPECT_FALSE(slice(t, 1, 0, 3).is_dense());
  EXPECT_FALSE(slice(t, 0, 0, 4, 2).is_dense());
  EXPECT_FALSE(expand(Tensor::zeros({1, 6}), {4, 6}).is_dense());
  EXPECT_FALSE(t.as_strided({4, 6}, {1, 1}, 0).is_dense()) << "windows that overlap";
  EXPECT_TRUE(t.as_strided({1, 6}, {77, 1}, 0).is_dense()) << "a stride over one element means nothing";
  EXPECT_TRUE(Tensor::zeros({0, 3}).is_dense());
}

TEST(TensorQueries, NamesAppearInErrors) {
  Tensor t = Tensor::zeros({2});
  t.set_name("fc.bias");
  EXPECT_EQ(t.name(), "fc.bias");
  expect_contains(error_of([&] { t.data<double>(); }), {"fc.bias"});
  EXPECT_EQ(t.detach().name(), "fc.bias");
}

TEST(TensorElements, DataChecksTheDtype) {
  Tensor t = Tensor::zeros({2}, DType::i32);
  t.data<std::int32_t>()[1] = 5;
  EXPECT_EQ(values(t), std::vector<double>({0, 5}));
  expect_contains(error_of([&] { t.data<float>(); }), {"holds i32", "asked for as f32"});
  expect_contains(error_of([&] { std::as_const(t).data<std::int64_t>(); }), {"holds i32", "asked for as i64"});
}

TEST(TensorElements, DataOfAViewPointsAtItsFirstElement) {
  const Tensor t = counting({3, 4});
  const Tensor part = slice(t, 0, 2, 3);
  EXPECT_EQ(part.data<float>()[0], 8);
}

TEST(TensorElements, ItemWantsExactlyOneElement) {
  EXPECT_EQ(Tensor::full({1, 1, 1}, 2.5).item(), 2.5);
  EXPECT_EQ(Tensor::full({}, 1, DType::boolean).item(), 1);
  expect_contains(error_of([] { Tensor::zeros({2}).item(); }), {"one element", "f32 (2,)"});
  expect_contains(error_of([] { Tensor::zeros({0}).item(); }), {"one element"});
}

TEST(TensorElements, ToVectorIsLogicalOrderWhateverTheLayout) {
  const Tensor t = counting({2, 3, 2, 2});
  const std::vector<double> expected = values(t);
  EXPECT_EQ(values(t.contiguous(MemoryFormat::channels_last)), expected);
  EXPECT_EQ(transpose(counting({2, 2}), 0, 1).to_vector<std::int32_t>(), std::vector<std::int32_t>({0, 2, 1, 3}));
  EXPECT_EQ(t.detach().requires_grad_().to_vector<float>()[5], 5.0f) << "a leaf that requires grad can be read";
  EXPECT_TRUE(Tensor::zeros({0, 2}).to_vector<float>().empty());
}

TEST(TensorElements, CloneIsIndependentAndKeepsTheLayout) {
  Tensor t = counting({2, 3, 2, 2}).contiguous(MemoryFormat::channels_last);
  Tensor copy = t.clone();
  EXPECT_EQ(copy.strides(), t.strides());
  t.fill_(0);
  EXPECT_EQ(at(copy, {1, 2, 1, 1}), 23);
  copy.fill_(7);
  EXPECT_EQ(at(t, {0, 0, 0, 0}), 0);
  EXPECT_NE(copy.storage(), t.storage());
}

TEST(TensorElements, HandlesShareAndTellWhetherTheyAreTheSame) {
  Tensor a = Tensor::zeros({2}), b = a;
  b.fill_(3);
  EXPECT_EQ(at(a, {0}), 3);
  EXPECT_TRUE(a.is_same(b));
  EXPECT_FALSE(a.is_same(a.detach()));
}

// --- dtypes
// -----------------------------------------------------------------------------------------------------------

constexpr DType kAll[] = {DType::f32, DType::f64, DType::bf16, DType::f16,
                          DType::i64, DType::i32, DType::u8,   DType::boolean};

TEST(TensorCast, SmallWholeNumbersSurviveEveryPair) {
  for (const DType from : kAll)
    for (const DType to : kAll) {
      SCOPED_TRACE(cat(name(from), " to ", name(to)));
      const Tensor x = counting({3, 2}).to(from), y = x.to(to);
      EXPECT_EQ(y.dtype(), to);
      EXPECT_EQ(x.is_same(y), from == to);
      const bool through_bool = from == DType::boolean || to == DType::boolean;
      EXPECT_EQ(walked(y),
                through_bool ? std::vector<double>({0, 1, 1, 1, 1, 1}) : std::vector<double>({0, 1, 2, 3, 4, 5}));
    }
}

TEST(TensorCast, FractionsTruncateTowardZero) {
  const Tensor x = Tensor::from<double>({-1.75, -0.5, 0.5, 1.75, 2.5}, {5});
  for (const DType from : {DType::f64, DType::f32, DType::bf16, DType::f16})
    for (const DType to : {DType::i64, DType::i32}) {
      SCOPED_TRACE(cat(name(from), " to ", name(to)));
      EXPECT_EQ(walked(x.to(from).to(to)), std::vector<double>({-1, 0, 0, 1, 2}));
    }
  EXPECT_EQ(walked(x.to(DType::boolean)), std::vector<double>({1, 1, 1, 1, 1}));
}

TEST(TensorCast, Bf16RoundsToNearestEven) {
  // 8 bits of mantissa: between 1 and 2 the step is 2^-7.
  const double step = 0x1p-7;
  const Tensor x = Tensor::from<float>({static_cast<float>(1 + 0.5 * step), static_cast<float>(1 + 1.5 * step),
                                        static_cast<float>(1 + 0.50001 * step), 3.4e38f},
                                       {4});
  const std::vector<double> y = walked(x.to(DType::bf16));
  EXPECT_EQ(y[0], 1.0) << "a tie goes to the even neighbour";
  EXPECT_EQ(y[1], 1 + 2 * step);
  EXPECT_EQ(y[2], 1 + step);
  EXPECT_TRUE(std::isinf(y[3]));
}

TEST(TensorCast, F16RoundsToNearestEvenKeepsSubnormalsAndOverflows) {
  const double step = 0x1p-10;
  const Tensor x = Tensor::from<float>({static_cast<float>(1 + 0.5 * step), static_cast<float>(1 + 1.5 * step),
                                        65519.0f, 65520.0f, 0x1p-24f, 0x1p-25f, 0x1.8p-24f, -2.0f},
                                       {8});
  const std::vector<double> y = walked(x.to(DType::f16));
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(y, std::vector<double>({1, 1 + 2 * step, 65504, infinity, 0x1p-24, 0, 0x1p-23, -2}));
}

TEST(TensorCast, SpecialValuesPassBetweenFloatingTypes) {
  const double infinity = std::numeric_limits<double>::infinity(), nan = std::nan("");
  const Tensor x = Tensor::from<double>({infinity, -infinity, nan, -0.0}, {4});
  for (const DType to : {DType::f32, DType::bf16, DType::f16}) {
    const std::vector<double> y = walked(x.to(to));
    EXPECT_EQ(y[0], infinity) << name(to);
    EXPECT_EQ(y[1], -infinity) << name(to);
    EXPECT_TRUE(std::isnan(y[2])) << name(to);
    EXPECT_TRUE(y[3] == 0 && std::signbit(y[3])) << name(to);
  }
}

TEST(TensorCast, EveryHalfPatternSurvivesTheWayThroughFloat) {
  Tensor bits = Tensor::empty({65536}, DType::f16);
  for (int i = 0; i < 65536; ++i) bits.data<f16>()[i].bits = static_cast<std::uint16_t>(i);
  const Tensor back = bits.to(DType::f32).to(DType::f16);
  for (int i = 0; i < 65536; ++i) {
    const float value = static_cast<float>(std::as_const(bits).data<f16>()[i]);
    const f16 came = std::as_const(back).data<f16>()[i];
    if (std::isnan(value))
      ASSERT_TRUE(std::isnan(static_cast<float>(came))) << i;
    else
      ASSERT_EQ(came.bits, i);
  }
}

TEST(TensorCast, KeepsADenseLayout) {
  const Tensor image = counting({1, 3, 2, 2}).contiguous(MemoryFormat::channels_last);
  const Tensor y = image.to(DType::f64);
  EXPECT_EQ(y.strides(), image.strides());
  EXPECT_EQ(walked(y), walked(image));
  EXPECT_EQ(walked(transpose(slice(counting({4, 4}), 1, 1, 3), 0, 1).to(DType::i32)),
            std::vector<double>({1, 5, 9, 13, 2, 6, 10, 14}));
}

}  // namespace
}  // namespace graft
