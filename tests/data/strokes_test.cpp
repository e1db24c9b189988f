#include <graft/core/data/strokes.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include <gtest/gtest.h>

#include <graft/kernels/runtime/parallel.h>

#include "support/temporary_folder.h"

namespace graft::data {
namespace {

constexpr std::int64_t kPixels = kStrokesSide * kStrokesSide;
using Image = std::vector<std::uint8_t>;

Image image_of(const Dataset& dataset, std::int64_t i) {
  const std::uint8_t* p = dataset.images.data<std::uint8_t>() + i * kPixels;
  return Image(p, p + kPixels);
}

Image drawn(std::uint64_t seed, std::int64_t stroke_class, std::int64_t index) {
  Image image(kPixels);
  draw_stroke_glyph(seed, stroke_class, index, image.data());
  return image;
}

double squared_distance(const Image& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

TEST(Strokes, ShapesAndLabels) {
  const Dataset dataset = make_strokes({.classes = 7, .images = 20});
  dataset.validate();
  EXPECT_EQ(dataset.images.shape(), (Shape{20, 1, 28, 28}));
  EXPECT_EQ(dataset.classes, 7);
  for (std::int64_t i = 0; i < 20; ++i) EXPECT_EQ(dataset.labels.data<std::int64_t>()[i], i % 7);
}

TEST(Strokes, AnImageDependsOnSeedClassAndIndexOnly) {
  const Dataset small = make_strokes({.classes = 10, .images = 30, .seed = 5});
  const Dataset large = make_strokes({.classes = 10, .images = 500, .seed = 5});
  const Dataset more_classes = make_strokes({.classes = 50, .images = 200, .seed = 5});
  const Dataset later = make_strokes({.classes = 10, .images = 30, .seed = 5, .first_index = 2});
  for (std::int64_t i = 0; i < 30; ++i) {
    EXPECT_EQ(image_of(small, i), image_of(large, i));
    EXPECT_EQ(image_of(small, i), drawn(5, i % 10, i / 10));
    EXPECT_EQ(image_of(small, i), image_of(more_classes, i % 10 + 50 * (i / 10)));
    EXPECT_EQ(image_of(later, i), drawn(5, i % 10, 2 + i / 10));
  }
}

TEST(Strokes, ThreadsChangeNothing) {
  const int before = num_threads();
  set_num_threads(1);
  const Image one = make_strokes({.classes = 100, .images = 1000}).images.to_vector<std::uint8_t>();
  for (const int threads : {2, 3, 8}) {
    set_num_threads(threads);
    EXPECT_EQ(make_strokes({.classes = 100, .images = 1000}).images.to_vector<std::uint8_t>(), one) << threads;
  }
  set_num_threads(before);
}

TEST(Strokes, SeedsClassesAndIndicesGiveOtherImages) {
  const Image image = drawn(1, 2, 3);
  EXPECT_EQ(image, drawn(1, 2, 3));
  EXPECT_NE(image, drawn(2, 2, 3));
  EXPECT_NE(image, drawn(1, 3, 3));
  EXPECT_NE(image, drawn(1, 2, 4));
}

TEST(Strokes, NoTwoImagesAreTheSame) {
  const Dataset dataset = make_strokes({.classes = 1000, .images = 5000});
  std::set<std::string> seen;
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    const Image image = image_of(dataset, i);
    seen.emplace(image.begin(), image.end());
  }
  EXPECT_EQ(seen.size(), 5000u);
}

TEST(Strokes, PixelsLookLikeMnists) {
  const Dataset dataset = make_strokes({.classes = 1000, .images = 10000});
  double sum = 0, squares = 0;
  std::int64_t white = 0;
  const std::uint8_t* pixel = dataset.images.data<std::uint8_t>();
  const std::int64_t n = dataset.images.numel();
  for (std::int64_t i = 0; i < n; ++i) {
    const double v = pixel[i] / 255.0;
    sum += v;
    squares += v * v;
    white += pixel[i] == 255;
  }
  const double mean = sum / static_cast<double>(n);
  EXPECT_NEAR(mean, .127, .004);
  EXPECT_NEAR(std::sqrt(squares / static_cast<double>(n) - mean * mean), .307, .005);
  EXPECT_GT(white, n / 50);
}

TEST(Strokes, EveryImageIsInkInTheMiddleOfBlack) {
  const Dataset dataset = make_strokes({.classes = 1000, .images = 3000});
  double centre_x = 0, centre_y = 0;
  std::int64_t on_border = 0;
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    const Image image = image_of(dataset, i);
    double ink = 0, x_ink = 0, y_ink = 0;
    bool border = false;
    for (std::int64_t y = 0; y < 28; ++y)
      for (std::int64_t x = 0; x < 28; ++x) {
        const double v = image[static_cast<std::size_t>(28 * y + x)];
        ink += v;
        x_ink += v * static_cast<double>(x);
        y_ink += v * static_cast<double>(y);
        border |= v > 0 && (x == 0 || y == 0 || x == 27 || y == 27);
      }
    ASSERT_GT(ink, 255 * 15) << i;
    // Where strokes cross, ink counts once in the picture but twice along the line, hence the room.
    EXPECT_NEAR(x_ink / ink, 13.5, 3.5) << i;
    EXPECT_NEAR(y_ink / ink, 13.5, 3.5) << i;
    centre_x += x_ink / ink;
    centre_y += y_ink / ink;
    on_border += border;
  }
  EXPECT_NEAR(centre_x / static_cast<double>(dataset.size()), 13.5, .1);
  EXPECT_NEAR(centre_y / static_cast<double>(dataset.size()), 13.5, .1);
  EXPECT_LT(on_border, dataset.size() / 10);
}

TEST(Strokes, ClassesCanBeToldApartByTheirMeanImages) {
  constexpr std::int64_t kClasses = 50, kKnown = 30, kAsked = 10;
  const Dataset dataset = make_strokes({.classes = kClasses, .images = kClasses * (kKnown + kAsked)});
  std::vector<std::vector<double>> means(kClasses, std::vector<double>(kPixels));
  for (std::int64_t i = 0; i < kClasses * kKnown; ++i) {
    const Image image = image_of(dataset, i);
    std::vector<double>& mean = means[static_cast<std::size_t>(i % kClasses)];
    for (std::size_t j = 0; j < image.size(); ++j) mean[j] += image[j] / static_cast<double>(kKnown);
  }
  int right = 0;
  for (std::int64_t i = kClasses * kKnown; i < dataset.size(); ++i) {
    const Image image = image_of(dataset, i);
    const auto nearest = std::min_element(means.begin(), means.end(), [&](const auto& a, const auto& b) {
      return squared_distance(image, a) < squared_distance(image, b);
    });
    right += nearest - means.begin() == i % kClasses;
  }
  // Guessing gets 10 of 500 right; mean images get about 200, for the hand's variation is larger than their blur.
  EXPECT_GT(right, 100);
  EXPECT_LT(right, 475);
}

TEST(Strokes, ProgressCountsUpToAll) {
  std::vector<std::int64_t> told;
  make_strokes({.classes = 10, .images = 20000}, [&](std::int64_t done) { told.push_back(done); });
  ASSERT_GT(told.size(), 1u);
  EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
  EXPECT_EQ(told.back(), 20000);
}

TEST(Strokes, AnErrorOfProgressIsPassedOn) {
  EXPECT_ERROR(make_strokes({.classes = 10, .images = 100}, [](std::int64_t) { fail("stop here"); }), "stop here");
}

TEST(Strokes, FewerImagesThanClasses) {
  const Dataset dataset = make_strokes({.classes = 1000, .images = 3});
  EXPECT_EQ(dataset.size(), 3);
  EXPECT_EQ(dataset.classes, 1000);
}

TEST(Strokes, CountsOutOfRangeAreNamed) {
  EXPECT_ERROR(make_strokes({.classes = 0}), "classes is 0");
  EXPECT_ERROR(make_strokes({.images = 0}), "images is 0");
  EXPECT_ERROR(make_strokes({.first_index = -1}), "first_index is -1");
  Image image(kPixels);
  EXPECT_ERROR(draw_stroke_glyph(1, -1, 0, image.data()), "must not be negative");
}

}  // namespace
}  // namespace graft::data
