// Unary and binary maps, fill and axpy on every backend.
#include <cmath>
#include <limits>

#include "op_case.h"

namespace graft::test {
namespace {

using namespace kernels;

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Sizes that are no multiple of a vector: 7 x 33 elements.
const Shape kAwkward = {7, 33};

struct UnarySpec {
  UnaryOp op;
  double lo, hi;
  std::vector<double> special;
  Tolerance tolerance, backward_tolerance;
};

// Tolerances: one IEEE operation is exact to half an epsilon. A vector exp, log or tanh is good to about 2 ulp, and exp
// of an argument that was rounded once more (x log2(e), up to 12) gains as many epsilons: 16. Where a formula subtracts
// (1 + erf, the tanh of a small argument from exp), the absolute error counts: the largest term times a few epsilons.
std::vector<UnarySpec> unary_specs() {
  const Tolerance exact = kRounded, product{.relative = 1.5}, vector_exp{.relative = 16, .absolute = 1};
  const Tolerance cancelling{.relative = 16, .absolute = 32};
  return {
      {UnaryOp::neg, -3, 3, {0.0, kInf, -kInf, kNaN}, exact, exact},
      {UnaryOp::abs, -3, 3, {0.0, -0.0, kInf, -kInf, kNaN}, exact, exact},
      {UnaryOp::exp, -8, 8, {0, 100, -200, kInf, -kInf, kNaN}, vector_exp, product},
      {UnaryOp::log, 0.01, 10, {1, 0, -1, kInf, kNaN}, {.relative = 4, .absolute = 2}, product},
      {UnaryOp::sqrt, 0, 9, {0, 4, -1, kInf, kNaN}, exact, product},
      {UnaryOp::square, -3, 3, {0, 300, kInf, -kInf, kNaN}, exact, product},
      {UnaryOp::reciprocal, 0.1, 4, {0, -2, kInf, -kInf, kNaN}, exact, {.relative = 2}},
      {UnaryOp::relu, -3, 3, {0, -1e-3, kInf, -kInf, kNaN}, exact, exact},
      {UnaryOp::relu6, -3, 9, {0, 6, kInf, -kInf, kNaN}, exact, exact},
      {UnaryOp::gelu, -6, 6, {0, 30, kInf, kNaN}, cancelling, cancelling},
      {UnaryOp::gelu_tanh, -6, 6, {0, 30, kInf, kNaN}, cancelling, cancelling},
      {UnaryOp::sigmoid, -12, 12, {0, 100, -100, kInf, -kInf, kNaN}, vector_exp, {.relative = 2, .absolute = 1}},
      {UnaryOp::tanh,
       -6,
       6,
       {0, 100, -100, kInf, -kInf, kNaN},
       {.relative = 4, .absolute = 4},
       {.relative = 2, .absolute = 2}},
      {UnaryOp::hardswish, -5, 5, {0, 10, -10, kInf, kNaN}, {.relative = 2}, {.relative = 2, .absolute = 2}},
      {UnaryOp::silu, -12, 12, {0, 100, kInf, kNaN}, vector_exp, cancelling},
  };
}

// `elements` unused ones after each row.
Layout gap(int elements) {
  Layout layout;
  layout.row_gap = elements;
  return layout;
}

// The first element at an address that is `elements` beyond an aligned one.
Layout at(int elements) {
  Layout layout;
  layout.offset = elements;
  return layout;
}

double smallest(DType dtype) { return dtype == DType::i64 ? -0x1p63 : -0x1p31; }

// Random numbers with the special ones strewn in.
TensorRef with_special(Maker& make, const Shape& shape, const UnarySpec& spec, const Layout& layout = {}) {
  const TensorRef x = make.input(shape, layout, spec.lo, spec.hi);
  std::int64_t every = 11;
  for (double value : spec.special) make.sprinkle(x, every += 6, value);
  return x;
}

std::vector<OpCase> unary_cases() {
  std::vector<OpCase> cases;
  for (const UnarySpec& spec : unary_specs()) {
    const std::string op = name(spec.op);
    cases.push_back(op_case(op, kFloats, spec.tolerance, [spec](Maker& make) {
      const TensorRef x = with_special(make, kAwkward, spec);
      return UnaryArgs{spec.op, x, make.output("y", kAwkward)};
    }));
    cases.push_back(op_case(op, kFloats, spec.backward_tolerance, [spec](Maker& make) {
      // The saved output lies in the op's range: exp and reciprocal positive, sigmoid in (0, 1), tanh in (-1, 1).
      const bool bounded = spec.op == UnaryOp::sigmoid || spec.op == UnaryOp::tanh;
      const bool positive = spec.op == UnaryOp::exp || spec.op == UnaryOp::sqrt || spec.op == UnaryOp::sigmoid;
      const TensorRef saved = bounded || positive ? make.input(kAwkward, {}, positive ? 0.05 : -1, bounded ? 1 : 4)
                                                  : make.input(kAwkward, {}, spec.lo, spec.hi);
      if (spec.op == UnaryOp::relu || spec.op == UnaryOp::relu6) {
        make.sprinkle(saved, 3, 0);
        make.sprinkle(saved, 5, 6);
        make.sprinkle(saved, 17, kNaN);
      }
      if (spec.op == UnaryOp::abs) make.sprinkle(saved, 3, 0);
      const TensorRef gy = make.input(kAwkward);
      return UnaryBackwardArgs{spec.op, saved, gy, make.output("gx", kAwkward)};
    }));
  }
  const UnarySpec relu = {UnaryOp::relu, -3, 3, {0, kNaN}, kRounded, kRounded};
  auto relu_in = [&](const char* variant, const Shape& shape, const Layout& from, const Layout& to) {
    cases.push_back(op_case(variant, kFloats, kRounded, [=](Maker& make) {
      const TensorRef x = with_special(make, shape, relu, from);
      return UnaryArgs{UnaryOp::relu, x, make.output("y", shape, to)};
    }));
  };
  relu_in("one_element", {1}, {}, {});
  relu_in("scalar", {}, {}, {});
  relu_in("empty", {0, 5}, {}, {});
  relu_in("large", {65, 129}, {}, {});
  relu_in("transposed_input", {33, 65}, Layout::permuted({1, 0}), {});
  relu_in("transposed_output", {33, 65}, {}, Layout::permuted({1, 0}));
  relu_in("window", {5, 33}, Layout::window(), Layout::window());
  relu_in("stepped", {65}, Layout::stepped(), {});
  relu_in("channels_last", {2, 7, 5, 3}, Layout::channels_last(), Layout::channels_last());
  relu_in("to_channels_last", {2, 7, 5, 3}, {}, Layout::channels_last());
  // Rows of whole vectors with gaps between them, rows that end within a vector, and an odd address.
  relu_in("padded_rows", {5, 16}, gap(16), gap(16));
  relu_in("padded_odd_rows", {5, 13}, gap(3), gap(3));
  relu_in("padded_short_rows", {9, 3}, gap(13), gap(13));
  relu_in("unaligned", {67}, at(1), at(1));
  relu_in("unaligned_input", {67}, at(3), {});
  relu_in("unaligned_output", {67}, {}, at(5));
  relu_in("every_third", {5, 7, 3}, Layout{.order = {2, 1, 0}, .step = 3}, {});
  relu_in("rank8", {2, 1, 3, 2, 1, 2, 3, 2}, Layout::permuted({7, 6, 5, 4, 3, 2, 1, 0}), {});
  for (UnaryOp op : {UnaryOp::neg, UnaryOp::abs, UnaryOp::square})
    cases.push_back(op_case(std::string(name(op)) + "_whole", kInts, kRounded, [=](Maker& make) {
      const TensorRef x = make.whole(make.dtype(), kAwkward, -1000, 1000);
      return UnaryArgs{op, x, make.output("y", kAwkward)};
    }));
  for (UnaryOp op : {UnaryOp::neg, UnaryOp::abs, UnaryOp::square})
    cases.push_back(op_case(std::string(name(op)) + "_whole_wraps", kInts, kRounded, [=](Maker& make) {
      const double least = smallest(make.dtype());
      const TensorRef x = make.values({9}, {least, least / 2, 0, -1, 65536});
      return UnaryArgs{op, x, make.output("y", {9})};
    }));
  cases.push_back(op_case("in_place_strided", kFloats, kRounded, [](Maker& make) {
    const TensorRef x = make.in_out("x", make.input({5, 9}, Layout::window()));
    return UnaryArgs{UnaryOp::square, x, x};
  }));
  cases.push_back(op_case("gy_broadcast_rows", kFloats, {.relative = 1.5}, [](Maker& make) {
    const TensorRef saved = make.input({5, 32}), gy = make.input({5, 32}, Layout::expanded({1}));
    return UnaryBackwardArgs{UnaryOp::square, saved, gy, make.output("gx", {5, 32})};
  }));
  cases.push_back(op_case("gx_over_gy", kFloats, kRounded, [](Maker& make) {
    const TensorRef saved = make.input({67}), gy = make.in_out("gy", make.input({67}));
    return UnaryBackwardArgs{UnaryOp::relu, saved, gy, gy};
  }));
  cases.push_back(op_case("in_place", kFloats, kRounded, [](Maker& make) {
    const TensorRef x = make.in_out("x", make.input({65}));
    return UnaryArgs{UnaryOp::neg, x, x};
  }));
  cases.push_back(op_case("strided", kFloats, {.relative = 1.5}, [](Maker& make) {
    const Shape shape = {5, 7, 3};
    const TensorRef saved = make.input(shape, Layout::permuted({2, 0, 1}));
    const TensorRef gy = make.input(shape, Layout::expanded({0, 1, 2}));  // the gradient of a sum
    return UnaryBackwardArgs{UnaryOp::square, saved, gy, make.output("gx", shape)};
  }));
  return cases;
}

std::vector<OpCase> binary_cases() {
  std::vector<OpCase> cases;
  auto binary = [&](BinaryOp op, const std::string& variant, const Shape& shape, const Layout& a, const Layout& b,
                    const Layout& y) {
    cases.push_back(op_case(std::string(name(op)) + "_" + variant, kFloats, kRounded, [=](Maker& make) {
      const TensorRef left = make.input(shape, a, -2, 2), right = make.input(shape, b, 0.25, 2);
      return BinaryArgs{op, left, right, make.output("y", shape, y)};
    }));
  };
  for (BinaryOp op : {BinaryOp::add, BinaryOp::sub, BinaryOp::mul, BinaryOp::div}) {
    binary(op, "awkward", kAwkward, {}, {}, {});
    binary(op, "row", kAwkward, {}, Layout::expanded({0}), {});
    binary(op, "column", kAwkward, {}, Layout::expanded({1}), {});
    binary(op, "row_of_vectors", {7, 32}, {}, Layout::expanded({0}), {});
    binary(op, "column_of_vectors", {7, 32}, Layout::expanded({1}), {}, {});
    binary(op, "transposed", {33, 17}, Layout::permuted({1, 0}), {}, {});
    cases.push_back(op_case(std::string(name(op)) + "_whole", kInts, kRounded, [op](Maker& make) {
      const TensorRef a = make.whole(make.dtype(), kAwkward, -50, 50), b = make.whole(make.dtype(), kAwkward, 1, 7);
      return BinaryArgs{op, a, b, make.output("y", kAwkward)};
    }));
    cases.push_back(op_case(std::string(name(op)) + "_special", kFloats, kRounded, [op](Maker& make) {
      const TensorRef a = make.values({36}, {0, -0.0, 1, kInf, -kInf, kNaN});
      const TensorRef b =
          make.values({6, 6}, {0,    0,    0,    0,    0,    0,    2,     2,     2,     2,     2,     2,
                               kInf, kInf, kInf, kInf, kInf, kInf, -3,    -3,    -3,    -3,    -3,    -3,
                               kNaN, kNaN, kNaN, kNaN, kNaN, kNaN, -kInf, -kInf, -kInf, -kInf, -kInf, -kInf});
      TensorRef flat = b;
      flat.shape = {36};
      flat.strides = {1};
      return BinaryArgs{op, a, flat, make.output("y", {36})};
    }));
    for (bool reversed : {false, true})
      cases.push_back(
          op_case(std::string(name(op)) + (reversed ? "_reversed" : ""), kFloats, kRounded, [=](Maker& make) {
            const TensorRef x = make.input({65}, {}, 0.25, 4);
            return BinaryScalarArgs{op, x, 1.5, reversed, make.output("y", {65})};
          }));
  }
  for (BinaryOp op : {BinaryOp::add, BinaryOp::sub, BinaryOp::mul, BinaryOp::div}) {
    // Divisors are never 0; quotients truncate, and the smallest number over -1 wraps.
    cases.push_back(op_case(std::string(name(op)) + "_whole_wraps", kInts, kRounded, [op](Maker& make) {
      const double least = smallest(make.dtype());
      const TensorRef a = make.values({35}, {least, -least / 2, 7, -7, least, 1, 0});
      const TensorRef b = make.values({35}, {-1, 3, -2, least, -2});
      return BinaryArgs{op, a, b, make.output("y", {35})};
    }));
    cases.push_back(op_case(std::string(name(op)) + "_bytes", {DType::u8}, kRounded, [op](Maker& make) {
      const TensorRef a = make.whole(DType::u8, {67}, 0, 255), b = make.whole(DType::u8, {67}, 1, 255);
      return BinaryArgs{op, a, b, make.output("y", {67})};
    }));
    for (bool reversed : {false, true})
      cases.push_back(op_case(std::string(name(op)) + (reversed ? "_whole_reversed" : "_whole_scalar"),
                              {DType::i64, DType::i32, DType::u8}, kRounded, [=](Maker& make) {
                                const TensorRef x = make.whole(make.dtype(), {33}, 1, 100);
                                return BinaryScalarArgs{op, x, 7, reversed, make.output("y", {33})};
                              }));
    cases.push_back(
        op_case(std::string(name(op)) + "_beyond_its_range", {DType::i32, DType::u8}, kRounded, [=](Maker& make) {
          const TensorRef x = make.whole(make.dtype(), {33}, 0, 100);
          return BinaryScalarArgs{op, x, 0x1p33 + 3, false, make.output("y", {33})};
        }));
  }
  binary(BinaryOp::sub, "unaligned", {67}, at(1), at(2), at(3));
  binary(BinaryOp::sub, "padded_rows", {5, 13}, gap(3), gap(19), gap(3));
  binary(BinaryOp::add, "bias_of_vectors", {2, 16, 5, 3}, Layout::channels_last(), Layout::expanded({0, 2, 3}),
         Layout::channels_last());
  binary(BinaryOp::div, "scalar_operands", {65}, Layout::expanded({0}), Layout::expanded({0}), {});
  cases.push_back(op_case("div_whole_strided", kInts, kRounded, [](Maker& make) {
    const TensorRef a = make.whole(make.dtype(), {17, 9}, -50, 50, Layout::permuted({1, 0}));
    const TensorRef b = make.whole(make.dtype(), {17, 9}, 1, 7, Layout::expanded({1}));
    return BinaryArgs{BinaryOp::div, a, b, make.output("y", {17, 9})};
  }));
  cases.push_back(op_case("div_whole_empty", kInts, kRounded, [](Maker& make) {
    const TensorRef x = make.whole(make.dtype(), {0}, 1, 1);
    return BinaryScalarArgs{BinaryOp::div, x, 0, false, make.output("y", {0})};
  }));
  cases.push_back(op_case("b_in_place", kFloats, kRounded, [](Maker& make) {
    const TensorRef a = make.input(kAwkward), b = make.in_out("b", make.input(kAwkward));
    return BinaryArgs{BinaryOp::sub, a, b, b};
  }));
  binary(BinaryOp::add, "one_element", {1}, {}, {}, {});
  binary(BinaryOp::add, "empty", {3, 0}, {}, {}, {});
  binary(BinaryOp::add, "both_broadcast", {17, 9}, Layout::expanded({1}), Layout::expanded({0}), {});
  binary(BinaryOp::add, "bias_channels_last", {2, 7, 5, 3}, Layout::channels_last(), Layout::expanded({0, 2, 3}),
         Layout::channels_last());
  binary(BinaryOp::mul, "windows", {9, 17}, Layout::window(), Layout::window(), Layout::window());
  binary(BinaryOp::mul, "stepped", {65}, Layout::stepped(), Layout::stepped(), Layout::stepped());
  binary(BinaryOp::add, "large", {67, 131}, {}, {}, {});
  cases.push_back(op_case("add_in_place", kFloats, kRounded, [](Maker& make) {
    const TensorRef a = make.in_out("a", make.input(kAwkward)), b = make.input(kAwkward);
    return BinaryArgs{BinaryOp::add, a, b, a};
  }));
  cases.push_back(op_case("mul_in_place", kFloats, kRounded, [](Maker& make) {
    const TensorRef x = make.in_out("x", make.input({65}));
    return BinaryScalarArgs{BinaryOp::mul, x, -0.5, false, x};
  }));
  for (BinaryOp op : {BinaryOp::eq, BinaryOp::ne, BinaryOp::lt, BinaryOp::le, BinaryOp::gt, BinaryOp::ge}) {
    cases.push_back(op_case(name(op), {DType::f32, DType::bf16, DType::f16, DType::i64, DType::i32, DType::u8},
                            kRounded, [op](Maker& make) {
                              const TensorRef a = make.whole(make.dtype(), kAwkward, 0, 3);
                              const TensorRef b = make.whole(make.dtype(), kAwkward, 0, 3);
                              if (is_floating(make.dtype())) {
                                make.sprinkle(a, 5, kNaN);
                                make.sprinkle(b, 9, kInf);
                                make.sprinkle(b, 10, kNaN);
                              }
                              return BinaryArgs{op, a, b, make.output_of(DType::boolean, "y", kAwkward)};
                            }));
    for (bool reversed : {false, true})
      cases.push_back(op_case(std::string(name(op)) + (reversed ? "_reversed" : ""),
                              {DType::f32, DType::bf16, DType::i64, DType::i32, DType::u8}, kRounded, [=](Maker& make) {
                                const TensorRef x = make.whole(make.dtype(), {33}, 0, 3);
                                return BinaryScalarArgs{op, x, 2, reversed, make.output_of(DType::boolean, "y", {33})};
                              }));
    cases.push_back(op_case(std::string(name(op)) + "_truths", {DType::boolean}, kRounded, [op](Maker& make) {
      const TensorRef a = make.whole(DType::boolean, {7, 16}, 0, 1), b = make.whole(DType::boolean, {7, 16}, 0, 1);
      return BinaryArgs{op, a, b, make.output_of(DType::boolean, "y", {7, 16})};
    }));
    cases.push_back(op_case(std::string(name(op)) + "_strided", kFloats, kRounded, [op](Maker& make) {
      const TensorRef a = make.whole(make.dtype(), {17, 9}, 0, 3, Layout::permuted({1, 0}));
      const TensorRef b = make.whole(make.dtype(), {17, 9}, 0, 3, Layout::expanded({0}));
      return BinaryArgs{op, a, b, make.output_of(DType::boolean, "y", {17, 9})};
    }));
  }
  return cases;
}

std::vector<OpCase> update_cases() {
  std::vector<OpCase> cases;
  auto axpy = [&](const char* variant, double alpha, const Shape& shape, const Layout& x, const Layout& y) {
    // alpha rounded to float, the product and the sum: three half epsilons of terms up to |alpha| + 1.
    const Tolerance tolerance{.absolute = 1.5 * (std::abs(alpha) + 1)};
    cases.push_back(op_case(variant, kFloats, tolerance, [=](Maker& make) {
      const TensorRef from = make.input(shape, x), into = make.in_out("y", make.input(shape, y));
      return AxpyArgs{alpha, from, into};
    }));
  };
  axpy("awkward", 0.1, kAwkward, {}, {});
  axpy("one", 1, {65}, {}, {});
  axpy("broadcast", -2.5, kAwkward, Layout::expanded({0}), {});
  axpy("transposed", 3, {17, 9}, Layout::permuted({1, 0}), {});
  axpy("window", 0.5, {5, 9}, {}, Layout::window());
  axpy("vectors", -0.5, {9, 32}, Layout::expanded({1}), {});
  axpy("unaligned", 0.5, {67}, at(1), at(2));
  axpy("scalar", 0.5, {}, {}, {});
  axpy("empty", 1, {0}, {}, {});
  const std::vector<DType> all = {DType::f32, DType::f64, DType::bf16, DType::f16,
                                  DType::i64, DType::i32, DType::u8,   DType::boolean};
  auto fill = [&](const char* variant, double value, const Shape& shape, const Layout& y) {
    cases.push_back(op_case(variant, all, kRounded, [=](Maker& make) {
      return FillArgs{value, make.output("y", shape, y)};
    }));
  };
  fill("zero", 0, {65}, {});
  fill("one", 1, kAwkward, {});
  fill("fraction", 2.75, {33}, {});
  fill("window", 3, {5, 7}, Layout::window());
  fill("negative", -3.5, {67}, at(1));  // wraps in u8
  fill("large", 5, {67, 131}, {});
  fill("channels_last", 2, {2, 3, 5, 7}, Layout::channels_last());
  fill("scalar", 2, {}, {});
  fill("stepped", 3, {9}, Layout::stepped());
  fill("empty", 3, {0}, {});
  return cases;
}

GRAFT_OP_CASES(Unary, unary_cases());
GRAFT_OP_CASES(Binary, binary_cases());
GRAFT_OP_CASES(Update, update_cases());

}  // namespace
}  // namespace graft::test
