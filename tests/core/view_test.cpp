// Views and rearrangements against naive loops over positions.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <tuple>

#include <graft/core/ops/view.h>

#include "core/helpers.h"

namespace graft {
namespace {

using Position = std::vector<std::int64_t>;

struct Layout {
  const char* name;
  Tensor tensor;
};

/// Tensors whose elements are all different, in many memory layouts.
std::vector<Layout> layouts() {
  const Tensor wide = counting({4, 6, 8});
  return {{"rows", counting({2, 3, 4})},
          {"turned", permute(counting({4, 3, 2}), {2, 1, 0})},
          {"half turned", transpose(counting({3, 2, 4}), 0, 1)},
          {"every second row", slice(counting({2, 6, 4}), 1, 0, 6, 2)},
          {"inner part", slice(slice(wide, 2, 2, 6), 1, 1, 4)},
          {"broadcast", expand(counting({3, 1}), {2, 3, 4})},
          {"sizes of one", counting({1, 3, 1, 4, 1})},
          {"part of one", slice(counting({4, 6}), 0, 1, 2)},
          {"channels last", counting({2, 3, 4, 2}).contiguous(MemoryFormat::channels_last)},
          {"scalar", counting({})},
          {"nothing", counting({2, 0, 3})}};
}

std::vector<Shape> factorings(std::int64_t n) {
  if (n == 0) return {{0}, {0, 5}, {3, 0, 2}, {2, 0, 3}};
  std::vector<Shape> shapes = {{n}, {1, n}, {n, 1}, {1, n, 1, 1}};
  for (std::int64_t a = 2; a < n; ++a)
    if (n % a == 0) {
      shapes.push_back({a, n / a});
      shapes.push_back({a, 1, n / a});
      for (std::int64_t b = 2; b < n / a; ++b)
        if (n / a % b == 0) shapes.push_back({a, b, n / a / b});
    }
  return shapes;
}

TEST(Reshape, KeepsTheLogicalOrderForEveryLayout) {
  for (const auto& [name, x] : layouts()) {
    const std::vector<double> expected = walked(x);
    for (const Shape& shape : factorings(x.numel())) {
      SCOPED_TRACE(cat(name, " ", to_string(x.shape()), " to ", to_string(shape)));
      const Tensor y = x.reshape(shape);
      EXPECT_EQ(y.shape(), shape);
      EXPECT_EQ(walked(y), expected);
    }
  }
}

TEST(Reshape, IsAViewWhereTheStridesAllow) {
  const Tensor x = counting({4, 6});
  EXPECT_EQ(x.reshape({2, 12}).storage(), x.storage());
  EXPECT_EQ(slice(x, 0, 1, 3).reshape({12}).storage(), x.storage()) << "whole rows lie together";
  const Tensor half = slice(x, 1, 0, 3);
  EXPECT_EQ(half.reshape({4, 3, 1}).storage(), x.storage());
  EXPECT_NE(half.reshape({12}).storage(), x.storage()) << "rows with gaps cannot be merged";
  const Tensor turned = transpose(x, 0, 1);
  EXPECT_EQ(turned.reshape({2, 3, 4}).storage(), x.storage()) << "splitting needs no copy";
  EXPECT_NE(turned.reshape({24}).storage(), x.storage());
  EXPECT_EQ(expand(counting({3, 1}), {3, 4}).reshape({3, 2, 2}).strides(), Shape({1, 0, 0}));
}

TEST(Reshape, AViewSeesChanges) {
  Tensor x = counting({2, 3});
  const Tensor y = x.reshape({3, 2});
  x.fill_(5);
  EXPECT_EQ(walked(y), std::vector<double>(6, 5));
}

TEST(Reshape, ComputesOneUnknownSize) {
  EXPECT_EQ(counting({2, 6}).reshape({-1, 4}).shape(), Shape({3, 4}));
  EXPECT_EQ(counting({}).reshape({-1}).shape(), Shape({1}));
  EXPECT_EQ(counting({0, 3}).reshape({-1, 3}).shape(), Shape({0, 3}));
}

TEST(Reshape, RefusesWhatDoesNotFit) {
  const Tensor x = counting({2, 3});
  expect_contains(error_of([&] { x.reshape({4, 2}); }), {"(2, 3)", "6 elements", "(4, 2)", "8"});
  expect_contains(error_of([&] { x.reshape({-1, -1}); }), {"more than one -1"});
  expect_contains(error_of([&] { x.reshape({-1, 4}); }), {"(2, 3)", "(-1, 4)"});
  expect_contains(error_of([&] { x.reshape({-2, -3}); }), {"(-2, -3)"});
  expect_contains(error_of([&] { counting({0}).reshape({-1, 0}); }), {"(-1, 0)"});
  const std::int64_t big = std::int64_t{1} << 32;  // big * big wraps around to 0
  expect_contains(error_of([&] { counting({0}).reshape({big, big}); }), {"reshape"});
}

TEST(Flatten, GivesChannelsFirstOrderForImages) {
  const Tensor rows = counting({2, 3, 2, 2});
  const Tensor flat = rows.contiguous(MemoryFormat::channels_last).flatten(1);
  EXPECT_EQ(flat.shape(), Shape({2, 12}));
  EXPECT_EQ(walked(flat), walked(rows));
}

TEST(Flatten, MergesTheNamedDimensions) {
  const Tensor x = counting({2, 3, 4, 5});
  EXPECT_EQ(x.flatten().shape(), Shape({120}));
  EXPECT_EQ(x.flatten(1, 2).shape(), Shape({2, 12, 5}));
  EXPECT_EQ(x.flatten(-2).shape(), Shape({2, 3, 20}));
  EXPECT_EQ(x.flatten(2, 2).shape(), x.shape());
  EXPECT_EQ(counting({}).flatten().shape(), Shape({1}));
  expect_contains(error_of([&] { x.flatten(3, 1); }), {"start 3", "end 1"});
  expect_contains(error_of([&] { x.flatten(0, 4); }), {"dimension 4"});
}

TEST(Permute, MovesEveryElement) {
  for (const Layout& layout : layouts()) {
    const auto& name = layout.name;
    const Tensor& x = layout.tensor;
    if (x.dim() != 3) continue;
    SCOPED_TRACE(name);
    std::vector<int> order = {0, 1, 2};
    do {
      const Tensor y = permute(x, order);
      EXPECT_EQ(y.storage(), x.storage());
      each_position(y.shape(), [&](const Position& p) {
        Position q(3);
        for (std::size_t i = 0; i < 3; ++i) q[static_cast<std::size_t>(order[i])] = p[i];
        EXPECT_EQ(at(y, p), at(x, q));
      });
    } while (std::next_permutation(order.begin(), order.end()));
  }
  EXPECT_EQ(permute(counting({2, 3}), {-1, -2}).shape(), Shape({3, 2}));
}

TEST(Permute, RefusesBadOrders) {
  const Tensor x = counting({2, 3});
  expect_contains(error_of([&] { permute(x, {0}); }), {"rank 2", "1 dimensions"});
  expect_contains(error_of([&] { permute(x, {0, 0}); }), {"dimension 0", "twice"});
  expect_contains(error_of([&] { permute(x, {1, -1}); }), {"dimension -1", "twice"});
  expect_contains(error_of([&] { permute(x, {0, 2}); }), {"dimension 2"});
  expect_contains(error_of([&] { transpose(x, 0, 2); }), {"transpose", "dimension 2"});
}

TEST(Slice, MatchesPythonForEveryStartEndAndStep) {
  for (const Layout& layout : layouts()) {
    const auto& name = layout.name;
    const Tensor& x = layout.tensor;
    if (x.dim() != 3 || x.numel() == 0) continue;
    for (int dim = 0; dim < 3; ++dim) {
      const std::int64_t n = x.size(dim);
      for (std::int64_t start = -n - 1; start <= n + 1; ++start)
        for (std::int64_t end = -n - 1; end <= n + 1; ++end)
          for (const std::int64_t step : {1, 2, 3}) {
            std::vector<std::int64_t> kept;
            const auto clamp = [n](std::int64_t i) {
              return std::min(std::max(i < 0 ? i + n : i, std::int64_t{0}), n);
            };
            for (std::int64_t i = clamp(start); i < clamp(end); i += step) kept.push_back(i);
            const Tensor y = slice(x, dim, start, end, step);
            ASSERT_EQ(y.size(dim), static_cast<std::int64_t>(kept.size()))
                << name << start << ":" << end << ":" << step;
            each_position(y.shape(), [&](const Position& p) {
              Position q = p;
              q[static_cast<std::size_t>(dim)] = kept[static_cast<std::size_t>(p[static_cast<std::size_t>(dim)])];
              ASSERT_EQ(at(y, p), at(x, q)) << name << start << ":" << end << ":" << step;
            });
          }
    }
  }
}

TEST(Slice, TakesExtremeArguments) {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min();
  const Tensor x = counting({5});
  EXPECT_EQ(walked(slice(x, 0, least, most)), walked(x));
  EXPECT_EQ(walked(slice(x, 0, 2, most, most)), std::vector<double>({2}));
  EXPECT_EQ(slice(x, 0, most, least).numel(), 0);
  EXPECT_EQ(slice(x, -1, 5, 5).storage_offset(), 0) << "an empty view points at nothing outside";
  expect_contains(error_of([&] { slice(x, 0, 0, 5, 0); }), {"step >= 1", "0"});
  expect_contains(error_of([&] { slice(x, 0, 0, 5, -1); }), {"step >= 1", "-1"});
  expect_contains(error_of([&] { slice(x, 1, 0, 5); }), {"dimension 1"});
}

TEST(Expand, RepeatsWithoutCopying) {
  const Tensor x = counting({3, 1});
  const Tensor y = expand(x, {2, 3, 4});
  EXPECT_EQ(y.storage(), x.storage());
  EXPECT_EQ(y.strides(), Shape({0, 1, 0}));
  each_position(y.shape(), [&](const Position& p) { EXPECT_EQ(at(y, p), at(x, {p[1], 0})); });
  EXPECT_TRUE(expand(x, {3, 1}).is_same(x));
  EXPECT_EQ(expand(x, {3, 0}).numel(), 0);
}

TEST(Expand, RefusesWhatDoesNotBroadcast) {
  const Tensor x = counting({3, 1});
  expect_contains(error_of([&] { expand(x, {2, 4}); }), {"(3, 1)", "(2, 4)", "dimension 0"});
  expect_contains(error_of([&] { expand(x, {3}); }), {"(3, 1)", "(3,)"});
  expect_contains(error_of([&] { expand(x, {3, -1}); }), {"negative"});
  expect_contains(error_of([&] { expand(x, {-1, 3, 1}); }), {"negative"});
}

TEST(Squeeze, AddsAndRemovesSizesOfOne) {
  const Tensor x = transpose(counting({2, 3}), 0, 1);
  for (const int dim : {0, 1, 2, -1, -3}) {
    const Tensor y = unsqueeze(x, dim);
    EXPECT_EQ(y.size(dim), 1);
    EXPECT_EQ(y.storage(), x.storage());
    EXPECT_EQ(walked(y), walked(x));
    EXPECT_EQ(squeeze(y, dim).strides(), x.strides());
  }
  expect_contains(error_of([&] { squeeze(x, 0); }), {"dimension 0", "(3, 2)", "not 1"});
  expect_contains(error_of([&] { unsqueeze(x, 3); }), {"dimension 3"});
}

TEST(Concat, JoinsPartsOfAnyLayout) {
  const Tensor a = counting({2, 3}), b = transpose(counting({3, 2}), 0, 1), c = expand(counting({1, 3}), {2, 3});
  const Tensor rows = concat({a, b, c}, 0), columns = concat({a, b, slice(c, 1, 0, 0)}, -1);
  EXPECT_EQ(rows.shape(), Shape({6, 3}));
  EXPECT_EQ(columns.shape(), Shape({2, 6}));
  const std::vector<Tensor> parts = {a, b, c};
  each_position(rows.shape(), [&](const Position& p) {
    EXPECT_EQ(at(rows, p), at(parts[static_cast<std::size_t>(p[0] / 2)], {p[0] % 2, p[1]}));
  });
  each_position(columns.shape(), [&](const Position& p) {
    EXPECT_EQ(at(columns, p), at(parts[static_cast<std::size_t>(p[1] / 3)], {p[0], p[1] % 3}));
  });
}

TEST(Concat, KeepsImagesChannelsLast) {
  const Tensor image = counting({1, 2, 2, 2}).contiguous(MemoryFormat::channels_last);
  const Tensor joined = concat({image, image}, 1);
  EXPECT_TRUE(joined.is_channels_last());
  each_position(joined.shape(), [&](const Position& p) {
    EXPECT_EQ(at(joined, p), at(image, {p[0], p[1] % 2, p[2], p[3]}));
  });
}

TEST(Concat, RefusesPartsThatDoNotFit) {
  expect_contains(error_of([] { concat({}, 0); }), {"no tensors"});
  expect_contains(error_of([] { concat({counting({2, 3}), counting({2, 2})}, 0); }), {"part 1", "(2, 2)", "(2, 3)"});
  expect_contains(error_of([] { concat({counting({2}), counting({2}, DType::f64)}, 0); }), {"part 1", "f64"});
  expect_contains(error_of([] { concat({counting({2}), counting({2, 1})}, 0); }), {"part 1", "(2, 1)"});
  expect_contains(error_of([] { concat({counting({2}), Tensor()}, 0); }), {"undefined"});
}

TEST(IndexSelect, PicksAlongEveryDimensionOfEveryLayout) {
  for (const Layout& layout : layouts()) {
    const auto& name = layout.name;
    const Tensor& x = layout.tensor;
    if (x.dim() != 3 || x.numel() == 0) continue;
    for (int dim = 0; dim < 3; ++dim) {
      const std::int64_t n = x.size(dim);
      const std::vector<std::int64_t> index = {n - 1, 0, n - 1, n / 2};
      const Tensor y = index_select(x, dim, Tensor::from(index, {4}));
      EXPECT_EQ(y.size(dim), 4);
      each_position(y.shape(), [&](const Position& p) {
        Position q = p;
        const auto d = static_cast<std::size_t>(dim);
        q[d] = index[static_cast<std::size_t>(p[d])];
        EXPECT_EQ(at(y, p), at(x, q)) << name;
      });
    }
  }
  EXPECT_EQ(index_select(counting({2, 3}), 0, Tensor::arange(0)).shape(), Shape({0, 3}));
}

TEST(IndexSelect, WorksForEveryDtypeAndRefusesBadIndices) {
  for (const DType dtype : {DType::f64, DType::bf16, DType::f16, DType::i64, DType::i32, DType::u8})
    EXPECT_EQ(walked(index_select(counting({3}, dtype), 0, Tensor::from<std::int64_t>({2, 2, 0}, {3}))),
              std::vector<double>({2, 2, 0}))
        << name(dtype);
  const Tensor x = counting({3, 2});
  expect_contains(error_of([&] { index_select(x, 0, Tensor::from<std::int64_t>({0, 3}, {2})); }), {"3"});
  expect_contains(error_of([&] { index_select(x, 0, Tensor::from<std::int64_t>({-1}, {1})); }), {"-1"});
  expect_contains(error_of([&] { index_select(x, 0, Tensor::from<float>({1}, {1})); }), {"i64", "f32"});
  expect_contains(error_of([&] { index_select(x, 0, Tensor::zeros({1, 1}, DType::i64)); }), {"rank 1"});
}

TEST(Gather, PicksAlongEveryDimensionOfEveryLayout) {
  for (const Layout& layout : layouts()) {
    const auto& name = layout.name;
    const Tensor& x = layout.tensor;
    if (x.dim() != 3 || x.numel() == 0) continue;
    for (int dim = 0; dim < 3; ++dim) {
      Shape shape = x.shape();
      shape[dim] = 5;
      shape[(dim + 1) % 3] -= 1;  // an index may be smaller than x elsewhere
      Generator generator(7);
      std::vector<std::int64_t> picks(static_cast<std::size_t>(shape.numel()));
      for (auto& pick : picks)
        pick = static_cast<std::int64_t>(generator.below(static_cast<std::uint64_t>(x.size(dim))));
      const Tensor index = Tensor::from(picks, shape), y = gather(x, dim, index);
      ASSERT_EQ(y.shape(), shape);
      each_position(shape, [&](const Position& p) {
        Position q = p;
        q[static_cast<std::size_t>(dim)] = static_cast<std::int64_t>(at(index, p));
        EXPECT_EQ(at(y, p), at(x, q)) << name;
      });
    }
  }
}

TEST(Gather, RefusesBadIndices) {
  const Tensor x = counting({3, 2});
  expect_contains(error_of([&] { gather(x, 0, Tensor::arange(3)); }), {"rank 2"});
  expect_contains(error_of([&] { gather(x, 0, Tensor::zeros({1, 3}, DType::i64)); }), {"(1, 3)", "dimension 1"});
  expect_contains(error_of([&] { gather(x, 0, Tensor::full({1, 1}, 3, DType::i64)); }), {"3"});
  expect_contains(error_of([&] { gather(x, 0, Tensor::zeros({1, 1})); }), {"i64"});
}

TEST(AsStrided, StaysInsideTheStorage) {
  const Tensor x = counting({12});
  EXPECT_EQ(walked(x.as_strided({3, 4}, {2, 1}, 1)), std::vector<double>({1, 2, 3, 4, 3, 4, 5, 6, 5, 6, 7, 8}));
  EXPECT_EQ(walked(x.as_strided({2}, {11}, 0)), std::vector<double>({0, 11}));
  EXPECT_EQ(x.as_strided({0}, {1}, 12).numel(), 0);
  const std::int64_t big = std::int64_t{1} << 40;
  struct View {
    Shape shape, strides;
    std::int64_t offset;
  };
  for (const View& view : std::vector<View>{
           {{2}, {12}, 0}, {{12}, {1}, 1}, {{1}, {1}, 12}, {{1}, {1}, -1}, {{0}, {1}, 13}, {{big}, {big}, 0}})
    expect_contains(error_of([&] { x.as_strided(view.shape, view.strides, view.offset); }),
                    {"outside the storage", "12 elements"});
  expect_contains(error_of([&] { x.as_strided({2}, {-1}, 5); }), {"negative"});
  expect_contains(error_of([&] { x.as_strided({2, 2}, {1}, 0); }), {"differ in rank"});
  expect_contains(error_of([&] { x.as_strided({-2}, {1}, 0); }), {"negative"});
}

TEST(AsStrided, CountsFromTheStorageNotFromTheView) {
  const Tensor part = slice(counting({6}), 0, 3, 6);
  EXPECT_EQ(part.storage_offset(), 3);
  EXPECT_EQ(walked(part.as_strided({2}, {1}, 0)), std::vector<double>({0, 1}));
}

TEST(Contiguous, ChangesLayoutOnlyWhereNeeded) {
  const Tensor x = counting({2, 3, 2, 2});
  EXPECT_TRUE(x.contiguous().is_same(x));
  const Tensor image = x.contiguous(MemoryFormat::channels_last);
  EXPECT_TRUE(image.contiguous(MemoryFormat::channels_last).is_same(image));
  EXPECT_EQ(walked(image), walked(x));
  EXPECT_EQ(walked(image.contiguous()), walked(x));
  expect_contains(error_of([] { counting({2, 3}).contiguous(MemoryFormat::channels_last); }), {"rank 4", "(2, 3)"});
}

}  // namespace
}  // namespace graft
