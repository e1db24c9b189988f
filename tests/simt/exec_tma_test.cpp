// Bulk copies against plain loops: tiles of tensors of every rank, swizzles, steps, im2col, plain runs, clusters.
#include "simt/exec.h"

#include <graft/kernels/api/error.h>

#include "simt/kernels/tensor_copies.cu"

namespace graft::simt {
namespace {

using namespace tensor_copies;
using runtime::Swizzle;
using testing::HasSubstr;

using Sizes = std::array<std::int64_t, 5>;

std::vector<std::uint32_t> numbers(std::int64_t count) {
  std::vector<std::uint32_t> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::uint32_t>(i + 1000);
  return values;
}

// The 16-byte chunk `chunk` of row `row` under a swizzle of rows of `span` bytes, in 16 bytes: written down anew from
// the tables of CUDA's programming guide, in rows and chunks.
unsigned swizzled_chunk(unsigned row, unsigned chunk, unsigned span) {
  if (span == 128) return row * 8 + (chunk ^ row % 8);
  if (span == 64) return row * 4 + (chunk ^ row / 2 % 4);
  if (span == 32) return row * 2 + (chunk ^ row / 4 % 2);
  return row * (span / 16) + chunk;
}

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

// A tensor of words with a little room behind each row, plane and so on.
struct Words {
  runtime::TensorLayout layout;
  std::vector<std::uint32_t> host;
  OnDevice<std::uint32_t> device;

