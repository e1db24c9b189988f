// Every rule of the format, broken one at a time.
#include <gtest/gtest.h>

#include <graft/core/io/safetensors.h>

#include "io/safetensors_bytes.h"
#include "support/temporary_folder.h"

namespace graft::io {
namespace {

using test::length_field;
using test::safetensors_bytes;
using test::TemporaryFolder;

struct Malformed {
  const char* name;
  std::string bytes;
  const char* fragment;
};

void PrintTo(const Malformed& c, std::ostream* out) { *out << c.name; }

/// A file with this header and `data_bytes` bytes behind it.
Malformed header_case(const char* name, std::string_view header, std::size_t data_bytes, const char* fragment) {
  return {name, safetensors_bytes(header, data_bytes), fragment};
}

/// A file with one tensor 't' whose object is this text.
Malformed tensor_case(const char* name, const std::string& object, const char* fragment) {
  return header_case(name, "{\"t\":" + object + "}", 8, fragment);
}

std::vector<Malformed> file_cases() {
  using namespace std::string_literals;
  return {
      {"empty_file", "", "the file has 0 bytes, fewer than the 8"},
      {"short_length", "\1\0\0"s, "the file has 3 bytes, fewer than the 8"},
      {"length_past_end", length_field(3) + "{}", "the header length is 3, past the end of the file of 10 bytes"},
      {"length_over_limit", length_field(100'000'001) + "{}", "over the limit of 100000000"},
      {"length_that_wraps", length_field(~0ull) + "{}", "over the limit"},
      {"no_header", length_field(0), "does not start with '{'"},
      header_case("leading_space", " {}", 0, "does not start with '{'"),
      header_case("leading_byte_order_mark", "\xef\xbb\xbf{}", 0, "does not start with '{'"),
      header_case("header_is_list", "[]", 0, "does not start with '{'"),
      header_case("cut_short", "{\"t\":", 0, "not valid UTF-8 JSON"),
      header_case("second_value", "{} {}", 0, "not valid UTF-8 JSON"),
      header_case("trailing_comma", "{\"__metadata__\":{},}", 0, "not valid UTF-8 JSON"),
      header_case("comment", "{/**/}", 0, "not valid UTF-8 JSON"),
      header_case("not_utf8", "{\"__metadata__\":{\"a\":\"\xff\"}}", 0, "not valid UTF-8 JSON"),
      header_case("overlong_utf8", "{\"__metadata__\":{\"a\":\"\xc0\xaf\"}}", 0, "not valid UTF-8 JSON"),
      header_case("lone_surrogate", "{\"__metadata__\":{\"a\":\"\\ud800\"}}", 0, "not valid UTF-8 JSON"),
      header_case("control_character", "{\"__metadata__\":{\"a\":\"\n\"}}", 0, "not valid UTF-8 JSON"),
      header_case("zero_byte_hides_text", "{}\0{\"more\":1}"s, 0, "zero byte"),
      header_case("bytes_left_over", "{}", 5, "5 bytes left over behind the last tensor"),
  };
}

std::vector<Malformed> structure_cases() {
  return {
      header_case("tensor_is_number", "{\"t\":1}", 0, "'t' is a number, expected an object"),
      header_case("tensor_is_null", "{\"t\":null}", 0, "'t' is null, expected an object"),
      header_case("tensor_is_list", "{\"t\":[]}", 0, "'t' is a list, expected an object"),
      header_case("tensor_is_text", "{\"t\":\"x\"}", 0, "'t' is text, expected an object"),
      header_case("duplicate_tensor",
                  "{\"t\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
                  "\"t\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}",
                  0, "duplicate key 't' in the header"),
      header_case("duplicate_by_escape",
                  "{\"t\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
                  "\"\\u0074\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}",
                  0, "duplicate key 't' in the header"),
      header_case("duplicate_metadata", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "duplicate key '__metadata__'"),
      header_case("duplicate_metadata_key", "{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0,
                  "__metadata__: duplicate key 'a'"),
      header_case("metadata_is_list", "{\"__metadata__\":[]}", 0, "'__metadata__' is a list"),
      header_case("metadata_is_null", "{\"__metadata__\":null}", 0, "'__metadata__' is null"),
      header_case("metadata_value_number", "{\"__metadata__\":{\"a\":1}}", 0, "'a' is a number, expected text"),
      header_case("metadata_value_object", "{\"__metadata__\":{\"a\":{}}}", 0, "'a' is an object, expected text"),
      header_case("metadata_value_list", "{\"__metadata__\":{\"a\":[]}}", 0, "'a' is a list, expected text"),
      tensor_case("no_fields", "{}", "field 'dtype' is missing"),
      tensor_case("no_dtype", "{\"shape\":[8],\"data_offsets\":[0,8]}", "field 'dtype' is missing"),
      tensor_case("no_shape", "{\"dtype\":\"U8\",\"data_offsets\":[0,8]}", "field 'shape' is missing"),
      tensor_case("no_offsets", "{\"dtype\":\"U8\",\"shape\":[8]}", "field 'data_offsets' is missing"),
      tensor_case("unknown_field", "{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8],\"scale\":2}",
                  "unknown field 'scale'"),
      tensor_case("duplicate_field", "{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}",
                  "duplicate field 'dtype'"),
  };
}

std::vector<Malformed> dtype_cases() {
  const auto with = [](const char* name, const char* dtype, const char* fragment) {
    return tensor_case(name, std::string("{\"dtype\":") + dtype + ",\"shape\":[8],\"data_offsets\":[0,8]}", fragment);
  };
  return {
      with("i8", "\"I8\"", "tensor 't': dtype I8 is not supported"),
      with("i16", "\"I16\"", "dtype I16 is not supported"),
      with("u16", "\"U16\"", "dtype U16 is not supported"),
      with("u32", "\"U32\"", "dtype U32 is not supported"),
      with("u64", "\"U64\"", "dtype U64 is not supported"),
      with("f8_e4m3", "\"F8_E4M3\"", "dtype F8_E4M3 is not supported"),
      with("f8_e5m2", "\"F8_E5M2\"", "dtype F8_E5M2 is not supported"),
      with("unknown_dtype", "\"F31\"", "tensor 't': unknown dtype 'F31'"),
      with("lower_case_dtype", "\"f32\"", "unknown dtype 'f32'"),
      with("empty_dtype", "\"\"", "unknown dtype ''"),
      with("dtype_is_number", "8", "dtype is a number, expected text"),
      with("dtype_is_list", "[\"U8\"]", "dtype is a list, expected text"),
      with("dtype_is_null", "null", "dtype is null, expected text"),
      with("dtype_is_object", "{}", "dtype is an object, expected text"),
  };
}

std::vector<Malformed> shape_cases() {
  const auto with = [](const char* name, const char* shape, const char* fragment) {
    return tensor_case(name, std::string("{\"dtype\":\"U8\",\"data_offsets\":[0,8],\"shape\":") + shape + "}",
                       fragment);
  };
  return {
      with("shape_is_number", "8", "shape is a number, expected a list"),
      with("shape_is_text", "\"8\"", "shape is text, expected a list"),
      with("shape_is_object", "{}", "shape is an object, expected a list"),
      with("shape_is_null", "null", "shape is null, expected a list"),
      with("negative_size", "[-8]", "shape has a negative entry, -8"),
      with("fraction", "[8.5]", "not a whole number of 64 bits, '8.5'"),
      with("whole_float", "[8.0]", "not a whole number of 64 bits, '8.0'"),
      with("exponent", "[8e0]", "not a whole number of 64 bits, '8e0'"),
      with("size_is_text", "[\"8\"]", "shape holds text"),
      with("size_is_true", "[true]", "shape holds a truth value"),
      with("size_is_null", "[null]", "shape holds null"),
      with("nested_list", "[[8]]", "shape holds a list"),
      with("object_in_list", "[{}]", "shape holds an object"),
      with("size_over_63_bits", "[9223372036854775808]", "size 9223372036854775808 overflows"),
      with("size_over_64_bits", "[18446744073709551616]", "not a whole number of 64 bits"),
      with("product_overflows", "[4294967296,4294967296]", "overflows"),
      with("product_overflows_before_zero", "[4294967296,4294967296,0]", "overflows"),
      with("rank_over_limit", "[1,1,1,1,1,1,1,1,8]", "rank is over the limit of 8"),
  };
}

std::vector<Malformed> offset_cases() {
  const auto with = [](const char* name, const char* offsets, const char* fragment) {
    return tensor_case(name, std::string("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":") + offsets + "}",
                       fragment);
  };
  const auto two = [](const char* name, const char* first, const char* second, std::size_t bytes,
                      const char* fragment) {
    const std::string header = std::string("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":") + first +
                               "},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" + second + "}}";
    return header_case(name, header, bytes, fragment);
  };
  return {
      with("offsets_number", "8", "data_offsets is a number, expected a list"),
      with("no_offset", "[]", "data_offsets has 0 entries, expected 2"),
      with("one_offset", "[0]", "data_offsets has 1 entries, expected 2"),
      with("three_offsets", "[0,8,8]", "data_offsets has more than 2 entries"),
      with("negative_offset", "[-1,7]", "data_offsets has a negative entry, -1"),
      with("fractional_offset", "[0,8.0]", "data_offsets has an entry that is not a whole number"),
      with("backwards", "[8,0]", "data_offsets end before they begin (8, 0)"),
      with("span_too_small", "[0,4]", "data_offsets span 4 bytes, but F32 (2,) takes 8"),
      with("span_too_large", "[0,16]", "data_offsets span 16 bytes, but F32 (2,) takes 8"),
      with("past_the_end", "[4,12]", "data_offsets end at 12, past the end of the 8 bytes"),
      with("far_past_the_end", "[18446744073709551607,18446744073709551615]", "past the end"),
      two("overlap", "[0,4]", "[2,6]", 6, "tensor 'b': data_offsets overlap another tensor's (begin 2, expected 4)"),
      two("same_bytes", "[0,4]", "[0,4]", 4, "overlap"),
      two("hole_between", "[0,4]", "[6,10]", 10, "tensor 'b': data_offsets leave a hole (begin 6, expected 4)"),
      two("hole_in_front", "[2,6]", "[6,10]", 10, "tensor 'a': data_offsets leave a hole (begin 2, expected 0)"),
      two("left_over", "[0,4]", "[4,8]", 9, "1 bytes left over"),
      two("truncated_data", "[0,4]", "[4,8]", 7, "past the end of the 7 bytes"),
      header_case("empty_tensor_inside_another",
                  "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
                  "\"b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[2,2]}}",
                  4, "overlap"),
      {"bool_of_2", safetensors_bytes("{\"t\":{\"dtype\":\"BOOL\",\"shape\":[2],\"data_offsets\":[0,2]}}", 1) + "\2",
       "tensor 't': BOOL element 1 is 2, expected 0 or 1"},
  };
}

class SafetensorsRules : public testing::TestWithParam<Malformed> {};

TEST_P(SafetensorsRules, IsRefusedWithFileAndReason) {
  const TemporaryFolder folder;
  const std::string path = folder / "broken.safetensors";
  test::put_file(path, GetParam().bytes);
  EXPECT_ERROR(read_safetensors(path), GetParam().fragment);
  EXPECT_ERROR(read_safetensors(path), "read_safetensors: " + path);
}

const auto case_name = [](const auto& info) { return std::string(info.param.name); };
INSTANTIATE_TEST_SUITE_P(File, SafetensorsRules, testing::ValuesIn(file_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Structure, SafetensorsRules, testing::ValuesIn(structure_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(DType, SafetensorsRules, testing::ValuesIn(dtype_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Shape, SafetensorsRules, testing::ValuesIn(shape_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Offsets, SafetensorsRules, testing::ValuesIn(offset_cases()), case_name);

}  // namespace
}  // namespace graft::io
