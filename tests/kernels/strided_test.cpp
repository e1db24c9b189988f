// The plans by which the device's elementwise kernels walk tensors: on the host, without a device.
#include <gtest/gtest.h>

#include <numeric>
#include <set>
#include <vector>

#include <graft/kernels/cuda/strided.h>

namespace graft::test {
namespace {

using namespace kernels::cuda;

TEST(Divider, DividesAsTheProcessorDoes) {
  std::vector<std::uint32_t> divisors(1100);
  std::iota(divisors.begin(), divisors.end(), 1u);
  for (int bit = 10; bit < 31; ++bit)
    for (std::uint32_t d : {(1u << bit) - 1, 1u << bit, (1u << bit) + 1, 3u << (bit - 2), 0x55555555u >> (31 - bit)})
      divisors.push_back(d);
  divisors.push_back(0x7fffffffu);
  for (const std::uint32_t d : divisors) {
    const Divider divider(d);
    EXPECT_EQ(divider.divisor(), d);
    for (std::uint32_t n : {0u, 1u, d - 1, d, d + 1, 2 * d - 1, 0x7fffffffu / d * d - 1, 0x7fffffffu / d * d,
                            0x12345678u, 0x7ffffffeu, 0x7fffffffu})
      ASSERT_EQ(divider.quotient(n & 0x7fffffffu), (n & 0x7fffffffu) / d) << (n & 0x7fffffffu) << " / " << d;
  }
}

TEST(Collapse, DenseTensorsOfOneOrderAreOneDimension) {
  const Shape shape = {2, 7, 5, 3};
  for (const Shape& strides : {contiguous_strides(shape), channels_last_strides(shape)}) {
    const auto dims = collapse<3>(shape, {strides, strides, strides});
    EXPECT_EQ(dims.rank, 1);
    EXPECT_EQ(dims.sizes[0], 210);
    EXPECT_EQ(dims.strides[0], (std::array<std::int64_t, 3>{1, 1, 1}));
  }
}

TEST(Collapse, SizesOfOneAreDroppedWhateverTheirStride) {
  const auto dims = collapse<2>({1, 4, 1, 3}, {Shape{99, 3, 7, 1}, Shape{5, 3, 0, 1}});
  EXPECT_EQ(dims.rank, 1);
  EXPECT_EQ(dims.numel(), 12);
  const auto one = collapse<2>({1, 1}, {Shape{4, 4}, Shape{0, 0}});
  EXPECT_EQ(one.rank, 1);
  EXPECT_EQ(one.numel(), 1);
  EXPECT_EQ(collapse<1>({}, {Shape{}}).numel(), 1);
}

TEST(Collapse, OrdersByTheMemoryOfTheFirst) {
  // NCHW to NHWC: H and W stay together, channels are innermost in the output.
  const Shape shape = {2, 7, 5, 3};
  const auto dims = collapse<2>(shape, {channels_last_strides(shape), contiguous_strides(shape)});
  ASSERT_EQ(dims.rank, 3);
  EXPECT_EQ(dims.sizes[0], 7);
  EXPECT_EQ(dims.strides[0], (std::array<std::int64_t, 2>{1, 15}));
  EXPECT_EQ(dims.sizes[1], 15);
  EXPECT_EQ(dims.strides[1], (std::array<std::int64_t, 2>{7, 1}));
  EXPECT_EQ(dims.sizes[2], 2);
}

TEST(Collapse, AnEmptyTensorHasNoElements) { EXPECT_EQ(collapse<1>({3, 0, 2}, {Shape{0, 2, 1}}).numel(), 0); }

// Whether y = f(x) over these strides goes by vectors of four floats.
bool by_vectors(const Shape& shape, const Shape& y, const Shape& x, std::uintptr_t y_address = 256,
                std::uintptr_t x_address = 512) {
  return vector_fits<2>(collapse<2>(shape, {y, x}), 4,
                        {reinterpret_cast<const void*>(y_address), reinterpret_cast<const void*>(x_address)}, {4, 4});
}

TEST(VectorFits, WhereEveryAccessIsWholeAndAligned) {
  EXPECT_TRUE(by_vectors({7, 33}, {33, 1}, {33, 1})) << "dense";
  EXPECT_TRUE(by_vectors({33, 7}, {1, 33}, {1, 33})) << "dense in another order";
  EXPECT_TRUE(by_vectors({7, 32}, {32, 1}, {0, 1})) << "a row for all";
  EXPECT_TRUE(by_vectors({7, 32}, {32, 1}, {1, 0})) << "one number a row";
  EXPECT_TRUE(by_vectors({7, 13}, {16, 1}, {32, 1})) << "rows that begin aligned";
  EXPECT_FALSE(by_vectors({7, 33}, {33, 1}, {0, 1})) << "rows that do not";
  EXPECT_FALSE(by_vectors({64}, {1}, {1}, 260)) << "an odd address";
  EXPECT_FALSE(by_vectors({64}, {1}, {1}, 256, 516));
  EXPECT_FALSE(by_vectors({64}, {1}, {2})) << "every other element";
  EXPECT_FALSE(by_vectors({64, 32}, {32, 1}, {1, 64})) << "transposed";
  EXPECT_FALSE(by_vectors({3}, {1}, {1})) << "shorter than a vector";
}

// Every element exactly once, whatever the length of the items, however the work is cut.
template <int V>
void expect_visited(const Shape& shape, const Shape& y, const Shape& x, std::int64_t limit) {
  const auto dims = collapse<2>(shape, {y, x});
  std::multiset<std::pair<std::int64_t, std::int64_t>> visited, expected;
  for_each_launch(
      dims,
      [&](const Dims<2>& piece) {
        EXPECT_LE(piece.numel(), limit);
        const Walk<2> walk(piece, V);
        for (std::uint32_t item = 0; item < walk.items; ++item) {
          const Place<2> place = walk.locate<V>(item);
          for (std::uint32_t k = 0; k < std::min<std::uint32_t>(V, place.left); ++k)
            visited.emplace(place.offset[0] + k * walk.step[0], place.offset[1] + k * walk.step[1]);
        }
      },
      limit);
  for (std::int64_t i = 0; i < shape.numel(); ++i) {
    std::int64_t rest = i, to = 0, from = 0;
    for (int d = shape.rank() - 1; d >= 0; --d) {
      to += rest % shape[d] * y[d];
      from += rest % shape[d] * x[d];
      rest /= shape[d];
    }
    expected.emplace(to, from);
  }
  EXPECT_EQ(visited, expected) << to_string(shape) << " by " << V << ", at most " << limit;
}

TEST(Walk, VisitsEveryElementOnce) {
  struct View {
    Shape shape, y, x;
  };
  const View views[] = {
      {{}, {}, {}},
      {{1}, {1}, {0}},
      {{1000}, {1}, {1}},
      {{7, 33}, {33, 1}, {0, 1}},
      {{7, 33}, {40, 1}, {1, 7}},
      {{2, 7, 5, 3}, {105, 1, 21, 7}, {105, 15, 3, 1}},
      {{2, 3, 2, 2, 2, 3, 2, 2}, {1, 2, 6, 12, 24, 48, 144, 288}, {288, 96, 48, 24, 12, 4, 2, 1}},
  };
  for (const View& view : views)
    for (std::int64_t limit : {std::int64_t{64}, std::int64_t{100}, kLaunchElements}) {
      expect_visited<1>(view.shape, view.y, view.x, limit);
      expect_visited<4>(view.shape, view.y, view.x, limit);
    }
}

TEST(ForEachLaunch, PiecesOfOneDimensionBeginAtWholeVectors) {
  std::int64_t next = 0;
  for_each_launch(
      dense_dims<2>(10'001),
      [&](const Dims<2>& piece) {
        EXPECT_EQ(piece.first[0], next);
        EXPECT_EQ(piece.first[0] % 64, 0);
        next += piece.numel();
      },
      300);
  EXPECT_EQ(next, 10'001);
}

TEST(ForEachLaunch, OffsetsBeyondThirtyTwoBits) {
  // 3 x 2^31 elements, dense: three launches' worth or more, the offsets without a gap.
  std::int64_t next = 0;
  int launches = 0;
  for_each_launch(dense_dims<1>(3ll << 31), [&](const Dims<1>& piece) {
    EXPECT_EQ(piece.first[0], next);
    const Walk<1> walk(piece, 4);
    EXPECT_EQ(walk.locate<4>(walk.items - 1).offset[0], next + piece.numel() - 4);
    next += piece.numel();
    ++launches;
  });
  EXPECT_EQ(next, 3ll << 31);
  EXPECT_EQ(launches, 4);
}

}  // namespace
}  // namespace graft::test
