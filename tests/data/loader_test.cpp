#include <graft/core/data/loader.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>

#include <gtest/gtest.h>

#include <graft/core/data/prefetch.h>
#include <graft/core/ops/nn.h>

#include "data/images.h"
#include "support/temporary_folder.h"

namespace graft::data {
namespace {

using test::small_dataset;
using Positions = std::vector<std::int64_t>;

std::vector<Batch> epoch_of(Loader& loader, std::uint64_t epoch) {
  std::vector<Batch> all;
  Batch batch;
  for (loader.start(epoch); loader.next(batch);) all.push_back(batch);
  return all;
}

Positions positions_of(const std::vector<Batch>& batches) {
  Positions all;
  for (const Batch& batch : batches) all.insert(all.end(), batch.positions.begin(), batch.positions.end());
  return all;
}

void expect_same(const std::vector<Batch>& a, const std::vector<Batch>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].positions, b[i].positions) << i;
    EXPECT_EQ(a[i].x.to_vector<float>(), b[i].x.to_vector<float>()) << i;
    EXPECT_EQ(a[i].y.to_vector<std::int64_t>(), b[i].y.to_vector<std::int64_t>()) << i;
  }
}

TEST(Loader, EveryPositionOncePerEpoch) {
  Loader loader(small_dataset(103, 5), {.batch_size = 10});
  EXPECT_EQ(loader.batches(), 11);
  for (std::uint64_t epoch = 0; epoch < 3; ++epoch) {
    const std::vector<Batch> batches = epoch_of(loader, epoch);
    ASSERT_EQ(batches.size(), 11u);
    EXPECT_EQ(batches.back().positions.size(), 3u);
    Positions all = positions_of(batches);
    std::sort(all.begin(), all.end());
    for (std::size_t i = 0; i < 103; ++i) EXPECT_EQ(all[i], static_cast<std::int64_t>(i));
  }
}

TEST(Loader, ContentBelongsToThePositions) {
  const Dataset dataset = small_dataset(50, 5, 3, 6);
  const Normalization normalization{.mean = 100, .deviation = 50};
  Loader loader(dataset, {.batch_size = 16, .normalization = normalization});
  for (const Batch& batch : epoch_of(loader, 4)) {
    const auto n = static_cast<std::int64_t>(batch.positions.size());
    EXPECT_EQ(batch.x.shape(), (Shape{n, 3, 6, 6}));
    EXPECT_TRUE(batch.x.is_channels_last());
    EXPECT_EQ(batch.x.to_vector<float>(),
              normalized(dataset.images, normalization, batch.positions).to_vector<float>());
    ASSERT_EQ(batch.y.shape(), Shape{n});
    for (std::size_t i = 0; i < batch.positions.size(); ++i)
      EXPECT_EQ(batch.y.data<std::int64_t>()[i], batch.positions[i] % 5);
  }
}

TEST(Loader, DropLastLeavesOutTheSmallerBatch) {
  Loader loader(small_dataset(103, 5), {.batch_size = 10, .drop_last = true});
  EXPECT_EQ(loader.batches(), 10);
  const std::vector<Batch> batches = epoch_of(loader, 0);
  EXPECT_EQ(batches.size(), 10u);
  for (const Batch& batch : batches) EXPECT_EQ(batch.positions.size(), 10u);
}

TEST(Loader, DropLastKeepsAWholeLastBatch) {
  Loader loader(small_dataset(100, 5), {.batch_size = 10, .drop_last = true});
  EXPECT_EQ(epoch_of(loader, 0).size(), 10u);
}

TEST(Loader, WithoutShuffleTheOrderIsTheDatasets) {
  Loader loader(small_dataset(25, 5), {.batch_size = 10, .shuffle = false});
  const Positions all = positions_of(epoch_of(loader, 3));
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i], static_cast<std::int64_t>(i));
}

TEST(Loader, OrderDependsOnSeedAndEpoch) {
  const Dataset dataset = small_dataset(100, 5);
  Loader a(dataset, {.batch_size = 10, .seed = 1}), b(dataset, {.batch_size = 10, .seed = 1});
  Loader other(dataset, {.batch_size = 10, .seed = 2});
  const Positions of_5 = positions_of(epoch_of(a, 5));
  EXPECT_NE(of_5, positions_of(epoch_of(a, 6)));
  EXPECT_EQ(of_5, positions_of(epoch_of(a, 5))) << "an epoch can be run again";
  EXPECT_EQ(of_5, positions_of(epoch_of(b, 5))) << "whatever ran before";
  EXPECT_NE(of_5, positions_of(epoch_of(other, 5)));
}

TEST(Loader, ShuffleIsUniform) {
  // Where position 0 lands, over 2000 epochs of 5 images: 400 expected in each place, deviation 18.
  Loader loader(small_dataset(5, 5), {.batch_size = 5, .threads = 0});
  std::vector<int> landed(5);
  for (std::uint64_t epoch = 0; epoch < 2000; ++epoch) {
    const Positions all = positions_of(epoch_of(loader, epoch));
    ++landed[static_cast<std::size_t>(std::find(all.begin(), all.end(), 0) - all.begin())];
  }
  for (const int count : landed) EXPECT_NEAR(count, 400, 90);
}

