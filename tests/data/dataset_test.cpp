#include <graft/core/data/dataset.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include <graft/core/ops/view.h>

#include "data/images.h"
#include "support/temporary_folder.h"

namespace graft::data {
namespace {

using test::small_dataset;
using Positions = std::vector<std::int64_t>;

TEST(DatasetValidate, NamesWhatIsWrong) {
  const auto broken = [](auto change) {
    Dataset dataset = small_dataset(6, 3);
    change(dataset);
    return test::error_of([&] { dataset.validate(); });
  };
  EXPECT_EQ(broken([](Dataset&) {}), "");
  const auto has = [&](const std::string& text, const char* fragment) {
    EXPECT_NE(text.find(fragment), std::string::npos) << text << "\nshould say: " << fragment;
  };
  has(broken([](Dataset& d) { d.images = Tensor(); }), "got an undefined tensor");
  has(broken([](Dataset& d) { d.labels = Tensor(); }), "got an undefined tensor");
  has(broken([](Dataset& d) { d.images = Tensor::ones({6, 1, 4, 4}); }), "got f32 (6, 1, 4, 4)");
  has(broken([](Dataset& d) { d.images = d.images.reshape({6, 4, 4}); }), "images must be (N, C, H, W) u8");
  has(broken([](Dataset& d) { d.images = transpose(d.images, 2, 3); }), "images must be contiguous");
  has(broken([](Dataset& d) { d.labels = d.labels.to(DType::i32); }), "labels must be (N) i64");
  has(broken([](Dataset& d) { d.labels = d.labels.reshape({6, 1}); }), "labels must be (N) i64");
  has(broken([](Dataset& d) { d.labels = Tensor::arange(5); }), "6 images but 5 labels");
  has(broken([](Dataset& d) { d.classes = 0; }), "classes is 0");
  has(broken([](Dataset& d) { d.classes = 2; }), "label 2 at position 2 is outside 0..1");
  has(broken([](Dataset& d) { d.labels.data<std::int64_t>()[4] = -1; }), "label -1 at position 4");
  has(broken([](Dataset& d) { d.class_names = {"a", "b"}; }), "2 class names for 3 classes");
}

TEST(Subset, CopiesInTheOrderAsked) {
  Dataset dataset = small_dataset(6, 3);
  dataset.class_names = {"a", "b", "c"};
  const Dataset part = subset(dataset, {4, 0, 4});
  EXPECT_EQ(part.labels.to_vector<std::int64_t>(), (Positions{1, 0, 1}));
  EXPECT_EQ(part.images.shape(), (Shape{3, 1, 4, 4}));
  EXPECT_EQ(part.images.data<std::uint8_t>()[0], 28);
  EXPECT_EQ(part.images.data<std::uint8_t>()[16], 0);
  EXPECT_EQ(part.classes, 3);
  EXPECT_EQ(part.class_names, dataset.class_names);
  dataset.images.fill_(0);
  EXPECT_EQ(part.images.data<std::uint8_t>()[0], 28) << "a copy, not a view";
}

TEST(Subset, OfNothing) {
  const Dataset none = subset(small_dataset(6, 3), {});
  EXPECT_EQ(none.size(), 0);
  EXPECT_EQ(none.images.shape(), (Shape{0, 1, 4, 4}));
  none.validate();
}

TEST(Subset, NamesAPositionOutside) {
  EXPECT_ERROR(subset(small_dataset(6, 3), {0, 6}), "position 6 (entry 1) is outside a dataset of 6 images");
  EXPECT_ERROR(subset(small_dataset(6, 3), {-1}), "position -1");
}

TEST(Stratified, ExactCountsWithoutRepeats) {
  const Dataset dataset = small_dataset(103, 5);
  for (const std::int64_t k : {0, 1, 7, 20}) {
    const Positions chosen = stratified_positions(dataset, k, 3);
    EXPECT_EQ(static_cast<std::int64_t>(chosen.size()), 5 * k);
    EXPECT_EQ(std::set(chosen.begin(), chosen.end()).size(), chosen.size());
    for (std::size_t i = 0; i < chosen.size(); ++i)
      EXPECT_EQ(chosen[i] % 5, static_cast<std::int64_t>(i) / k) << "sorted by class";
  }
}

TEST(Stratified, SmallerChoicesArePrefixesOfLarger) {
  const Dataset dataset = small_dataset(200, 4);
  const Positions ten = stratified_positions(dataset, 10, 9);
  for (const std::int64_t k : {1, 3, 9}) {
    const Positions fewer = stratified_positions(dataset, k, 9);
    for (std::int64_t c = 0; c < 4; ++c)
      for (std::int64_t rank = 0; rank < k; ++rank)
        EXPECT_EQ(fewer[static_cast<std::size_t>(c * k + rank)], ten[static_cast<std::size_t>(c * 10 + rank)]);
  }
}

TEST(Stratified, SeedsGiveOtherChoicesAndRepeatTheirOwn) {
  const Dataset dataset = small_dataset(1000, 10);
  EXPECT_EQ(stratified_positions(dataset, 5, 1), stratified_positions(dataset, 5, 1));
  EXPECT_NE(stratified_positions(dataset, 5, 1), stratified_positions(dataset, 5, 2));
}

TEST(Stratified, EveryMemberIsChosenEquallyOften) {
  const Dataset dataset = small_dataset(20, 2);  // 10 a class
  std::map<std::int64_t, int> times;
  for (std::uint64_t seed = 0; seed < 2000; ++seed)
    for (const std::int64_t position : stratified_positions(dataset, 3, seed)) ++times[position];
  // 600 expected, deviation 20.5.
  for (std::int64_t i = 0; i < 20; ++i) EXPECT_NEAR(times[i], 600, 103) << i;
}

TEST(Stratified, AClassWithTooFewIsNamed) {
  EXPECT_ERROR(stratified_positions(small_dataset(14, 5), 3, 0), "class 4 has 2 images, fewer than the 3 asked for");
  EXPECT_ERROR(stratified_positions(small_dataset(14, 5), -1, 0), "k is -1");
}

TEST(Stratified, SubsetHoldsTheChosenImages) {
  const Dataset dataset = small_dataset(40, 4);
  const Dataset part = stratified_subset(dataset, 2, 5);
  EXPECT_EQ(part.labels.to_vector<std::int64_t>(), (Positions{0, 0, 1, 1, 2, 2, 3, 3}));
  const Dataset expected = subset(dataset, stratified_positions(dataset, 2, 5));
  EXPECT_EQ(part.images.to_vector<std::uint8_t>(), expected.images.to_vector<std::uint8_t>());
}

TEST(Normalized, ValuesShapeAndLayout) {
  const Dataset dataset = small_dataset(5, 5, 3, 4);
  const Normalization normalization{.mean = 33.3, .deviation = 78.6};
  const Tensor x = normalized(dataset.images, normalization);
  EXPECT_EQ(x.shape(), dataset.images.shape());
  EXPECT_EQ(x.dtype(), DType::f32);
  EXPECT_TRUE(x.is_channels_last());
  const std::vector<float> values = x.to_vector<float>();
  const std::vector<std::uint8_t> pixels = dataset.images.to_vector<std::uint8_t>();
  for (std::size_t i = 0; i < values.size(); ++i)
    EXPECT_EQ(values[i], static_cast<float>((pixels[i] - 33.3) / 78.6)) << i;
}

TEST(Normalized, PositionsInTheOrderAsked) {
  const Dataset dataset = small_dataset(5, 5, 2, 3);
  const std::vector<float> all = normalized(dataset.images, {}).to_vector<float>();
  const std::vector<float> some = normalized(dataset.images, {}, {3, 0, 3}).to_vector<float>();
  ASSERT_EQ(some.size(), 3u * 18);
  EXPECT_TRUE(std::equal(some.begin(), some.begin() + 18, all.begin() + 54));
  EXPECT_TRUE(std::equal(some.begin() + 18, some.begin() + 36, all.begin()));
  EXPECT_TRUE(std::equal(some.begin() + 36, some.end(), all.begin() + 54));
}

TEST(Normalized, AcceptsChannelsLastPixels) {
  const Dataset dataset = small_dataset(3, 3, 3, 4);
  EXPECT_EQ(normalized(dataset.images.contiguous(MemoryFormat::channels_last), {}).to_vector<float>(),
            normalized(dataset.images, {}).to_vector<float>());
}

TEST(Normalized, Refusals) {
  const Dataset dataset = small_dataset(3, 3);
  EXPECT_ERROR(normalized(dataset.images, {.mean = 0, .deviation = 0}), "deviation is 0");
  EXPECT_ERROR(normalized(dataset.images, {.mean = std::numeric_limits<double>::quiet_NaN()}), "mean is ");
  EXPECT_ERROR(normalized(dataset.images, {}, {3}), "position 3 (entry 0) is outside a dataset of 3 images");
  EXPECT_ERROR(normalized(Tensor::ones({3, 1, 4, 4}), {}), "must be (N, C, H, W) u8");
  EXPECT_ERROR(normalized(Tensor(), {}), "undefined");
}

}  // namespace
}  // namespace graft::data
