// Copy with casts and layout changes on every backend.
#include <limits>

#include "op_case.h"

namespace graft::test {
namespace {

using namespace kernels;

std::vector<OpCase> cast_cases() {
  std::vector<OpCase> cases;
  auto cast = [&](DType from, DType to, double lo, double hi) {
    const std::string variant = std::string(graft::name(from)) + "_to_" + graft::name(to);
    // The listed dtype is the source's; the source of the truth is cast to the same target, so results are compared
    // exactly.
    cases.push_back(op_case(variant, {from}, kRounded, [=](Maker& make) {
      const TensorRef x = is_floating(from)
                              ? make.input({77}, {}, lo, hi)
                              : make.whole(from, {77}, static_cast<std::int64_t>(lo), static_cast<std::int64_t>(hi));
      return CopyArgs{x, make.output_of(to, "y", {77})};
    }));
  };
  const DType all[] = {DType::f32, DType::f64, DType::bf16, DType::f16,
                       DType::i64, DType::i32, DType::u8,   DType::boolean};
  for (DType from : all)
    for (DType to : all) {
      const bool short_range = from == DType::u8 || from == DType::boolean;
      cast(from, to, short_range ? 0 : -300,
           from == DType::boolean ? 1
           : from == DType::u8    ? 255
                                  : 600);  // wraps in u8
    }
  cases.push_back(op_case("special_values", {DType::f32, DType::bf16, DType::f16}, kRounded, [](Maker& make) {
    constexpr double inf = std::numeric_limits<double>::infinity();
    const TensorRef x = make.values({17}, {inf, -inf, std::numeric_limits<double>::quiet_NaN(), 0, -0.0, 65504, 1e-7});
    return CopyArgs{x, make.output_of(DType::f32, "y", {17})};
  }));
  cases.push_back(op_case("f32_to_f16_overflow", kF32, kRounded, [](Maker& make) {
    const TensorRef x = make.values({9}, {65519, 65520, -65520, 1e9, 6e-8, 2e-8, -1e-10});
    return CopyArgs{x, make.output_of(DType::f16, "y", {9})};
  }));
  return cases;
}

std::vector<OpCase> layout_cases() {
  std::vector<OpCase> cases;
  const std::vector<DType> moved = {DType::f32, DType::f64, DType::bf16, DType::i64, DType::i32, DType::u8};
  auto copy = [&](const char* variant, const Shape& shape, const Layout& from, const Layout& to) {
    cases.push_back(op_case(variant, moved, kRounded, [=](Maker& make) {
      const TensorRef x = make.input(shape, from, 0, 200);
      return CopyArgs{x, make.output("y", shape, to)};
    }));
  };
  copy("contiguous", {7, 33}, {}, {});
  copy("scalar", {}, {}, {});
  copy("empty", {4, 0, 3}, {}, {});
  copy("transpose", {33, 65}, Layout::permuted({1, 0}), {});
  copy("transpose_into", {33, 65}, {}, Layout::permuted({1, 0}));
  copy("permute", {3, 5, 7, 2}, Layout::permuted({3, 1, 0, 2}), {});
  copy("nchw_to_nhwc", {2, 17, 5, 7}, {}, Layout::channels_last());
  copy("nhwc_to_nchw", {2, 17, 5, 7}, Layout::channels_last(), {});
  copy("transpose_tiles", {96, 64}, Layout::permuted({1, 0}), {});
  copy("transpose_batch", {3, 33, 5, 40}, Layout::permuted({2, 0, 3, 1}), {});
  copy("transpose_windows", {35, 33}, Layout{.order = {1, 0}, .row_gap = 3, .offset = 1}, Layout::window());
  copy("transpose_short", {7, 65}, Layout::permuted({1, 0}), {});
  copy("transpose_into_steps", {17, 33}, {}, Layout{.order = {1, 0}, .step = 2});
  copy("rotate", {9, 17, 11}, Layout::permuted({2, 0, 1}), Layout::permuted({1, 2, 0}));
  copy("unaligned", {67}, Layout{.offset = 1}, Layout{.offset = 3});
  copy("rows_of_vectors", {5, 48}, Layout{.row_gap = 16}, {});
  copy("expand_row", {9, 17}, Layout::expanded({0}), {});
  copy("expand_column", {9, 17}, Layout::expanded({1}), {});
  copy("expand_scalar", {9, 17}, Layout::expanded({0, 1}), {});
  copy("slice", {5, 17}, Layout::window(), {});
  copy("into_slice", {5, 17}, {}, Layout::window());
  copy("every_other", {65}, Layout::stepped(), {});
  copy("size_one_dimensions", {1, 33, 1, 5}, Layout::permuted({2, 3, 0, 1}), {});
  copy("rank8", {2, 3, 1, 2, 2, 1, 3, 2}, Layout::permuted({1, 0, 3, 2, 5, 4, 7, 6}), {});
  cases.push_back(op_case("cast_and_permute", kFloats, kRounded, [](Maker& make) {
    const TensorRef x = make.input({2, 3, 9, 5}, Layout::channels_last());
    return CopyArgs{x, make.output_of(DType::f32, "y", {2, 3, 9, 5})};
  }));
  cases.push_back(op_case("cast_rows_of_vectors", kFloats, kRounded, [](Maker& make) {
    const TensorRef x = make.input({5, 32}, Layout::expanded({0}));
    return CopyArgs{x, make.output_of(DType::f64, "y", {5, 32}, Layout{.row_gap = 8})};
  }));
  return cases;
}

GRAFT_OP_CASES(Cast, cast_cases());
GRAFT_OP_CASES(CopyLayout, layout_cases());

}  // namespace
}  // namespace graft::test