class LoaderThreads : public testing::TestWithParam<int> {};

TEST_P(LoaderThreads, BatchesAreTheSame) {
  const Dataset dataset = small_dataset(103, 5);
  const auto options = [](int threads, int prefetch) {
    return LoaderOptions{.batch_size = 8, .seed = 9, .threads = threads, .prefetch = prefetch};
  };
  Loader plain(dataset, options(0, 1));
  const std::vector<Batch> expected = epoch_of(plain, 2);
  for (const int prefetch : {1, 2, 7, 50}) {
    Loader loader(dataset, options(GetParam(), prefetch));
    expect_same(epoch_of(loader, 2), expected);
  }
}

TEST_P(LoaderThreads, AugmentedBatchesAreTheSame) {
  const Dataset dataset = small_dataset(60, 5, 1, 28);
  const auto options = [](int threads) {
    return LoaderOptions{.batch_size = 8, .augment = AffineAugment::handwriting(), .threads = threads};
  };
  Loader plain(dataset, options(0)), loader(dataset, options(GetParam()));
  expect_same(epoch_of(loader, 2), epoch_of(plain, 2));
}

TEST_P(LoaderThreads, StartInTheMiddleOfAnEpochDropsTheRest) {
  const Dataset dataset = small_dataset(100, 5);
  Loader loader(dataset, {.batch_size = 10, .threads = GetParam()}), plain(dataset, {.batch_size = 10, .threads = 0});
  Batch batch;
  for (std::uint64_t epoch = 0; epoch < 50; ++epoch) {
    loader.start(epoch);
    for (std::uint64_t i = 0; i < epoch % 4; ++i) ASSERT_TRUE(loader.next(batch));
  }
  expect_same(epoch_of(loader, 7), epoch_of(plain, 7));
}

TEST_P(LoaderThreads, EndsCleanlyAnywhere) {
  const Dataset dataset = small_dataset(100, 5);
  Batch batch;
  for (int repeat = 0; repeat < 10; ++repeat)
    for (int taken = -1; taken <= 10; ++taken) {  // -1: not even started
      Loader loader(dataset, {.batch_size = 10, .threads = GetParam(), .prefetch = 2});
      if (taken >= 0) loader.start(0);
      for (int i = 0; i < taken; ++i) ASSERT_TRUE(loader.next(batch));
    }
}

TEST_P(LoaderThreads, NextAfterTheEndStaysFalse) {
  Loader loader(small_dataset(10, 5), {.batch_size = 5, .threads = GetParam()});
  EXPECT_EQ(epoch_of(loader, 0).size(), 2u);
  Batch batch;
  EXPECT_FALSE(loader.next(batch));
  EXPECT_FALSE(loader.next(batch));
}

INSTANTIATE_TEST_SUITE_P(Counts, LoaderThreads, testing::Values(0, 1, 3),
                         [](const auto& tested) { return std::to_string(tested.param); });

TEST(Loader, AugmentationIsTheWarpOfTheNormalisedImages) {
  const Dataset dataset = small_dataset(20, 5, 1, 28);
  const Normalization normalization{.mean = 33.3, .deviation = 78.6};
  const AffineAugment augment = AffineAugment::handwriting();
  Loader loader(dataset, {.batch_size = 20, .seed = 3, .normalization = normalization, .augment = augment});
  const Batch batch = epoch_of(loader, 1).front();
  const Tensor expected = affine_warp(normalized(dataset.images, normalization, batch.positions),
                                      affine_matrices(augment, 3, 1, batch.positions), -33.3 / 78.6);
  EXPECT_EQ(batch.x.to_vector<float>(), expected.to_vector<float>());
  EXPECT_NE(batch.x.to_vector<float>(), normalized(dataset.images, normalization, batch.positions).to_vector<float>());
}

TEST(Loader, AugmentationOfAnImageDiffersBetweenEpochsAndRepeatsWithinOne) {
  Loader loader(small_dataset(20, 5, 1, 28),
                {.batch_size = 20, .shuffle = false, .augment = AffineAugment::handwriting()});
  const std::vector<float> first = epoch_of(loader, 0).front().x.to_vector<float>();
  EXPECT_NE(first, epoch_of(loader, 1).front().x.to_vector<float>());
  EXPECT_EQ(first, epoch_of(loader, 0).front().x.to_vector<float>());
}

TEST(Loader, AugmentationOfBlackStaysBlack) {
  Dataset dataset = small_dataset(10, 5, 1, 28);
  dataset.images.fill_(0);
  Loader loader(
      dataset,
      {.batch_size = 10, .normalization = {.mean = 33.3, .deviation = 78.6}, .augment = AffineAugment::handwriting()});
  for (const float value : epoch_of(loader, 0).front().x.to_vector<float>()) EXPECT_NEAR(value, -33.3 / 78.6, 1e-6);
}

