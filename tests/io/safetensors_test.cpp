#include <graft/core/io/safetensors.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include <gtest/gtest.h>

#include <graft/core/ops/view.h>

#include "io/safetensors_bytes.h"
#include "support/temporary_folder.h"

namespace graft::io {
namespace {

using test::safetensors_bytes;
using test::TemporaryFolder;

using Named = std::vector<std::pair<std::string, Tensor>>;

/// The elements as bytes, so that NaNs and signed zeros compare too.
std::string bytes_of(const Tensor& t) {
  if (t.numel() == 0) return "";
  return {static_cast<const char*>(t.ref().data), static_cast<std::size_t>(t.numel()) * size_of(t.dtype())};
}

/// A tensor whose elements have random bits.
Tensor random_bits(const Shape& shape, DType dtype, unsigned seed) {
  Tensor t = Tensor::empty(shape, dtype);
  std::mt19937 engine(seed);
  const std::size_t bytes = static_cast<std::size_t>(t.numel()) * size_of(dtype);
  auto* p = static_cast<std::uint8_t*>(t.ref().data);
  for (std::size_t i = 0; i < bytes; ++i)
    p[i] = static_cast<std::uint8_t>(engine() & (dtype == DType::boolean ? 1 : 255));
  return t;
}

class RoundTrip : public testing::TestWithParam<DType> {};

TEST_P(RoundTrip, KeepsEveryBit) {
  const TemporaryFolder folder;
  const Tensor t = random_bits({3, 5, 7}, GetParam(), 1);
  write_safetensors(folder / "w", {{"t", t}});
  const SafetensorsFile file = read_safetensors(folder / "w");
  ASSERT_EQ(file.tensors.size(), 1u);
  EXPECT_EQ(file.at("t").dtype(), GetParam());
  EXPECT_EQ(file.at("t").shape(), t.shape());
  EXPECT_TRUE(file.at("t").is_contiguous());
  EXPECT_EQ(bytes_of(file.at("t")), bytes_of(t));
}

TEST_P(RoundTrip, ScalarsAndEmptyTensors) {
  const TemporaryFolder folder;
  const Named tensors = {{"empty first", random_bits({0}, GetParam(), 1)},
                         {"scalar", random_bits({}, GetParam(), 2)},
                         {"empty", random_bits({4, 0, 3}, GetParam(), 3)},
                         {"one", random_bits({1, 1}, GetParam(), 4)},
                         {"empty last", random_bits({2, 0}, GetParam(), 5)}};
  write_safetensors(folder / "w", tensors);
  const SafetensorsFile file = read_safetensors(folder / "w");
  ASSERT_EQ(file.tensors.size(), tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(file.tensors[i].first, tensors[i].first);
    EXPECT_EQ(file.tensors[i].second.shape(), tensors[i].second.shape());
    EXPECT_EQ(bytes_of(file.tensors[i].second), bytes_of(tensors[i].second));
  }
}

TEST_P(RoundTrip, BehindAnOddNumberOfBytes) {
  const TemporaryFolder folder;
  const Tensor odd = random_bits({3}, DType::u8, 1), t = random_bits({5}, GetParam(), 2);
  write_safetensors(folder / "w", {{"odd", odd}, {"t", t}});
  const SafetensorsFile file = read_safetensors(folder / "w");
  EXPECT_EQ(bytes_of(file.at("odd")), bytes_of(odd));
  EXPECT_EQ(bytes_of(file.at("t")), bytes_of(t));
}

INSTANTIATE_TEST_SUITE_P(AllDTypes, RoundTrip,
                         testing::Values(DType::f32, DType::f64, DType::bf16, DType::f16, DType::i64, DType::i32,
                                         DType::u8, DType::boolean),
                         [](const auto& tested) { return std::string(name(tested.param)); });

TEST(Safetensors, ChannelsLastIsWrittenRowMajor) {
  const TemporaryFolder folder;
  const Tensor rows = random_bits({2, 3, 4, 5}, DType::f32, 1);
  const Tensor pixels = rows.contiguous(MemoryFormat::channels_last);
  ASSERT_FALSE(pixels.is_contiguous());
  write_safetensors(folder / "w", {{"t", pixels}});
  EXPECT_EQ(bytes_of(read_safetensors(folder / "w").at("t")), bytes_of(rows));
}

TEST(Safetensors, StridedViewsAreWrittenRowMajor) {
  const TemporaryFolder folder;
  const Tensor t = Tensor::arange(12).reshape({3, 4});
  write_safetensors(folder / "w", {{"transposed", transpose(t, 0, 1)},
                                   {"columns", slice(t, 1, 1, 4, 2)},
                                   {"repeated", expand(slice(t, 0, 0, 1), {2, 4})}});
  const SafetensorsFile file = read_safetensors(folder / "w");
  using Values = std::vector<std::int64_t>;
  EXPECT_EQ(file.at("transposed").to_vector<std::int64_t>(), (Values{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11}));
  EXPECT_EQ(file.at("columns").to_vector<std::int64_t>(), (Values{1, 3, 5, 7, 9, 11}));
  EXPECT_EQ(file.at("repeated").to_vector<std::int64_t>(), (Values{0, 1, 2, 3, 0, 1, 2, 3}));
}

TEST(Safetensors, ParametersAreWrittenWithoutTouchingTheGraph) {
  const TemporaryFolder folder;
  Tensor t = Tensor::ones({2, 3, 4, 4}).contiguous(MemoryFormat::channels_last);
  t.requires_grad_();
  write_safetensors(folder / "w", {{"t", t}});
  EXPECT_TRUE(t.is_leaf());
  EXPECT_FALSE(read_safetensors(folder / "w").at("t").requires_grad());
}

TEST(Safetensors, OrderNamesAndMetadataAreKept) {
  const TemporaryFolder folder;
  const std::map<std::string, std::string> metadata = {
      {"format", "pt"}, {"", "empty key"}, {"quote \" \\", "line\nfeed"}};
  const Named tensors = {{"z", Tensor::ones({1})},
                         {"", Tensor::ones({2})},
                         {"a.\"b\"\n", Tensor::ones({3})},
                         {"größe 大きさ", Tensor::ones({4})}};
  write_safetensors(folder / "w", tensors, metadata);
  const SafetensorsFile file = read_safetensors(folder / "w");
  EXPECT_EQ(file.metadata, metadata);
  ASSERT_EQ(file.tensors.size(), tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) EXPECT_EQ(file.tensors[i].first, tensors[i].first);
}

TEST(Safetensors, ExactBytes) {
  const TemporaryFolder folder;
  write_safetensors(folder / "w", {{"b", Tensor::from<std::uint8_t>({1, 2, 3}, {3})}}, {{"k", "v"}});
  std::string header = R"({"__metadata__":{"k":"v"},"b":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  EXPECT_EQ(test::get_file(folder / "w"), test::length_field(header.size()) + header + "\1\2\3");
}

TEST(Safetensors, DataBeginsAtAMultipleOfEight) {
  const TemporaryFolder folder;
  for (std::size_t length = 0; length < 9; ++length) {
    write_safetensors(folder / "w", {{std::string(length, 'n'), Tensor::ones({2})}});
    const std::string bytes = test::get_file(folder / "w");
    EXPECT_EQ(bytes.size() % 8, 0u);
    EXPECT_EQ(read_safetensors(folder / "w").tensors.front().first.size(), length);
  }
}

TEST(Safetensors, NoTensorsAtAll) {
  const TemporaryFolder folder;
  write_safetensors(folder / "w", {});
  EXPECT_TRUE(read_safetensors(folder / "w").tensors.empty());
}

TEST(Safetensors, HeaderOrderMayDifferFromDataOrder) {
  const TemporaryFolder folder;
  const std::string header =
      R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},"a":{"data_offsets":[0,1],"shape":[],"dtype":"U8"}}  )";
  test::put_file(folder / "w", test::length_field(header.size()) + header + "\7\10\11");
  const SafetensorsFile file = read_safetensors(folder / "w");
  EXPECT_EQ(file.tensors.front().first, "b");
  EXPECT_EQ(file.at("b").to_vector<int>(), (std::vector<int>{8, 9}));
  EXPECT_EQ(file.at("a").item(), 7);
  EXPECT_EQ(file.at("a").dim(), 0);
}

