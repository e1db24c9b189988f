#include <graft/core/data/idx.h>

#include <gtest/gtest.h>
#include <zlib.h>

#include "support/temporary_folder.h"

namespace graft::data {
namespace {

using namespace std::string_literals;
using test::put_file;
using test::TemporaryFolder;

/// The header of an IDX file of bytes, and `count` bytes 0, 1, 2, ..
std::string idx_bytes(const std::vector<std::uint32_t>& sizes, std::size_t count) {
  std::string bytes = "\0\0\x08"s + static_cast<char>(sizes.size());
  for (const std::uint32_t size : sizes)
    for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(size >> shift);
  for (std::size_t i = 0; i < count; ++i) bytes += static_cast<char>(i);
  return bytes;
}

std::string gzip(const std::string& bytes) {
  z_stream stream{};
  check(deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK, "deflateInit2");
  std::string packed(deflateBound(&stream, static_cast<uLong>(bytes.size())) + 32, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  check(deflate(&stream, Z_FINISH) == Z_STREAM_END, "deflate");
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

TEST(ReadIdx, EveryRank) {
  const TemporaryFolder folder;
  const std::vector<std::vector<std::uint32_t>> all = {{5}, {2, 3}, {2, 3, 4}, {2, 1, 3, 4}};
  for (const auto& sizes : all) {
    std::size_t count = 1;
    for (const std::uint32_t size : sizes) count *= size;
    put_file(folder / "f", idx_bytes(sizes, count));
    const Tensor t = read_idx(folder / "f");
    ASSERT_EQ(t.dim(), static_cast<int>(sizes.size()));
    for (int i = 0; i < t.dim(); ++i) EXPECT_EQ(t.size(i), sizes[static_cast<std::size_t>(i)]);
    for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(t.data<std::uint8_t>()[i], i);
  }
}

TEST(ReadIdx, NoElements) {
  const TemporaryFolder folder;
  put_file(folder / "f", idx_bytes({0, 28, 28}, 0));
  EXPECT_EQ(read_idx(folder / "f").shape(), (Shape{0, 28, 28}));
}

TEST(ReadIdx, GzipIsToldByItsMagic) {
  const TemporaryFolder folder;
  put_file(folder / "plain", idx_bytes({50, 20}, 1000));
  put_file(folder / "packed", gzip(idx_bytes({50, 20}, 1000)));
  EXPECT_EQ(read_idx(folder / "packed").to_vector<std::uint8_t>(),
            read_idx(folder / "plain").to_vector<std::uint8_t>());
}

TEST(ReadIdx, GzipOfSeveralMembers) {
  const TemporaryFolder folder;
  const std::string bytes = idx_bytes({100}, 100);
  put_file(folder / "f", gzip(bytes.substr(0, 6)) + gzip(bytes.substr(6, 40)) + gzip("") + gzip(bytes.substr(46)));
  EXPECT_EQ(read_idx(folder / "f").data<std::uint8_t>()[99], 99);
}

TEST(ReadIdx, EveryTruncationOfGzipIsRefused) {
  const TemporaryFolder folder;
  const std::string packed = gzip(idx_bytes({100}, 100));
  for (std::size_t length = 0; length < packed.size(); ++length) {
    put_file(folder / "f", packed.substr(0, length));
    EXPECT_THROW(read_idx(folder / "f"), Error) << length;
  }
}

struct BadIdx {
  const char* name;
  std::string bytes;
  const char* fragment;
};

void PrintTo(const BadIdx& c, std::ostream* out) { *out << c.name; }

class IdxErrors : public testing::TestWithParam<BadIdx> {};

TEST_P(IdxErrors, AreRefusedWithFileAndReason) {
  const TemporaryFolder folder;
  put_file(folder / "f", GetParam().bytes);
  EXPECT_ERROR(read_idx(folder / "f"), GetParam().fragment);
  EXPECT_ERROR(read_idx(folder / "f"), folder / "f");
}

std::string with_byte(std::string bytes, std::size_t at, int value) {
  bytes.at(at) = static_cast<char>(value);
  return bytes;
}

std::vector<BadIdx> bad_idx_cases() {
  const std::string good = idx_bytes({2, 3}, 6), packed = gzip(good);
  return {
      {"empty", "", "ends within the magic number (0 of 4 bytes)"},
      {"short_magic", "\0\0\x08"s, "ends within the magic number (3 of 4 bytes)"},
      {"magic", with_byte(good, 0, 1), "not an IDX file: it starts with bytes 1 0"},
      {"text", "<html>not found</html>", "not an IDX file"},
      {"element_type", with_byte(good, 2, 0x0d), "element type 13 is not supported"},
      {"rank_0", with_byte(good, 3, 0), "rank 0 is not supported, expected 1 to 4"},
      {"rank_5", with_byte(good, 3, 5), "rank 5 is not supported, expected 1 to 4"},
      {"short_sizes", good.substr(0, 10), "ends within size 1 of 2"},
      {"one_byte_short", good.substr(0, good.size() - 1), "too few bytes: (2, 3) needs 6"},
      {"one_byte_long", good + "x", "too many bytes: more than the 6 of (2, 3)"},
      {"overflow", idx_bytes({0xffffffff, 0xffffffff, 0xffffffff}, 0), "overflows"},
      {"huge", idx_bytes({0x7fffffff, 0x7fffffff}, 0), "too few bytes"},
      {"huge_in_gzip", gzip(idx_bytes({0x7fffffff, 0x7fffffff}, 0)), "too few bytes"},
      {"gzip_short_content", gzip(good.substr(0, good.size() - 1)),
       "too few bytes: (2, 3) needs 6 bytes of elements, found 5"},
      {"gzip_long_content", gzip(good + "x"), "too many bytes"},
      {"gzip_broken", with_byte(packed, 10, 0xff), "broken gzip stream"},
      {"gzip_checksum", with_byte(packed, packed.size() - 8, packed[packed.size() - 8] ^ 1), "broken gzip stream"},
      {"gzip_cut", packed.substr(0, packed.size() - 3), "the gzip stream breaks off"},
      {"gzip_tail", packed + "tail", "4 bytes after the gzip stream"},
  };
}

INSTANTIATE_TEST_SUITE_P(All, IdxErrors, testing::ValuesIn(bad_idx_cases()),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST(ReadIdx, MissingFile) {
  const TemporaryFolder folder;
  EXPECT_ERROR(read_idx(folder / "f"), "No such file");
}

TEST(WriteIdx, RoundTripIsExact) {
  const TemporaryFolder folder;
  put_file(folder / "in", idx_bytes({300, 2, 3}, 1800));
  write_idx(folder / "out", read_idx(folder / "in"));
  EXPECT_EQ(test::get_file(folder / "out"), test::get_file(folder / "in"));
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"in", "out"}));
}

TEST(WriteIdx, Refusals) {
  const TemporaryFolder folder;
  EXPECT_ERROR(write_idx(folder / "f", Tensor::ones({2})), "expected a u8 tensor");
  EXPECT_ERROR(write_idx(folder / "f", Tensor::ones({}, DType::u8)), "rank 1 to 4");
  EXPECT_ERROR(write_idx(folder / "f", Tensor()), "undefined");
  EXPECT_TRUE(folder.names().empty());
}

TEST(LoadMnist, PlainAndGzip) {
  const TemporaryFolder folder;
  put_file(folder / "train-images-idx3-ubyte", idx_bytes({3, 28, 28}, 3 * 784));
  put_file(folder / "train-labels-idx1-ubyte.gz", gzip(idx_bytes({3}, 3)));
  const Dataset dataset = load_mnist(folder.path(), true);
  EXPECT_EQ(dataset.images.shape(), (Shape{3, 1, 28, 28}));
  EXPECT_EQ(dataset.labels.to_vector<std::int64_t>(), (std::vector<std::int64_t>{0, 1, 2}));
  EXPECT_EQ(dataset.classes, 10);
  EXPECT_EQ(dataset.images.data<std::uint8_t>()[784 + 1], (784 + 1) % 256);
}

TEST(LoadMnist, MissingFilesAreNamed) {
  const TemporaryFolder folder;
  EXPECT_ERROR(load_mnist(folder.path(), false),
               "found neither t10k-images-idx3-ubyte nor t10k-images-idx3-ubyte.gz in " + folder.path());
}

TEST(LoadMnist, CountsRanksAndLabelsAreChecked) {
  const TemporaryFolder folder;
  const std::string images = folder / "t10k-images-idx3-ubyte", labels = folder / "t10k-labels-idx1-ubyte";
  put_file(images, idx_bytes({3, 2, 2}, 12));
  put_file(labels, idx_bytes({4}, 4));
  EXPECT_ERROR(load_mnist(folder.path(), false), "has 3 images but " + labels + " has 4 labels");
  put_file(labels, idx_bytes({3, 1}, 3));
  EXPECT_ERROR(load_mnist(folder.path(), false), "expected labels of rank 1");
  put_file(labels, idx_bytes({3}, 0) + "\x01\x0a\x02");
  EXPECT_ERROR(load_mnist(folder.path(), false), "label 10 at position 1 is outside 0..9");
  put_file(images, idx_bytes({12}, 12));
  EXPECT_ERROR(load_mnist(folder.path(), false), "expected images of rank 3");
}

}  // namespace
}  // namespace graft::data