TEST(Loader, FeaturesReplaceThePixels) {
  const Dataset dataset = small_dataset(20, 5);
  const Tensor features = Tensor::arange(60).to(DType::f32).reshape({20, 3});
  Loader loader(dataset, {.batch_size = 8, .features = features, .threads = 2});
  for (const Batch& batch : epoch_of(loader, 1)) {
    ASSERT_EQ(batch.x.shape(), (Shape{static_cast<std::int64_t>(batch.positions.size()), 3}));
    for (std::size_t i = 0; i < batch.positions.size(); ++i) {
      EXPECT_EQ(batch.x.data<float>()[3 * i + 2], static_cast<float>(3 * batch.positions[i] + 2));
      EXPECT_EQ(batch.y.data<std::int64_t>()[i], batch.positions[i] % 5);
    }
  }
  EXPECT_ERROR(Loader(dataset, {.features = Tensor::ones({19, 3})}), "expected one row for each of 20 images");
  EXPECT_ERROR(Loader(dataset, {.augment = {.shift = 1}, .features = features}), "cannot be augmented");
}

TEST(Loader, OptionsOutOfRangeAreNamed) {
  const Dataset dataset = small_dataset(10, 5);
  EXPECT_ERROR(Loader(dataset, {.batch_size = 0}), "batch_size is 0");
  EXPECT_ERROR(Loader(dataset, {.batch_size = 11, .drop_last = true}), "leaves no batch of 10 images");
  EXPECT_ERROR(Loader(dataset, {.threads = -1}), "threads is -1");
  EXPECT_ERROR(Loader(dataset, {.prefetch = 0}), "prefetch is 0");
  EXPECT_ERROR(Loader(dataset, {.normalization = {.deviation = 0}}), "deviation is 0");
  EXPECT_ERROR(Loader(dataset, {.augment = {.scale = 2}}), "scale is 2");
  EXPECT_ERROR(Loader(subset(dataset, {}), {}), "the dataset is empty");
  EXPECT_ERROR(Loader(Dataset{}, {}), "undefined");
}

TEST(Loader, NextBeforeStartIsRefused) {
  Loader loader(small_dataset(10, 5), {});
  Batch batch;
  EXPECT_ERROR(loader.next(batch), "next() before start()");
}

// --- the machinery below
// ------------------------------------------------------------------------------------------------

Batch numbered(std::int64_t index) { return {.x = {}, .y = {}, .positions = {index}}; }

TEST(Prefetcher, AnErrorComesInItsPlaceAndStays) {
  for (const int threads : {0, 1, 3}) {
    Prefetcher prefetcher(threads, 4);
    prefetcher.start(10, [](std::int64_t index) {
      if (index == 3) fail("batch 3 is bad");
      return numbered(index);
    });
    Batch batch;
    for (std::int64_t i = 0; i < 3; ++i) {
      ASSERT_TRUE(prefetcher.next(batch));
      EXPECT_EQ(batch.positions, Positions{i});
    }
    EXPECT_ERROR(prefetcher.next(batch), "batch 3 is bad");
    EXPECT_ERROR(prefetcher.next(batch), "batch 3 is bad");
    prefetcher.start(1, numbered);
    EXPECT_TRUE(prefetcher.next(batch));
    EXPECT_FALSE(prefetcher.next(batch));
  }
}

TEST(Prefetcher, OrderIsKeptWhenBatchesTakeDifferentlyLong) {
  Prefetcher prefetcher(3, 5);
  prefetcher.start(40, [](std::int64_t index) {
    std::this_thread::sleep_for(std::chrono::microseconds(index % 3 == 0 ? 2000 : 10));
    return numbered(index);
  });
  Batch batch;
  for (std::int64_t i = 0; i < 40; ++i) {
    ASSERT_TRUE(prefetcher.next(batch));
    EXPECT_EQ(batch.positions, Positions{i});
  }
  EXPECT_FALSE(prefetcher.next(batch));
}

TEST(Prefetcher, MakesNoMoreThanItsDepthAhead) {
  std::atomic<int> made = 0;
  Prefetcher prefetcher(2, 3);
  prefetcher.start(100, [&](std::int64_t index) {
    ++made;
    return numbered(index);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_LE(made, 3);
  Batch batch;
  ASSERT_TRUE(prefetcher.next(batch));
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_LE(made, 4);
}

TEST(Prefetcher, NothingOfADroppedRunArrivesLater) {
  for (int round = 0; round < 30; ++round) {
    Prefetcher prefetcher(3, 4);
    prefetcher.start(100, [](std::int64_t) {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
      return numbered(-1);
    });
    prefetcher.start(10, numbered);
    Batch batch;
    for (std::int64_t i = 0; i < 10; ++i) {
      ASSERT_TRUE(prefetcher.next(batch));
      EXPECT_EQ(batch.positions, Positions{i});
    }
  }
}

TEST(Prefetcher, NoBatches) {
  Prefetcher prefetcher(1, 1);
  prefetcher.start(0, numbered);
  Batch batch;
  EXPECT_FALSE(prefetcher.next(batch));
}

}  // namespace
}  // namespace graft::data