TEST(Safetensors, HeaderLengthNeedNotBeAMultipleOfEight) {
  const TemporaryFolder folder;
  const std::string header = R"({"t":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}})";
  for (int spaces = 0; spaces < 8; ++spaces) {
    const double value = 1.0 / 3.0;
    std::string bytes = safetensors_bytes(header + std::string(static_cast<std::size_t>(spaces), ' '), 8);
    std::memcpy(bytes.data() + bytes.size() - 8, &value, 8);
    test::put_file(folder / "w", bytes);
    EXPECT_EQ(read_safetensors(folder / "w").at("t").item(), value);
  }
}

TEST(Safetensors, AtNamesWhatIsThere) {
  const TemporaryFolder folder;
  write_safetensors(folder / "w", {{"fc.weight", Tensor::ones({1})}, {"fc.bias", Tensor::ones({1})}});
  const SafetensorsFile file = read_safetensors(folder / "w");
  EXPECT_TRUE(file.contains("fc.bias"));
  EXPECT_FALSE(file.contains("head.bias"));
  EXPECT_ERROR(file.at("head.bias"), "no tensor 'head.bias' in the file; it has 'fc.weight', 'fc.bias'");
}

TEST(Safetensors, MissingFileNamesThePath) {
  const TemporaryFolder folder;
  EXPECT_ERROR(read_safetensors(folder / "nothing"), folder / "nothing");
}