  static runtime::TensorLayout spaced(int rank, const Sizes& sizes) {
    runtime::TensorLayout t;
    t.dtype = DType::i32;
    t.rank = rank;
    t.sizes = sizes;
    std::int64_t stride = 4;
    for (std::size_t d = 0; d < static_cast<std::size_t>(rank); ++d) {
      t.strides[d] = stride;
      stride = (stride * sizes[d] + 31) / 16 * 16;
    }
    t.strides[static_cast<std::size_t>(rank) % 5] = rank < 5 ? stride : t.strides[0];
    return t;
  }
  static std::int64_t words_of(const runtime::TensorLayout& t) {
    const auto last = static_cast<std::size_t>(t.rank - 1);
    return (t.sizes[last] * t.strides[last] + 64) / 4;
  }
  Words(int rank, const Sizes& sizes) : layout(spaced(rank, sizes)), host(numbers(words_of(layout))), device(host) {
    layout.data = device;
  }
  // 0 outside.
  std::uint32_t at(const Sizes& c) const {
    std::int64_t offset = 0;
    for (std::size_t d = 0; d < static_cast<std::size_t>(layout.rank); ++d) {
      if (c[d] < 0 || c[d] >= layout.sizes[d]) return 0;
      offset += c[d] * layout.strides[d];
    }
    return host[static_cast<std::size_t>(offset / 4)];
  }
};

// All coordinates of a box, innermost first.
template <class Each>
void for_box(const std::array<int, 5>& box, int rank, Each each) {
  std::array<int, 5> i{};
  for (;;) {
    each(i);
    int d = 0;
    for (; d < rank; ++d) {
      const auto at = static_cast<std::size_t>(d);
      if (++i[at] < box[at]) break;
      i[at] = 0;
    }
    if (d == rank) return;
  }
}

struct Tile {
  Sizes sizes;
  std::array<int, 5> box;
  std::array<int, 5> at;
};

template <int Rank>
std::vector<std::uint32_t> expected_tile(const Words& x, const Tile& tile, const std::array<int, 5>& steps) {
  std::vector<std::uint32_t> words;
  std::array<int, 5> count = tile.box;
  for (std::size_t d = 0; d < Rank; ++d) count[d] = (tile.box[d] + steps[d] - 1) / steps[d];
  for_box(count, Rank, [&](const std::array<int, 5>& i) {
    Sizes c{};
    for (std::size_t d = 0; d < Rank; ++d) c[d] = tile.at[d] + i[d] * steps[d];
    words.push_back(x.at(c));
  });
  return words;
}

Place place_of(const std::array<int, 5>& at) {
  Place p{};
  std::copy(at.begin(), at.end(), p.at);
  return p;
}

TEST_P(ExecTma, LoadsTilesWithZerosOutside) {
  const auto check = [&]<int Rank>(const Tile& tile, std::array<int, 5> steps = {1, 1, 1, 1, 1}) {
    const Words x(Rank, tile.sizes);
    const std::vector<std::uint32_t> expected = expected_tile<Rank>(x, tile, steps);
    const auto map = runtime::make_tensor_map(x.layout, tile.box, Swizzle::none, steps);
    EXPECT_EQ((look<Rank, false>(map, place_of(tile.at), expected.size())), expected) << "rank " << Rank;
  };
  check.template operator()<1>({{100}, {64}, {10}});
  check.template operator()<1>({{100}, {64}, {70}});
  check.template operator()<1>({{100}, {64}, {-3}});
  check.template operator()<1>({{100}, {8}, {500}});
  check.template operator()<2>({{33, 7}, {16, 4}, {4, 2}});
  check.template operator()<2>({{33, 7}, {48, 12}, {-5, -2}});
  check.template operator()<3>({{12, 5, 4}, {8, 3, 2}, {6, 3, -1}});
  check.template operator()<4>({{8, 5, 4, 3}, {8, 2, 3, 2}, {-4, 4, 1, 2}});
  check.template operator()<5>({{8, 3, 4, 3, 2}, {4, 2, 3, 2, 2}, {6, 2, -1, 1, 1}});
  check.template operator()<2>({{33, 40}, {16, 12}, {4, 2}}, {1, 5, 1, 1, 1});
  check.template operator()<4>({{8, 9, 9, 3}, {8, 6, 5, 2}, {0, -1, -2, 1}}, {1, 2, 3, 1, 1});
}

TEST_P(ExecTma, SwizzlesByTheTables) {
  const Words x(2, {64, 40});
  for (const auto& [swizzle, span] :
       {std::pair{Swizzle::bytes128, 128u}, {Swizzle::bytes64, 64u}, {Swizzle::bytes32, 32u}}) {
    const Tile tile{{64, 40}, {static_cast<int>(span / 4), 19}, {8, 5}};
    const std::vector<std::uint32_t> plain = expected_tile<2>(x, tile, {1, 1, 1, 1, 1});
    std::vector<std::uint32_t> expected(plain.size());
    for (unsigned i = 0; i < plain.size(); ++i)
      expected[swizzled_chunk(i / (span / 4), i % (span / 4) / 4, span) * 4 + i % 4] = plain[i];
    const auto map = runtime::make_tensor_map(x.layout, tile.box, swizzle);
    EXPECT_EQ((look<2, false>(map, place_of(tile.at), expected.size())), expected) << span;
  }
}

TEST_P(ExecTma, StoresWhatLiesInsideAndNothingElse) {
  const auto check = [&]<int Rank>(const Tile& tile) {
    const Words x(Rank, tile.sizes);
    Words y(Rank, tile.sizes);
    std::array<int, 5> box = tile.box;
    unsigned words = 1;
    for (std::size_t d = 0; d < Rank; ++d) words *= static_cast<unsigned>(box[d]);
    expect_success(launch(add_one<Rank>, dims(1, 64, sizeof(Box)), runtime::make_tensor_map(x.layout, box),
                          runtime::make_tensor_map(y.layout, box), place_of(tile.at), words));
    std::vector<std::uint32_t> expected = y.host;
    for_box(box, Rank, [&](const std::array<int, 5>& i) {
      std::int64_t offset = 0;
      for (std::size_t d = 0; d < Rank; ++d) {
        const std::int64_t c = tile.at[d] + i[d];
        if (c < 0 || c >= tile.sizes[d]) return;
        offset += c * y.layout.strides[d];
      }
      ++expected[static_cast<std::size_t>(offset / 4)];
    });
    EXPECT_EQ(y.device.values(), expected) << "rank " << Rank;
  };
  check.template operator()<1>({{100}, {64}, {70}});
  check.template operator()<2>({{33, 7}, {48, 12}, {-5, -2}});
  check.template operator()<3>({{12, 5, 4}, {8, 3, 2}, {6, 3, -1}});
  check.template operator()<4>({{8, 5, 4, 3}, {8, 2, 3, 2}, {-4, 4, 1, 2}});
  check.template operator()<5>({{8, 3, 4, 3, 2}, {4, 2, 3, 2, 2}, {6, 2, -1, 1, 1}});
}

// Rows of the im2col matrix of a convolution, from the definition: pixel p of the tile is an output's place (columns
// first), and what is loaded is the input that the kernel's place (r, s) meets there.
struct Convolution {
  int channels, width, height, images, kernel, padding, stride, dilation;
  int outputs(int size) const { return (size + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1; }
};

TEST_P(ExecTma, LoadsRowsOfAnIm2colMatrix) {
  for (const Convolution& c : {Convolution{32, 7, 6, 2, 3, 1, 1, 1},
                               {32, 9, 5, 3, 3, 0, 1, 1},
                               {64, 8, 9, 2, 3, 1, 2, 1},
                               {32, 11, 8, 2, 5, 2, 3, 1},
                               {32, 12, 9, 1, 3, 2, 2, 2},
                               {40, 5, 5, 3, 1, 0, 2, 1}}) {
    const Words x(4, {c.channels, c.width, c.height, c.images});
    runtime::Im2col im2col;
    im2col.channels = 32;
    im2col.pixels = 24;
    const int low = -c.padding, high = c.padding - c.dilation * (c.kernel - 1);
    im2col.lower = {low, low};
    im2col.upper = {high, high};
    im2col.steps = {c.stride, c.stride, 1};
    const auto map = runtime::make_im2col_map(x.layout, im2col);
    const int q = c.outputs(c.width), p = c.outputs(c.height);
    for (const int first : {0, 5, q * p - 3, q * p * c.images - 10}) {
      for (const auto& [r, s] : {std::pair{0, 0}, {c.kernel - 1, c.kernel / 2}}) {
        std::vector<std::uint32_t> expected;
        for (int pixel = first; pixel < first + im2col.pixels; ++pixel)
          for (int channel = 0; channel < im2col.channels; ++channel)
            expected.push_back(x.at({channel + 8, pixel % q * c.stride - c.padding + s * c.dilation,
                                     pixel / q % p * c.stride - c.padding + r * c.dilation, pixel / q / p}));
        Place place{};
        const int at[] = {8, first % q * c.stride - c.padding, first / q % p * c.stride - c.padding, first / q / p};
        std::copy(std::begin(at), std::end(at), place.at);
        place.offset[0] = static_cast<unsigned short>(s * c.dilation);
        place.offset[1] = static_cast<unsigned short>(r * c.dilation);
        EXPECT_EQ((look<4, true>(map, place, expected.size())), expected)
            << c.width << "x" << c.height << ", kernel " << c.kernel << ", stride " << c.stride << ", first " << first;
      }
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
  const std::vector<std::uint32_t> host = numbers(7 * 1024);
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
