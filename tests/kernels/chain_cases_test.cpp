// Chains of steps on every backend, forward and backward.
#include <cmath>
#include <limits>

#include <graft/kernels/api/contracts.h>

#include "op_case.h"

namespace graft::test {
namespace {

using namespace kernels;

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr auto kAdd = BinaryOp::add, kSub = BinaryOp::sub, kMul = BinaryOp::mul, kDiv = BinaryOp::div;

const Shape kAwkward = {7, 33};

ChainStep one(UnaryOp op) { return ChainStep::of(op); }
ChainStep with(BinaryOp op, double scalar, bool reversed = false) { return ChainStep::of(op, scalar, reversed); }
ChainStep with(BinaryOp op, const TensorRef& tensor, bool reversed = false) {
  return ChainStep::of(op, tensor, reversed);
}

Layout at(int elements) {
  Layout layout;
  layout.offset = elements;
  return layout;
}

Layout gap(int elements) {
  Layout layout;
  layout.row_gap = elements;
  return layout;
}

/// Where an op and its derivative are smooth and of size 1.
struct Range {
  double lo, hi;
};
Range range_of(UnaryOp op) {
  const bool positive = op == UnaryOp::log || op == UnaryOp::sqrt || op == UnaryOp::reciprocal;
  return positive ? Range{0.5, 8} : Range{-6, 6};
}

std::vector<UnaryOp> all_unary() {
  std::vector<UnaryOp> ops;
  for (int i = 0; i <= static_cast<int>(UnaryOp::silu); ++i) ops.push_back(static_cast<UnaryOp>(i));
  return ops;
}

struct Arithmetic {
  BinaryOp op;
  bool reversed;
  std::string name() const { return std::string(kernels::name(op)) + (reversed ? "_reversed" : ""); }
};
const std::vector<Arithmetic> kArithmetic = {{kAdd, false}, {kSub, false}, {kMul, false}, {kDiv, false},
                                             {kAdd, true},  {kSub, true},  {kMul, true},  {kDiv, true}};

// relu(x * scale + shift): a product and a sum of terms within 2 x 2 and 1, half an epsilon each, three of them with
// the widest result of 5: 0.5 (4 + 5).
constexpr Tolerance kScaleShift{.absolute = 4.5};

std::vector<OpCase> forward_cases() {
  std::vector<OpCase> cases;
  // Each op as a step in the middle: the product is exact; the tolerance of the map alone (elementwise_cases_test.cpp:
  // at most 16 and 32 epsilons) and half an epsilon for the sum, whose terms are below 64.
  for (const UnaryOp op : all_unary())
    cases.push_back(op_case(name(op), kFloats, {.relative = 17, .absolute = 32}, [op](Maker& make) {
      const Range range = range_of(op);
      const TensorRef x = make.input(kAwkward, {}, range.lo, range.hi);
      return ChainArgs{x, {with(kMul, 0.5), one(op), with(kAdd, 0.25)}, make.output("y", kAwkward)};
    }));
  for (const Arithmetic& a : kArithmetic) {
    cases.push_back(op_case(a.name() + "_scalar", kFloats, kRounded, [a](Maker& make) {
      return ChainArgs{make.input({67}, {}, 0.25, 4), {with(a.op, 1.5, a.reversed)}, make.output("y", {67})};
    }));
    cases.push_back(op_case(a.name() + "_tensor", kFloats, kRounded, [a](Maker& make) {
      const TensorRef x = make.input(kAwkward, {}, 0.25, 4), t = make.input(kAwkward, {}, 0.25, 2);
      return ChainArgs{x, {with(a.op, t, a.reversed)}, make.output("y", kAwkward)};
    }));
  }
  const auto scale_shift = [&](const char* variant, const Shape& shape, const Layout& x_lies, const Layout& scale_lies,
                               const Layout& shift_lies, const Layout& y_lies) {
    cases.push_back(op_case(variant, kFloats, kScaleShift, [=](Maker& make) {
      const TensorRef x = make.input(shape, x_lies, -2, 2), scale = make.input(shape, scale_lies, -2, 2);
      const TensorRef shift = make.input(shape, shift_lies);
      return ChainArgs{x, {with(kMul, scale), with(kAdd, shift), one(UnaryOp::relu)}, make.output("y", shape, y_lies)};
    }));
  };
  const Layout last = Layout::channels_last(), channel = Layout::expanded({0, 2, 3});
  scale_shift("size_1", {1}, {}, {}, {}, {});
  scale_shift("size_7", {7}, {}, {}, {}, {});
  scale_shift("size_33", {33}, {}, {}, {}, {});
  scale_shift("scalar", {}, {}, {}, {}, {});
  scale_shift("empty", {0, 5}, {}, {}, {}, {});
  scale_shift("same_layout", {5, 40}, {}, {}, {}, {});
  scale_shift("blocks", {3, 1061}, {}, {}, {}, {});  // rows longer than a block of the CPU's
  scale_shift("per_row", {5, 32}, {}, Layout::expanded({1}), Layout::expanded({1}), {});
  scale_shift("per_column", {129, 24}, {}, Layout::expanded({0}), Layout::expanded({0}), {});
  scale_shift("one_number", kAwkward, {}, Layout::expanded({0, 1}), Layout::expanded({0, 1}), {});
  scale_shift("channels_last", {2, 7, 5, 3}, last, channel, channel, last);
  scale_shift("channels_of_vectors", {2, 16, 5, 3}, last, channel, channel, last);
  scale_shift("channels_first", {2, 3, 4, 8}, {}, channel, channel, {});
  scale_shift("mixed_layouts", {2, 7, 5, 3}, last, {}, channel, {});
  scale_shift("transposed", {33, 17}, Layout::permuted({1, 0}), {}, Layout::expanded({0}), {});
  scale_shift("windows", {5, 33}, Layout::window(), Layout::window(), {}, Layout::window());
  scale_shift("padded_rows", {5, 13}, gap(3), gap(19), {}, gap(3));
  scale_shift("unaligned_x", {67}, at(1), {}, {}, {});
  scale_shift("unaligned_tensor", {67}, {}, {}, at(3), {});
  scale_shift("unaligned_y", {67}, {}, {}, {}, at(5));
  scale_shift("stepped", {65}, Layout::stepped(), {}, Layout::stepped(), Layout::stepped());
  scale_shift("rank8", {2, 1, 3, 2, 1, 2, 3, 2}, Layout::permuted({7, 6, 5, 4, 3, 2, 1, 0}), {}, {}, {});
  scale_shift("broadcast_x", {9, 16}, Layout::expanded({0}), {}, {}, {});
  // Eight steps, four of them with tensors that lie differently. Quotients and products of numbers within 0.5 .. 2 and
  // sums of a few of them: each of the eight roundings is half an epsilon of at most 16.
  cases.push_back(op_case("all_steps", kFloats, {.absolute = 64}, [](Maker& make) {
    const Shape shape = {2, 8, 3, 5};
    const TensorRef x = make.input(shape, Layout::channels_last(), 0.5, 2), a = make.input(shape, {}, 0.5, 2);
    const TensorRef b = make.input(shape, Layout::expanded({0, 2, 3}), 0.5, 2);
    const TensorRef c = make.input(shape, Layout::expanded({0, 1, 2, 3}), 0.5, 2);
    const TensorRef d = make.input(shape, Layout::channels_last(), 0.5, 2);
    return ChainArgs{x,
                     {with(kMul, a), with(kAdd, b), with(kDiv, 2), with(kDiv, c), one(UnaryOp::square), with(kSub, d),
                      with(kSub, 1.5, true), one(UnaryOp::abs)},
                     make.output("y", shape, Layout::channels_last())};
  }));
  // In bf16 and f16 the sum would lose the small x: it must not be rounded there. In float it errs by half an epsilon
  // of 1.
  cases.push_back(op_case("rounds_once", kFloats, {.absolute = 0.5}, [](Maker& make) {
    const TensorRef x = make.input({67}, {}, 0.001, 0.01);
    return ChainArgs{x, {with(kAdd, 1), with(kSub, 1)}, make.output("y", {67})};
  }));
  cases.push_back(op_case("special", kFloats, kRounded, [](Maker& make) {
    const TensorRef x = make.values({35}, {0, -0.0, 1, kInf, -kInf, kNaN, -3});
    const TensorRef t = make.values({35}, {0, 2, kInf, -kInf, kNaN});
    return ChainArgs{x, {with(kMul, t), one(UnaryOp::relu6), with(kAdd, t)}, make.output("y", {35})};
  }));
  cases.push_back(op_case("special_quotients", kFloats, {.relative = 16, .absolute = 1}, [](Maker& make) {
    const TensorRef x = make.values({35}, {0, -0.0, 1, kInf, -kInf, kNaN, -3});
    const TensorRef t = make.values({35}, {0, 2, kInf, -kInf, kNaN});
    return ChainArgs{x, {with(kDiv, t), one(UnaryOp::sigmoid), with(kSub, t, true)}, make.output("y", {35})};
  }));
  cases.push_back(op_case("in_place", kFloats, kScaleShift, [](Maker& make) {
    const TensorRef x = make.in_out("x", make.input(kAwkward, {}, -2, 2)), scale = make.input(kAwkward, {}, -2, 2);
    return ChainArgs{x, {with(kMul, scale), with(kAdd, 1), one(UnaryOp::relu)}, x};
  }));
  return cases;
}

/// Which gradients a backward case asks for.
enum class Wanted { all, x_only, tensors_only };

/// The backward of `steps` over x with the gradients laid out as `lies`.
ChainBackwardArgs backward_of(Maker& make, const TensorRef& x, const TensorRef& gy, const ChainSteps& steps,
                              Wanted wanted = Wanted::all, const Layout& lies = {}) {
  ChainBackwardArgs args{x, {}, gy, steps, {}, {}};
  if (wanted != Wanted::tensors_only) args.gx = make.output("gx", x.shape, lies);
  if (wanted != Wanted::x_only)
    for (int i = 0; i < steps.count; ++i)
      if (steps[i].kind == ChainStep::Kind::tensor)
        args.gtensors[static_cast<std::size_t>(i)] = make.output("gtensor", x.shape, lies);
  return args;
}

std::vector<OpCase> backward_cases() {
  std::vector<OpCase> cases;
  // The derivative's own tolerance (16 and 32 epsilons at most, elementwise_cases_test.cpp), and that of the output
  // where the derivative takes it (16 epsilons): 1 - tanh^2 doubles it.
  for (const UnaryOp op : all_unary())
    cases.push_back(op_case(name(op), kFloats, {.relative = 34, .absolute = 40}, [op](Maker& make) {
      const Range range = range_of(op);
      const TensorRef x = make.input(kAwkward, {}, range.lo, range.hi), gy = make.input(kAwkward);
      const TensorRef t = make.input(kAwkward, {}, 0.5, 1);
      return backward_of(make, x, gy, {with(kMul, 0.5), one(op), with(kMul, t)});
    }));
  for (const Arithmetic& a : kArithmetic) {
    // Up to three products and quotients after the one of the first step, half an epsilon each, and the square's.
    const Tolerance few{.relative = 3.5};
    cases.push_back(op_case(a.name() + "_scalar", kFloats, few, [a](Maker& make) {
      const TensorRef x = make.input({67}, {}, 0.5, 2), gy = make.input({67});
      return backward_of(make, x, gy, {with(a.op, 1.5, a.reversed)});
    }));
    for (const auto& [suffix, wanted] :
         {std::pair{"", Wanted::all}, {"_x_only", Wanted::x_only}, {"_tensors_only", Wanted::tensors_only}})
      cases.push_back(op_case(a.name() + "_tensor" + suffix, kFloats, few, [a, gradients = wanted](Maker& make) {
        const TensorRef x = make.input(kAwkward, {}, 0.5, 2), t = make.input(kAwkward, {}, 0.5, 2);
        return backward_of(make, x, make.input(kAwkward), {with(a.op, t, a.reversed)}, gradients);
      }));
  }
  // square(relu(x * scale + shift)) with relu well off its kink: v within 1 .. 5 has errors of 4.5 epsilons (as above),
  // 2 v gy twice that, and a factor of up to 2 on top.
  const Tolerance squared{.relative = 3, .absolute = 24};
  struct Lies {
    Layout x = {}, scale = {}, shift = {}, gy = {}, gradients = {};
  };
  const auto squares = [&](const char* variant, const Shape& shape, const Lies& lies, Wanted wanted = Wanted::all) {
    cases.push_back(op_case(variant, kFloats, squared, [=](Maker& make) {
      const TensorRef x = make.input(shape, lies.x, 0.5, 2), scale = make.input(shape, lies.scale, 0.5, 2);
      const TensorRef shift = make.input(shape, lies.shift, 0.5, 1), gy = make.input(shape, lies.gy);
      const ChainSteps steps = {with(kMul, scale), with(kAdd, shift), one(UnaryOp::relu), one(UnaryOp::square)};
      return backward_of(make, x, gy, steps, wanted, lies.gradients);
    }));
  };
  const Layout last = Layout::channels_last(), channel = Layout::expanded({0, 2, 3});
  squares("size_1", {1}, {});
  squares("size_7", {7}, {});
  squares("size_33", {33}, {});
  squares("scalar", {}, {});
  squares("empty", {3, 0}, {});
  squares("same_layout", {5, 40}, {});
  squares("x_only", kAwkward, {}, Wanted::x_only);
  squares("tensors_only", kAwkward, {}, Wanted::tensors_only);
  squares("blocks", {3, 1061}, {});
  squares("per_row", {5, 32}, {.scale = Layout::expanded({1}), .shift = Layout::expanded({1})});
  squares("per_column", {129, 24}, {.scale = Layout::expanded({0}), .shift = Layout::expanded({0})});
  squares("channels_last", {2, 7, 5, 3}, {last, channel, channel, last, last});
  squares("channels_of_vectors", {2, 16, 5, 3}, {last, channel, channel, last, last});
  squares("channels_first", {2, 3, 4, 8}, {.scale = channel, .shift = channel});
  squares("mixed_layouts", {2, 7, 5, 3}, {last, {}, channel, {}, last});
  squares("gradient_of_a_sum", {6, 16}, {.gy = Layout::expanded({0, 1})});
  squares("transposed", {33, 17}, {.x = Layout::permuted({1, 0}), .gradients = Layout::permuted({1, 0})});
  squares("windows", {5, 33}, {Layout::window(), {}, Layout::window(), Layout::window(), Layout::window()});
  squares("padded_rows", {5, 13}, {gap(3), gap(3), {}, gap(19), gap(3)});
  squares("unaligned_x", {67}, {.x = at(1)});
  squares("unaligned_gy", {67}, {.gy = at(3)});
  squares("unaligned_gradients", {67}, {.gradients = at(5)});
  squares("stepped", {65}, {Layout::stepped(), {}, {}, Layout::stepped(), Layout::stepped()});
  // Only one of several gradients lies at an odd address.
  cases.push_back(op_case("one_gradient_unaligned", kFloats, {.relative = 1.5}, [](Maker& make) {
    const TensorRef x = make.input({64}, {}, 0.5, 2), t = make.input({64}, {}, 0.5, 2), gy = make.input({64});
    ChainBackwardArgs args{x, {}, gy, {with(kMul, t), one(UnaryOp::neg)}, make.output("gx", {64}), {}};
    args.gtensors[0] = make.output("gtensor", {64}, at(1));
    return args;
  }));
  // Nothing of the forward is needed, and no value is read. 0.3 and 0.7 are rounded, their product and quotient too:
  // half an epsilon each.
  cases.push_back(op_case("linear", kFloats, {.relative = 2}, [](Maker& make) {
    const TensorRef x = make.input(kAwkward), t = make.input(kAwkward), u = make.input(kAwkward, Layout::expanded({0}));
    return backward_of(make, x, make.input(kAwkward),
                       {with(kAdd, t), with(kMul, 0.3), with(kSub, u), with(kSub, 2, true), with(kDiv, 0.7)});
  }));
  cases.push_back(op_case("sums", kFloats, kRounded, [](Maker& make) {
    const TensorRef x = make.input(kAwkward), t = make.input(kAwkward);
    return backward_of(make, x, make.input(kAwkward), {with(kAdd, t), with(kSub, t), with(kAdd, 1)});
  }));
  // The backward ends at the tensor's step: the steps before it are computed again, but not gone back through.
  cases.push_back(op_case("ends_early", kFloats, {.relative = 40, .absolute = 40}, [](Maker& make) {
    const TensorRef x = make.input(kAwkward), t = make.input(kAwkward);
    return backward_of(make, x, make.input(kAwkward),
                       {one(UnaryOp::tanh), with(kMul, 2), with(kMul, t), one(UnaryOp::silu)}, Wanted::tensors_only);
  }));
  // Where the result is given, x and the tensor of the sum are read by nobody.
  for (const UnaryOp op : all_unary()) {
    if (!backward_uses_output(op)) continue;
    cases.push_back(
        op_case(std::string(name(op)) + "_of_y", kFloats, {.relative = 3, .absolute = 2}, [op](Maker& make) {
          ChainBackwardArgs args;
          args.y = make.input(kAwkward, {}, 0.05, 1);
          args.gy = make.input(kAwkward);
          args.steps = {with(kAdd, TensorRef{}), with(kMul, 2), one(op)};
          args.gx = make.output("gx", kAwkward);
          return args;
        }));
  }
  // y for the last step, and x for one in the middle.
  cases.push_back(op_case("of_x_and_y", kFloats, {.relative = 4, .absolute = 2}, [](Maker& make) {
    const Shape shape = {2, 8, 3, 5};
    const TensorRef x = make.input(shape, Layout::channels_last(), 0.5, 2), t = make.input(shape);
    ChainBackwardArgs args = backward_of(make, x, make.input(shape),
                                         {one(UnaryOp::square), with(kMul, t), with(kAdd, t), one(UnaryOp::tanh)},
                                         Wanted::all, Layout::channels_last());
    args.y = make.input(shape, Layout::channels_last(), -1, 1);
    return args;
  }));
  // Every step reads a value: all slots are in use. Values stay within 1/4 .. 4 and each step adds at most three
  // roundings (half an epsilon relative each) that eight derivatives of at most 2 carry on.
  cases.push_back(op_case("all_steps", kFloats, {.relative = 200, .absolute = 200}, [](Maker& make) {
    const Shape shape = {2, 8, 3, 5};
    const TensorRef x = make.input(shape, Layout::channels_last(), 0.75, 1.25), gy = make.input(shape);
    const TensorRef a = make.input(shape, {}, 0.75, 1.25), d = make.input(shape, Layout::channels_last(), 0.75, 1.25);
    const TensorRef b = make.input(shape, Layout::expanded({0, 2, 3}), 0.75, 1.25);
    const TensorRef c = make.input(shape, Layout::expanded({0, 1, 2, 3}), 0.75, 1.25);
    return backward_of(make, x, gy,
                       {with(kMul, a), with(kDiv, b), one(UnaryOp::square), with(kDiv, c, true), one(UnaryOp::sqrt),
                        with(kDiv, 1.5, true), one(UnaryOp::sigmoid), with(kMul, d)},
                       Wanted::all, Layout::channels_last());
  }));
  cases.push_back(op_case("special", kFloats, {.relative = 1.5}, [](Maker& make) {
    const TensorRef x = make.values({35}, {0, -0.0, 1, kInf, -kInf, kNaN, -3});
    const TensorRef t = make.values({35}, {0.5, 2, kInf, -kInf, kNaN});
    const TensorRef gy = make.values({35}, {1, kInf, -2, kNaN});
    return backward_of(make, x, gy, {with(kMul, t), one(UnaryOp::relu), with(kMul, 2)});
  }));
  cases.push_back(op_case("gx_over_gy", kFloats, {.relative = 1.5}, [](Maker& make) {
    const TensorRef x = make.input(kAwkward), t = make.input(kAwkward), gy = make.in_out("gy", make.input(kAwkward));
    ChainBackwardArgs args{x, {}, gy, {with(kAdd, t), with(kMul, t), one(UnaryOp::neg)}, gy, {}};
    args.gtensors[0] = make.output("gtensor", kAwkward);
    args.gtensors[1] = make.output("gtensor", kAwkward);
    return args;
  }));
  return cases;
}

GRAFT_OP_CASES(Chain, forward_cases());
GRAFT_OP_CASES(ChainBackward, backward_cases());

TEST(ChainContract, NamesTheArgument) {
  Maker make(DType::f32, false, {}, 1);
  const TensorRef x = make.input({2, 3}), y = make.output("y", {2, 3});
  const auto reason = [](const auto& args) { return check_contract(args).reason; };
  EXPECT_EQ(reason(ChainArgs{x, {one(UnaryOp::relu), with(kAdd, x)}, y}), "");
  EXPECT_EQ(reason(ChainArgs{x, {}, y}), "the chain has 0 steps: expected 1 to 8");
  EXPECT_EQ(reason(ChainArgs{x, {one(UnaryOp::relu), with(kAdd, make.input({3}))}, y}),
            "steps[1].tensor is f32 (3,): expected shape (2, 3), that of x");
  EXPECT_EQ(reason(ChainArgs{x, {with(kAdd, make.whole(DType::i64, {2, 3}, 0, 1))}, y}),
            "steps[0].tensor is i64 (2, 3): expected dtype f32, that of x");
  EXPECT_EQ(reason(ChainArgs{x, {with(BinaryOp::lt, 1)}, y}), "steps[0] is lt: expected add, sub, mul or div");
  EXPECT_EQ(reason(ChainArgs{x, {with(kAdd, x), with(kAdd, x), with(kAdd, x), with(kAdd, x), with(kAdd, x)}, y}),
            "5 steps take a tensor: expected at most 4");
  const TensorRef whole = make.whole(DType::i64, {2}, 0, 1);
  EXPECT_EQ(reason(ChainArgs{whole, {one(UnaryOp::neg)}, make.output_of(DType::i64, "y", {2})}),
            "x is i64 (2,): expected a floating dtype (f32, f64, bf16, f16)");
  EXPECT_THROW(
      ChainSteps({one(UnaryOp::relu), one(UnaryOp::relu), one(UnaryOp::relu), one(UnaryOp::relu), one(UnaryOp::relu),
                  one(UnaryOp::relu), one(UnaryOp::relu), one(UnaryOp::relu), one(UnaryOp::relu)}),
      Error);

  ChainBackwardArgs backward{x, {}, x, {one(UnaryOp::relu), with(kAdd, x)}, {}, {}};
  EXPECT_EQ(reason(backward), "no gradient is defined: expected gx or one of gtensors");
  backward.x = {};
  backward.gtensors[1] = y;
  EXPECT_EQ(reason(backward), "") << "a sum reads no value";
  backward.gx = make.output("gx", {2, 3});
  EXPECT_EQ(reason(backward), "x is undefined");
  backward.x = make.input({3, 2});
  EXPECT_EQ(reason(backward), "x is f32 (3, 2): expected shape (2, 3), that of gy");
  backward = {x, {}, x, {one(UnaryOp::relu), with(kAdd, x)}, {}, {}};
  backward.gtensors[0] = y;
  EXPECT_EQ(reason(backward), "gtensors[0] is f32 (2, 3), but there is no such step with a tensor");
  backward.gtensors[0] = {};
  backward.gx = make.output("gx", {2, 3});
  backward.gtensors[1] = make.output("gtensor", {2, 3}, Layout::permuted({1, 0}));
  EXPECT_EQ(reason(backward), "gtensors[1] has strides (1, 2): expected those of the other gradients, (3, 1)");
}

}  // namespace
}  // namespace graft::test
