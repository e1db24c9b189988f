// Bulk copies against plain loops: tiles of tensors of every rank, swizzles, steps, im2col, plain runs, clusters.
#include "simt/exec.h"

#include <graft/kernels/api/error.h>

#include "simt/kernels/tensor_copies.cu"
#include "sm90/boxes.h"

namespace graft::simt {
namespace {

using namespace tensor_copies;
using runtime::Swizzle;
using testing::HasSubstr;

using Words = test::WordTensor<OnDevice<std::uint32_t>>;

class ExecTma : public Exec {
 protected:
  // The words that a load of the box leaves, of a map that the test has made.
  template <int Rank, bool Im2col>
  static std::vector<std::uint32_t> look(const runtime::TensorMap& map, const Place& place, std::size_t words) {
    const OnDevice<std::uint32_t> y(words);
    expect_success(launch(look_at_box<Rank, Im2col>, dims(1, 64, sizeof(Box)), map, place,
                          static_cast<std::uint32_t*>(y), static_cast<unsigned>(words)));
    return y.values();
  }
};
INSTANTIATE_TEST_SUITE_P(Schedules, ExecTma, kSchedules, schedule_name);

// Calls f.operator()<rank>() with a rank that is known at run time.
template <class F>
void with_rank(int rank, F f) {
  if (rank == 1) f.template operator()<1>();
  if (rank == 2) f.template operator()<2>();
  if (rank == 3) f.template operator()<3>();
  if (rank == 4) f.template operator()<4>();
  if (rank == 5) f.template operator()<5>();
}

Place place_of(const std::array<int, 5>& at, const std::array<unsigned short, 3>& offset = {}) {
  Place p{};
  std::copy(at.begin(), at.end(), p.at);
  std::copy(offset.begin(), offset.end(), p.offset);
  return p;
}

TEST_P(ExecTma, LoadsTilesWithZerosOutside) {
  std::vector<test::TileCase> cases = test::tile_cases();
  for (const test::TileCase& c : test::stepped_tile_cases()) cases.push_back(c);
  for (const test::TileCase& c : cases) {
    const Words x(c.rank, c.tile.sizes);
    const std::vector<std::uint32_t> expected = test::expected_tile(x, c.tile, c.steps);
    const auto map = runtime::make_tensor_map(x.layout, c.tile.box, Swizzle::none, c.steps);
    with_rank(c.rank, [&]<int Rank>() {
      EXPECT_EQ((look<Rank, false>(map, place_of(c.tile.at), expected.size())), expected) << "rank " << Rank;
    });
  }
}

TEST_P(ExecTma, SwizzlesByTheTables) {
  const Words x(2, {64, 40});
  for (const auto& [swizzle, span] :
       {std::pair{Swizzle::bytes128, 128u}, {Swizzle::bytes64, 64u}, {Swizzle::bytes32, 32u}}) {
    const test::Tile tile{{64, 40}, {static_cast<int>(span / 4), 19}, {8, 5}};
    const std::vector<std::uint32_t> expected = test::swizzled(test::expected_tile(x, tile), span);
    const auto map = runtime::make_tensor_map(x.layout, tile.box, swizzle);
    EXPECT_EQ((look<2, false>(map, place_of(tile.at), expected.size())), expected) << span;
  }
}

TEST_P(ExecTma, StoresWhatLiesInsideAndNothingElse) {
  for (const test::TileCase& c : test::tile_cases()) {
    const Words x(c.rank, c.tile.sizes), y(c.rank, c.tile.sizes);
    unsigned words = 1;
    for (std::size_t d = 0; d < static_cast<std::size_t>(c.rank); ++d) words *= static_cast<unsigned>(c.tile.box[d]);
    const auto map_x = runtime::make_tensor_map(x.layout, c.tile.box),
               map_y = runtime::make_tensor_map(y.layout, c.tile.box);
    with_rank(c.rank, [&]<int Rank>() {
      expect_success(launch(add_one<Rank>, dims(1, 64, sizeof(Box)), map_x, map_y, place_of(c.tile.at), words));
    });
    EXPECT_EQ(y.device.values(), test::one_more_in_tile(y, c.tile)) << "rank " << c.rank;
  }
}

TEST_P(ExecTma, LoadsRowsOfAnIm2colMatrix) {
  constexpr int pixels = 24;
  for (const test::Convolution& c : test::convolution_cases()) {
    const Words x(4, {c.channels, c.width, c.height, c.images});
    const auto map = runtime::make_im2col_map(x.layout, c.im2col(pixels));
    for (const int first : {0, 5, c.columns() * c.rows() - 3, c.columns() * c.rows() * c.images - 10})
      for (const auto& [r, s] : {std::pair{0, 0}, {c.kernel - 1, c.kernel / 2}}) {
        const std::vector<std::uint32_t> expected = c.expected(x, first, pixels, r, s);
        EXPECT_EQ((look<4, true>(map, place_of(c.at(first), c.offset(r, s)), expected.size())), expected)
            << c.width << "x" << c.height << ", kernel " << c.kernel << ", stride " << c.stride << ", first " << first;
      }
  }
}

TEST_P(ExecTma, LoadsIm2colOfOneAndThreeSpatialDimensions) {
  const Words line(3, {8, 10, 3}), volume(5, {4, 4, 3, 3, 2});
  runtime::Im2col im2col;
  im2col.channels = 4;
  im2col.pixels = 15;
  im2col.lower = {-1};
  im2col.upper = {-1};
  std::vector<std::uint32_t> expected;
  for (int pixel = 4; pixel < 19; ++pixel)
    for (int c = 0; c < 4; ++c) expected.push_back(line.at({c + 4, pixel % 10 - 1 + 2, pixel / 10}));
  EXPECT_EQ((look<3, true>(runtime::make_im2col_map(line.layout, im2col), {{4, 3, 0}, {2}}, expected.size())),
            expected);
  im2col.lower = {-1, 0, -1};
  im2col.upper = {0, -1, -1};  // 5 x 2 x 3 places an image
  expected.clear();
  for (int pixel = 22; pixel < 37; ++pixel)
    for (int c = 0; c < 4; ++c)
      expected.push_back(volume.at({c, pixel % 5 - 1 + 1, pixel / 5 % 2 + 1, pixel / 10 % 3 - 1 + 2, pixel / 30}));
  EXPECT_EQ(
      (look<5, true>(runtime::make_im2col_map(volume.layout, im2col), {{0, 1, 0, 1, 0}, {1, 1, 2}}, expected.size())),
      expected);
}

TEST_P(ExecTma, CopiesPlainRuns) {
  const std::vector<std::uint32_t> host = test::numbers(7 * 1024);
  const OnDevice<std::uint32_t> x(host), y(host.size());
  expect_success(
      launch(swap_runs, dims(1, 64, sizeof(Box)), static_cast<std::uint32_t*>(x), static_cast<std::uint32_t*>(y), 7u));
  const std::vector<std::uint32_t> got = y.values();
  for (std::size_t i = 0; i < host.size(); ++i) ASSERT_EQ(got[i], host[(6 - i / 1024) * 1024 + i % 1024]) << i;
}

TEST_P(ExecTma, SendsToAllBlocksOfACluster) {
  const Words x(2, {32, 20});
  const OnDevice<std::uint32_t> y(4 * 16 * 32);
  const auto map = runtime::make_tensor_map(x.layout, {32, 8});
  expect_success(launch(share_box, clustered(4, 64, 2, sizeof(Box)), map, static_cast<std::uint32_t*>(y), 16u));
  const std::vector<std::uint32_t> got = y.values();
  for (unsigned i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], x.at({i % 32, i / 32 % 16})) << i;
}

TEST_P(ExecTma, BlocksOfAClusterReadEachOther) {
  const OnDevice<std::uint32_t> y(8 * 64);
  for (const unsigned cluster : {1u, 2u, 4u}) {
    expect_success(launch(add_over_cluster, clustered(8, 64, cluster), static_cast<std::uint32_t*>(y)));
    const std::vector<std::uint32_t> got = y.values();
    for (unsigned i = 0; i < got.size(); ++i) {
      const unsigned first = i / 64 / cluster * cluster;
      unsigned sum = 0;
      for (unsigned b = first; b < first + cluster; ++b) sum += b * 100 + i % 64;
      ASSERT_EQ(got[i], sum) << "cluster of " << cluster << ", " << i;
    }
  }
}

// --- maps that cannot be --------------------------------------------------------------------------------------------

class TensorMaps : public Emulated {
 protected:
  template <class Make>
  static std::string refusal(Make make) {
    try {
      make();
    } catch (const Error& e) {
      return e.what();
    }
    return "nothing was refused";
  }
};

TEST_F(TensorMaps, AreRefusedWithTheReason) {
  const OnDevice<float> x(4096);
  const runtime::TensorLayout good = dense(x, DType::f32, {64, 32});
  EXPECT_NO_THROW(runtime::make_tensor_map(good, {64, 8}));
  const auto tiled = [&](runtime::TensorLayout t, std::array<int, 5> box, Swizzle swizzle = Swizzle::none) {
    return refusal([&] { runtime::make_tensor_map(t, box, swizzle); });
  };
  EXPECT_THAT(tiled(dense(static_cast<float*>(x) + 1, DType::f32, {64, 32}), {64, 8}), HasSubstr("multiple of 16"));
  EXPECT_THAT(tiled(dense(x, DType::f32, {63, 32}), {16, 8}), HasSubstr("strides[1] is 252 bytes"));
  EXPECT_THAT(tiled(good, {64, 257}), HasSubstr("box[1] is 257, expected 1 to 256"));
  EXPECT_THAT(tiled(good, {6, 8}), HasSubstr("a row of the box is 24 bytes, expected a multiple of 16"));
  EXPECT_THAT(tiled(good, {64, 8}, Swizzle::bytes128), HasSubstr("this swizzle is for rows of 128"));
  EXPECT_THAT(refusal([&] {
                runtime::make_tensor_map(good, {64, 8}, Swizzle::none, {1, 9, 1, 1, 1});
              }),
              HasSubstr("steps[1] is 9"));
  EXPECT_THAT(refusal([&] { runtime::make_im2col_map(good, {}); }), HasSubstr("the rank is 2, expected 3 to 5"));
  const runtime::TensorLayout images = dense(x, DType::f32, {32, 4, 4, 2});
  EXPECT_THAT(refusal([&] {
                runtime::make_im2col_map(images, {.channels = 32, .pixels = 16, .lower = {0, 2}, .upper = {0, -2}});
              }),
              HasSubstr("bounding box of im2col is empty"));
  EXPECT_THAT(refusal([&] { runtime::make_im2col_map(images, {.channels = 32, .pixels = 1025}); }),
              HasSubstr("im2col.pixels is 1025"));
}

}  // namespace
}  // namespace graft::simt