TEST(Safetensors, WriterRefusals) {
  const TemporaryFolder folder;
  const Tensor t = Tensor::ones({1});
  EXPECT_ERROR(write_safetensors(folder / "w", {{"a", t}, {"b", t}, {"a", t}}), "duplicate name 'a'");
  EXPECT_ERROR(write_safetensors(folder / "w", {{"__metadata__", t}}), "'__metadata__'");
  EXPECT_ERROR(write_safetensors(folder / "w", {{"a", Tensor()}}), "tensor 'a' is undefined");
  EXPECT_ERROR(write_safetensors(folder / "w", {{"\xff", t}}), "a tensor's name is not valid UTF-8");
  EXPECT_ERROR(write_safetensors(folder / "w", {}, {{"\xff", ""}}), "a metadata key is not valid UTF-8");
  EXPECT_ERROR(write_safetensors(folder / "w", {}, {{"k", "\xc3"}}), "the metadata of 'k' is not valid UTF-8");
  EXPECT_ERROR(write_safetensors(folder / "w", {{"\xff", t}}), folder / "w");
  EXPECT_TRUE(folder.names().empty());
}

// --- damaged files
// ------------------------------------------------------------------------------------------------------

std::string sample_file(const TemporaryFolder& folder) {
  write_safetensors(folder / "sample",
                    {{"conv.weight", random_bits({2, 3, 3}, DType::f32, 1)},
                     {"mask", random_bits({5}, DType::boolean, 2)},
                     {"step", random_bits({}, DType::i64, 3)},
                     {"none", random_bits({0, 4}, DType::f16, 4)}},
                    {{"format", "pt"}});
  return test::get_file(folder / "sample");
}

/// Reads it whole or throws Error: anything else fails the test (or the sanitizers).
bool survives(const std::string& path, const std::string& bytes) {
  test::put_file(path, bytes);
  try {
    for (const auto& [name, tensor] : read_safetensors(path).tensors) bytes_of(tensor);
    return true;
  } catch (const Error&) {
    return false;
  }
}

TEST(SafetensorsDamage, EveryTruncationIsRefused) {
  const TemporaryFolder folder;
  const std::string bytes = sample_file(folder);
  for (std::size_t length = 0; length < bytes.size(); ++length)
    EXPECT_FALSE(survives(folder / "f", bytes.substr(0, length))) << length;
}

TEST(SafetensorsDamage, ExtraBytesAreRefused) {
  const TemporaryFolder folder;
  const std::string bytes = sample_file(folder);
  for (std::size_t extra = 1; extra < 20; ++extra)
    EXPECT_FALSE(survives(folder / "f", bytes + std::string(extra, '\0'))) << extra;
}

TEST(SafetensorsDamage, RandomMutationsNeverCrash) {
  const TemporaryFolder folder;
  const std::string bytes = sample_file(folder);
  std::mt19937 engine(7);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(engine()) % n; };
  using namespace std::string_literals;
  const std::string tokens = "{}[]\",:0123456789.-eE\\u\0nulltrue \xff"s;
  int read = 0, refused = 0;
  for (int round = 0; round < 6000; ++round) {
    std::string mutated = bytes;
    for (std::size_t changes = 1 + below(4); changes > 0; --changes) {
      const std::size_t at = below(mutated.size());
      switch (below(5)) {
        case 0:
          mutated[at] = static_cast<char>(mutated[at] ^ (1 << below(8)));
          break;
        case 1:
          mutated[at] = tokens[below(tokens.size())];
          break;
        case 2:
          mutated.insert(at, 1, tokens[below(tokens.size())]);
          break;
        case 3:
          mutated.erase(at, 1 + below(3));
          break;
        default:
          mutated.replace(at, std::min<std::size_t>(4, mutated.size() - at), mutated.substr(below(mutated.size()), 4));
      }
      if (mutated.empty()) mutated.assign(1, 'x');
    }
    survives(folder / "f", mutated) ? ++read : ++refused;
  }
  EXPECT_GT(read, 100);      // changes in the data alone are not seen
  EXPECT_GT(refused, 3000);  // changes in the header are
}

}  // namespace
}  // namespace graft::io
