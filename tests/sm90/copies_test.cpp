// Bulk copies against plain loops: tiles of every rank, swizzles, steps, im2col, plain runs, multicast in clusters.
#include "sm90/sm90.h"

#include "sm90/boxes.h"

namespace graft::test::sm90 {
namespace {

using runtime::Swizzle;
using Words = WordTensor<DeviceArray<std::uint32_t>>;

class Sm90Copies : public Sm90Test {
 protected:
  static std::vector<std::uint32_t> look(bool im2col, int rank, const runtime::TensorMap& map, const Place& place,
                                         std::size_t words) {
    const DeviceArray<std::uint32_t> y(words);
    look_at_box(rank, im2col, map, place, y, static_cast<unsigned>(words), stream());
    return y.values();
  }
  static void check_tile(const TileCase& c) {
    const Words x(c.rank, c.tile.sizes);
    const std::vector<std::uint32_t> expected = expected_tile(x, c.tile, c.steps);
    const auto map = runtime::make_tensor_map(x.layout, c.tile.box, Swizzle::none, c.steps);
    EXPECT_EQ(look(false, c.rank, map, {c.tile.at, {}}, expected.size()), expected)
        << "rank " << c.rank << ", first coordinate " << c.tile.at[0];
  }
};

TEST_F(Sm90Copies, LoadsTilesWithZerosOutside) {
  for (const TileCase& c : tile_cases()) check_tile(c);
}
TEST_F(Sm90Copies, LoadsTilesBySteps) {
  for (const TileCase& c : stepped_tile_cases()) check_tile(c);
}

TEST_F(Sm90Copies, SwizzlesByTheTables) {
  const Words x(2, {64, 40});
  for (const auto& [swizzle, span] :
       {std::pair{Swizzle::bytes128, 128u}, {Swizzle::bytes64, 64u}, {Swizzle::bytes32, 32u}})
    for (const auto& [rows, column, row] : {std::tuple{19, 8, 5}, {32, 0, 0}, {24, 48, 30}, {8, -4, -3}}) {
      const Tile tile{{64, 40}, {static_cast<int>(span / 4), rows}, {column, row}};
      const std::vector<std::uint32_t> expected = swizzled(expected_tile(x, tile), span);
      const auto map = runtime::make_tensor_map(x.layout, tile.box, swizzle);
      EXPECT_EQ(look(false, 2, map, {tile.at, {}}, expected.size()), expected) << span << ", " << rows << " rows";
    }
}

TEST_F(Sm90Copies, StoresWhatLiesInsideAndNothingElse) {
  for (const TileCase& c : tile_cases()) {
    const Words x(c.rank, c.tile.sizes), y(c.rank, c.tile.sizes);
    unsigned words = 1;
    for (std::size_t d = 0; d < static_cast<std::size_t>(c.rank); ++d) words *= static_cast<unsigned>(c.tile.box[d]);
    add_one(c.rank, runtime::make_tensor_map(x.layout, c.tile.box), runtime::make_tensor_map(y.layout, c.tile.box),
            {c.tile.at, {}}, words, stream());
    EXPECT_EQ(y.device.values(), one_more_in_tile(y, c.tile)) << "rank " << c.rank;
  }
}

TEST_F(Sm90Copies, LoadsRowsOfAnIm2colMatrix) {
  for (const Convolution& c : convolution_cases()) {
    const Words x(4, {c.channels, c.width, c.height, c.images});
    for (const int pixels : {24, 7, 64}) {
      const auto map = runtime::make_im2col_map(x.layout, c.im2col(pixels));
      for (const int first : {0, 5, c.columns() * c.rows() - 3, c.columns() * c.rows() * c.images - 5})
        for (const auto& [r, s] : {std::pair{0, 0}, {c.kernel - 1, c.kernel / 2}}) {
          const std::vector<std::uint32_t> expected = c.expected(x, first, pixels, r, s);
          EXPECT_EQ(look(true, 4, map, {c.at(first), c.offset(r, s)}, expected.size()), expected)
              << c.width << "x" << c.height << ", kernel " << c.kernel << ", stride " << c.stride << ", dilation "
              << c.dilation << ", first " << first << " of " << pixels;
        }
    }
  }
}

TEST_F(Sm90Copies, SwizzlesRowsOfAnIm2colMatrix) {
  const Convolution c{64, 8, 9, 2, 3, 1, 2, 1};
  const Words x(4, {c.channels, c.width, c.height, c.images});
  const auto map = runtime::make_im2col_map(x.layout, c.im2col(24), Swizzle::bytes128);
  const std::vector<std::uint32_t> expected = swizzled(c.expected(x, 3, 24, 1, 2), 128);
  EXPECT_EQ(look(true, 4, map, {c.at(3), c.offset(1, 2)}, expected.size()), expected);
}

TEST_F(Sm90Copies, LoadsIm2colOfOneSpatialDimension) {
  const Words line(3, {8, 10, 3});
  runtime::Im2col im2col;
  im2col.channels = 4;
  im2col.pixels = 15;
  im2col.lower = {-1};
  im2col.upper = {-1};
  std::vector<std::uint32_t> expected;
  for (int pixel = 4; pixel < 19; ++pixel)
    for (int c = 0; c < 4; ++c) expected.push_back(line.at({c + 4, pixel % 10 - 1 + 2, pixel / 10}));
  EXPECT_EQ(look(true, 3, runtime::make_im2col_map(line.layout, im2col), {{4, 3, 0}, {2}}, expected.size()), expected);
}

TEST_F(Sm90Copies, LoadsIm2colOfThreeSpatialDimensions) {
  const Words volume(5, {4, 4, 3, 3, 2});
  runtime::Im2col im2col;
  im2col.channels = 4;
  im2col.pixels = 15;
  im2col.lower = {-1, 0, -1};
  im2col.upper = {0, -1, -1};  // 5 x 2 x 3 places an image
  std::vector<std::uint32_t> expected;
  for (int pixel = 22; pixel < 37; ++pixel)
    for (int c = 0; c < 4; ++c)
      expected.push_back(volume.at({c, pixel % 5 - 1 + 1, pixel / 5 % 2 + 1, pixel / 10 % 3 - 1 + 2, pixel / 30}));
  EXPECT_EQ(
      look(true, 5, runtime::make_im2col_map(volume.layout, im2col), {{0, 1, 0, 1, 0}, {1, 1, 2}}, expected.size()),
      expected);
}

TEST_F(Sm90Copies, CopiesPlainRuns) {
  const unsigned runs = emulated() ? 7 : 1001;
  const std::vector<std::uint32_t> host = numbers(std::int64_t{1024} * runs);
  const DeviceArray<std::uint32_t> x(host), y(host.size());
  swap_runs(x, y, runs, stream());
  const std::vector<std::uint32_t> got = y.values();
  for (std::size_t i = 0; i < host.size(); ++i)
    ASSERT_EQ(got[i], host[(runs - 1 - i / 1024) * 1024 + i % 1024]) << i;
}

TEST_F(Sm90Copies, SendsToAllBlocksOfACluster) {
  const Words x(2, {32, 20});
  for (const unsigned cluster : {2u, 4u, 8u}) {
    const unsigned blocks = emulated() ? 16 : 1024;
    const DeviceArray<std::uint32_t> y(std::size_t{blocks} * 16 * 32);
    share_box(runtime::make_tensor_map(x.layout, {32, static_cast<int>(16 / cluster)}), y, 16, blocks, cluster, stream());
    const std::vector<std::uint32_t> got = y.values();
    for (unsigned i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], x.at({i % 32, i / 32 % 16})) << cluster << ", " << i;
  }
}

TEST_F(Sm90Copies, SendsPixelsToAllBlocksOfACluster) {
  constexpr int columns = 7, rows = 6, pixels = 48;  // of a 3 x 3 convolution with padding 1
  const Words x(4, {32, columns, rows, 2});
  for (const unsigned cluster : {2u, 4u}) {
    const unsigned blocks = emulated() ? 8 : 256;
    runtime::Im2col im2col;
    im2col.channels = 32;
    im2col.pixels = pixels / static_cast<int>(cluster);
    im2col.lower = {-1, -1};
    im2col.upper = {-1, -1};
    const DeviceArray<std::uint32_t> y(std::size_t{blocks} * pixels * 32);
    share_pixels(runtime::make_im2col_map(x.layout, im2col), y, pixels, columns, rows, blocks, cluster, stream());
    const std::vector<std::uint32_t> got = y.values();
    for (unsigned i = 0; i < got.size(); ++i) {
      const int pixel = static_cast<int>(i / 32 % pixels);
      ASSERT_EQ(got[i], x.at({i % 32, pixel % columns - 1 + 2, pixel / columns % rows - 1 + 1, pixel / columns / rows}))
          << "cluster of " << cluster << ", pixel " << pixel << ", channel " << i % 32;
    }
  }
}

}  // namespace
}  // namespace graft::test::sm90
