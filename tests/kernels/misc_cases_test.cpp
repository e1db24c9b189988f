// Reductions, indexing, random numbers, optimisers and warping on every backend.
#include <cmath>
#include <limits>
#include <numbers>

#include "op_case.h"

namespace graft::test {
namespace {

using namespace kernels;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

std::vector<OpCase> reduce_cases() {
  std::vector<OpCase> cases;
  auto reduce = [&](ReduceOp op, const std::string& variant, const Shape& x_shape, const Shape& y_shape,
                    const Layout& layout = {}) {
    const std::int64_t terms = y_shape.numel() > 0 ? x_shape.numel() / y_shape.numel() : 1;
    // A mean divides the error of the sum as well, and adds the rounding of the quotient.
    const Tolerance tolerance = op == ReduceOp::sum ? sum_of(terms) : op == ReduceOp::mean ? Tolerance{2, 2} : kRounded;
    cases.push_back(op_case(std::string(name(op)) + "_" + variant, kFloats, tolerance, [=](Maker& make) {
      const TensorRef x = make.input(x_shape, layout);
      return ReduceArgs{op, x, make.output("y", y_shape)};
    }));
  };
  for (ReduceOp op : {ReduceOp::sum, ReduceOp::mean, ReduceOp::max}) {
    reduce(op, "all", {7, 33}, {1, 1});
    reduce(op, "rows", {33, 65}, {33, 1});
    reduce(op, "columns", {65, 33}, {1, 33});
    reduce(op, "middle", {3, 17, 5}, {3, 1, 5});
    reduce(op, "outer_and_inner", {3, 9, 7}, {1, 9, 1});
    reduce(op, "transposed", {17, 33}, {17, 1}, Layout::permuted({1, 0}));
    reduce(op, "broadcast", {9, 17}, {9, 1}, Layout::expanded({1}));
    reduce(op, "window", {9, 17}, {1, 17}, Layout::window());
    reduce(op, "channels_last", {2, 7, 5, 3}, {1, 7, 1, 1}, Layout::channels_last());
    reduce(op, "nothing", {5, 7}, {5, 7});
    reduce(op, "empty_result", {0, 7}, {0, 1});
    reduce(op, "stepped", {9, 17}, {9, 1}, Layout::stepped());
    reduce(op, "stepped_all", {9, 17}, {1, 1}, Layout::stepped());
    reduce(op, "many_rows", {300, 24}, {300, 1});
    reduce(op, "long_rows", {3, 5001}, {3, 1});
    reduce(op, "chunks", {40000}, {1});
    reduce(op, "chunks_unaligned", {2, 9001}, {2, 1}, Layout::window());
    reduce(op, "tall_columns", {1500, 33}, {1, 33});
    reduce(op, "tall_columns_aligned", {1400, 64}, {1, 64});
    reduce(op, "wide_columns", {9, 1030}, {1, 1030});
    reduce(op, "one_row", {1, 33}, {1, 1});
    reduce(op, "middle_columns", {3, 400, 40}, {3, 1, 40});
    reduce(op, "few_channels_last", {3, 3, 17, 9}, {1, 3, 1, 1}, Layout::channels_last());
    reduce(op, "many_channels_last", {3, 72, 7, 9}, {1, 72, 1, 1}, Layout::channels_last());
    reduce(op, "channels_first", {4, 8, 16, 8}, {1, 8, 1, 1});
    reduce(op, "images_channels_last", {3, 40, 5, 7}, {3, 40, 1, 1}, Layout::channels_last());
    cases.push_back(op_case(std::string(name(op)) + "_nan_in_columns", kFloats, sum_of(65), [op](Maker& make) {
      const TensorRef x = make.input({65, 33});
      make.sprinkle(x, 331, kNaN);
      return ReduceArgs{op, x, make.output("y", {1, 33})};
    }));
    cases.push_back(op_case(std::string(name(op)) + "_nan_in_rows", kFloats, sum_of(65), [op](Maker& make) {
      const TensorRef x = make.input({33, 65});
      make.sprinkle(x, 331, kNaN);
      return ReduceArgs{op, x, make.output("y", {33, 1})};
    }));
  }
  reduce(ReduceOp::sum, "over_nothing", {3, 0}, {3, 1});
  reduce(ReduceOp::mean, "over_nothing", {3, 0}, {3, 1});
  reduce(ReduceOp::sum, "scalar", {}, {});
  reduce(ReduceOp::sum, "long", {4099}, {1});
  for (ReduceOp op : {ReduceOp::sum, ReduceOp::max}) {
    cases.push_back(op_case(std::string(name(op)) + "_whole", kInts, kRounded, [op](Maker& make) {
      const TensorRef x = make.whole(make.dtype(), {9, 17}, -1000, 1000);
      return ReduceArgs{op, x, make.output("y", {9, 1})};
    }));
    cases.push_back(op_case(std::string(name(op)) + "_special", kFloats, sum_of(4), [op](Maker& make) {
      const TensorRef x = make.values(
          {5, 4}, {1, kNaN, 2, kInf, kInf, 1, 2, 3, -kInf, -kInf, -kInf, -kInf, 1, 2, 3, kNaN, kNaN, 1, 2, 3});
      return ReduceArgs{op, x, make.output("y", {5, 1})};
    }));
  }
  return cases;
}

std::vector<OpCase> argmax_cases() {
  std::vector<OpCase> cases;
  auto argmax = [&](const char* variant, const Shape& shape, int axis, const Layout& layout = {}) {
    cases.push_back(op_case(variant, {DType::f32, DType::bf16, DType::f16, DType::i64}, kRounded, [=](Maker& make) {
      // Few values, so that there are ties.
      const TensorRef x = make.whole(make.dtype(), shape, 0, 5, layout);
      Shape y = shape;
      y[axis] = 1;
      return ArgmaxArgs{x, make.output_of(DType::i64, "y", y), axis};
    }));
  };
  argmax("rows", {33, 10}, 1);
  argmax("columns", {17, 33}, 0);
  argmax("middle", {3, 9, 5}, 1);
  argmax("transposed", {9, 17}, 1, Layout::permuted({1, 0}));
  argmax("one_column", {5, 1}, 1);
  argmax("empty_rows", {0, 9}, 1);
  argmax("long_rows", {3, 1500}, 1);
  argmax("windows", {33, 65}, 1, Layout::window());
  argmax("channels_last", {3, 7, 5, 9}, 1, Layout::channels_last());
  argmax("broadcast", {9, 17}, 1, Layout::expanded({1}));
  cases.push_back(op_case("special", kFloats, kRounded, [](Maker& make) {
    const TensorRef x = make.values(
        {4, 5}, {1, kNaN, 2, kNaN, kInf, -kInf, -kInf, -kInf, -kInf, -kInf, 1, 5, kInf, kInf, 2, 3, 3, 3, 3, 3});
    return ArgmaxArgs{x, make.output_of(DType::i64, "y", {4, 1}), 1};
  }));
  return cases;
}

std::vector<OpCase> squared_norm_cases() {
  std::vector<OpCase> cases;
  auto norm = [&](const char* variant, std::vector<Shape> shapes, double size) {
    // Squares are positive: each rounding is relative to the sum, and with float squares in double sums half an epsilon
    // a term.
    cases.push_back(op_case(variant, kFloats, {.relative = 4}, [=](Maker& make) {
      std::vector<TensorRef> tensors;
      for (const Shape& shape : shapes)
        tensors.push_back(make.input(shape, shape.rank() == 4 ? Layout::channels_last() : Layout{}, -size, size));
      SquaredNormArgs args;
      args.count = static_cast<std::int64_t>(tensors.size());
      args.tensors = make.keep(std::move(tensors));
      args.y = make.output_of(DType::f64, "y", {});
      return args;
    }));
  };
  norm("one", {{33}}, 1);
  norm("several", {{7, 9}, {65}, {}, {4, 3, 3, 3}, {0}}, 1);
  norm("none", {}, 1);
  norm("large_values", {{17, 9}}, 6e4);  // squares are beyond the range of f16
  norm("long", {{40000}, {7, 2341}}, 1);
  norm("many", std::vector<Shape>(300, Shape{3, 5}), 1);
  cases.push_back(op_case("unaligned", kFloats, {.relative = 4}, [](Maker& make) {
    Layout odd;
    odd.offset = 1;
    SquaredNormArgs args;
    args.count = 2;
    args.tensors = make.keep(std::vector<TensorRef>{make.input({7, 33}, odd), make.input({4099}, odd)});
    args.y = make.output_of(DType::f64, "y", {});
    return args;
  }));
  return cases;
}

std::vector<OpCase> index_cases() {
  std::vector<OpCase> cases;
  auto select = [&](const char* variant, const Shape& x_shape, int axis, std::int64_t count) {
    Shape y_shape = x_shape;
    y_shape[axis] = count;
    cases.push_back(
        op_case(variant, {DType::f32, DType::f64, DType::bf16, DType::i64, DType::u8}, kRounded, [=](Maker& make) {
          const TensorRef x = make.input(x_shape, {}, 0, 200);
          const TensorRef index = make.whole(DType::i64, {count}, 0, x_shape[axis] - 1);
          return IndexSelectArgs{x, index, make.output("y", y_shape), axis};
        }));
    cases.push_back(op_case(variant, kFloats, sum_of(count), [=](Maker& make) {
      const TensorRef gy = make.input(y_shape);
      const TensorRef index = make.whole(DType::i64, {count}, 0, x_shape[axis] - 1);
      return IndexSelectBackwardArgs{gy, index, make.output("gx", x_shape), axis};
    }));
  };
  select("rows", {9, 17}, 0, 5);
  select("repeated_rows", {3, 7}, 0, 33);
  select("columns", {9, 17}, 1, 7);
  select("middle", {3, 9, 5}, 1, 11);
  select("empty_index", {3, 5}, 0, 0);
  select("vector", {65}, 0, 9);
  select("rows_of_vectors", {5, 16}, 0, 9);
  select("outer_rows_of_vectors", {2, 3, 32}, 1, 7);
  // Long indices: more than a block of a device's sort, more than 256 positions, and all in one place.
  select("long", {300, 3}, 0, 2600);
  select("long_in_the_middle", {2, 5, 8}, 1, 1500);
  select("long_into_one_row", {1, 5}, 0, 1100);
  cases.push_back(op_case("unaligned", {DType::f32, DType::bf16, DType::u8}, kRounded, [](Maker& make) {
    Layout layout;
    layout.offset = 1;
    const TensorRef x = make.input({5, 16}, layout, 0, 200);
    const TensorRef index = make.whole(DType::i64, {7}, 0, 4);
    return IndexSelectArgs{x, index, make.output("y", {7, 16}, layout), 0};
  }));
  for (const std::int64_t count : {7, 1100})
    cases.push_back(op_case("unaligned_" + std::to_string(count), kFloats, sum_of(count), [=](Maker& make) {
      Layout layout;
      layout.offset = 1;
      const TensorRef gy = make.input({count, 16}, layout);
      const TensorRef index = make.whole(DType::i64, {count}, 0, 4);
      return IndexSelectBackwardArgs{gy, index, make.output("gx", {5, 16}, layout), 0};
    }));
  auto gather = [&](const char* variant, const Shape& x_shape, const Shape& index_shape, int axis) {
    cases.push_back(op_case(variant, {DType::f32, DType::bf16, DType::i64}, kRounded, [=](Maker& make) {
      const TensorRef x = make.input(x_shape, {}, -100, 100);
      const TensorRef index = make.whole(DType::i64, index_shape, 0, x_shape[axis] - 1);
      return GatherArgs{x, index, make.output("y", index_shape), axis};
    }));
    cases.push_back(op_case(variant, kFloats, sum_of(index_shape[axis]), [=](Maker& make) {
      const TensorRef gy = make.input(index_shape);
      const TensorRef index = make.whole(DType::i64, index_shape, 0, x_shape[axis] - 1);
      return GatherBackwardArgs{gy, index, make.output("gx", x_shape), axis};
    }));
  };
  gather("one_a_row", {33, 10}, {33, 1}, 1);
  gather("more_than_there_are", {5, 3}, {5, 17}, 1);
  gather("columns", {9, 17}, {4, 17}, 0);
  gather("smaller_index", {5, 9, 7}, {3, 11, 2}, 1);
  gather("vector", {33}, {7}, 0);
  gather("empty_index", {5, 3}, {5, 0}, 1);
  gather("outermost", {9, 3, 5}, {17, 2, 5}, 0);
  gather("long", {2, 300}, {2, 1300}, 1);
  gather("long_smaller_index", {1100, 3, 4}, {1100, 2, 3}, 0);
  return cases;
}

std::vector<OpCase> random_cases() {
  std::vector<OpCase> cases;
  auto random = [&](const char* variant, Distribution distribution, double a, double b, const Shape& shape,
                    RandomKey key) {
    // uniform: a product and a sum. normal: the logarithm, root and cosine are each good to some epsilons of r up to 6.
    const double size = std::abs(a) + std::abs(b);
    const Tolerance tolerance = distribution == Distribution::uniform ? Tolerance{.relative = 1, .absolute = 2 * size}
                                                                      : Tolerance{.relative = 4, .absolute = 24 * size};
    cases.push_back(op_case(variant, kFloats, tolerance, [=](Maker& make) {
      return RandomArgs{make.output("y", shape), distribution, a, b, key};
    }));
  };
  random("uniform", Distribution::uniform, 0, 1, {7, 33}, {1, 0});
  random("uniform_range", Distribution::uniform, -3, 5, {65}, {42, 7});
  random("uniform_one", Distribution::uniform, 0, 1, {1}, {3, 1});
  random("uniform_large", Distribution::uniform, -1, 1, {67, 131}, {~0ull, ~0ull});
  random("normal", Distribution::normal, 0, 1, {7, 33}, {1, 0});
  random("normal_scaled", Distribution::normal, 10, 0.5, {67}, {0x123456789abcdefull, 1ull << 40});
  random("normal_large", Distribution::normal, 0, 1, {67, 131}, {5, 3});
  random("uniform_nothing_between", Distribution::uniform, 2, 2, {9}, {1, 2});
  for (std::int64_t n : {2, 3, 4, 5, 8, 9})
    random(("normal_" + std::to_string(n)).c_str(), Distribution::normal, 0, 1, {n}, {7, 9});
  random("empty", Distribution::normal, 0, 1, {0}, {5, 3});
  auto dropout = [&](const char* variant, double p, const Shape& shape, const Layout& layout) {
    // The scale 1 / (1 - p) and the product.
    cases.push_back(op_case(variant, kFloats, {.relative = 1.5}, [=](Maker& make) {
      const TensorRef x = make.input(shape, layout);
      return DropoutArgs{x, make.output("y", shape, layout), p, {11, 22}};
    }));
  };
  dropout("half", 0.5, {7, 33}, {});
  dropout("little", 0.1, {65, 17}, {});
  dropout("none", 0, {65}, {});
  dropout("all", 1, {65}, {});
  dropout("channels_last", 0.3, {2, 7, 5, 3}, Layout::channels_last());
  dropout("empty", 0.3, {0, 3}, {});
  for (Distribution distribution : {Distribution::uniform, Distribution::normal})
    cases.push_back(
        op_case(std::string("unaligned_") + (distribution == Distribution::normal ? "normal" : "uniform"), kFloats,
                {.relative = 4, .absolute = 24}, [=](Maker& make) {
                  return RandomArgs{make.output("y", {67}, Layout{.offset = 1}), distribution, 0, 1, {8, 9}};
                }));
  cases.push_back(op_case("unaligned", kFloats, {.relative = 1.5}, [](Maker& make) {
    const TensorRef x = make.input({67}, Layout{.offset = 1});
    return DropoutArgs{x, make.output("y", {67}, Layout{.offset = 2}), 0.25, {3, 4}};
  }));
  cases.push_back(op_case("in_place", kFloats, {.relative = 1.5}, [](Maker& make) {
    const TensorRef x = make.in_out("x", make.input({67}));
    return DropoutArgs{x, x, 0.25, {3, 4}};
  }));
  cases.push_back(op_case("nan", kFloats, {.relative = 1.5}, [](Maker& make) {
    const TensorRef x = make.input({65});
    make.sprinkle(x, 3, kNaN);  // dropped elements are 0 whatever they were
    return DropoutArgs{x, make.output("y", {65}), 0.5, {1, 2}};
  }));
  return cases;
}

struct Update {
  std::string variant;
  double weight_decay = 0, multiplier = 1;
  std::int64_t step = 1;
  bool mask = false;
  double grad_scale = 1;
  std::vector<Shape> shapes = {{7, 33}, {1}, {4, 3, 3, 3}, {0}};
  int offset = 0;  // of param, grad and mask from an aligned address
  DType mask_dtype = DType::u8;
};

std::vector<OptimParam> make_params(Maker& make, const Update& update, int states) {
  std::vector<OptimParam> params;
  for (const Shape& shape : update.shapes) {
    Layout layout = shape.rank() == 4 ? Layout::channels_last() : Layout{};
    layout.offset = update.offset;
    OptimParam p;
    p.param = make.in_out("param", make.input(shape, layout));
    p.grad = make.input(shape, layout);
    auto state = [&](const char* name, double lo) {
      // States lie in param's element order, which for these shapes is told by the same strides.
      TensorRef t = make.wide_input(shape, lo, 1);
      t.strides = p.param.strides;
      return make.in_out(name, t);
    };
    if (states > 0) p.state0 = state("state0", -1);
    if (states > 1) p.state1 = state("state1", 0);
    if (update.mask) p.mask = make.whole(update.mask_dtype, shape, 0, 1, layout);
    p.lr = 0.1;
    p.weight_decay = update.weight_decay;
    p.multiplier = update.multiplier;
    p.step = update.step;
    params.push_back(p);
  }
  if (update.multiplier == 0) make.sprinkle(params[0].grad, 3, kNaN);
  return params;
}

std::vector<OpCase> optim_cases() {
  std::vector<OpCase> cases;
  const std::vector<Update> updates = {
      {"first_step"},
      {"later_step", 0, 1, 5},
      {"weight_decay", 0.01, 1, 3},
      {"multiplier", 0.01, 0.25, 3},
      {"frozen", 0.01, 0, 3},
      {"mask", 0.01, 1, 3, true},
      {"clipped", 0.01, 1, 2, false, 0.125},
      {"everything", 0.1, 0.5, 100, true, 0.3},
  };
  // Lists and parameters longer than what one launch of a device and one block take.
  std::vector<Shape> hundred(100, Shape{3}), thousand;
  for (const std::int64_t size : {1, 7, 33, 1000}) hundred.push_back({size});
  for (int i = 0; i < 950; ++i) thousand.push_back({i % 2 + 1});
  const std::vector<Shape> large = {{9001}, {2, 8192}};
  const std::vector<Update> lists = {
      {"hundred_params", 0.01, 1, 3, false, 1, hundred},
      {"thousand_params", 0.01, 1, 3, false, 1, thousand},
      {"large_params", 0.01, 0.5, 3, false, 1, large},
      {"large_params_mask", 0.01, 1, 3, true, 0.5, large, 0, DType::boolean},
      {"unaligned", 0.01, 1, 1, true, 0.5, {{7, 33}, {1000}}, 1},
  };
  // About eight roundings of numbers up to 2.
  const Tolerance sgd_tolerance{.relative = 2, .absolute = 8};
  // As well, the quotient of moments up to 1 / 0.1 each by bias corrections, times lr = 0.1: 32 epsilons of numbers up
  // to 4. Where v is near 0 the quotient is large, and its error relative to it.
  const Tolerance adam_tolerance{.relative = 8, .absolute = 64};
  std::vector<Update> all = updates;
  all.insert(all.end(), lists.begin(), lists.end());
  for (const Update& update : all) {
    struct Momentum {
      const char* variant;
      double momentum, dampening;
      bool nesterov;
    };
    for (const Momentum& m :
         {Momentum{"plain", 0, 0, false}, Momentum{"momentum", 0.9, 0.1, false}, Momentum{"nesterov", 0.9, 0, true}})
      cases.push_back(op_case(std::string(m.variant) + "_" + update.variant, kFloats, sgd_tolerance, [=](Maker& make) {
        std::vector<OptimParam> params = make_params(make, update, m.momentum != 0 ? 1 : 0);
        SgdArgs args;
        args.count = static_cast<std::int64_t>(params.size());
        args.params = make.keep(std::move(params));
        args.momentum = m.momentum;
        args.dampening = m.dampening;
        args.nesterov = m.nesterov;
        args.grad_scale = update.grad_scale;
        return args;
      }));
    for (bool decoupled : {false, true})
      cases.push_back(
          op_case((decoupled ? "decoupled_" : "") + update.variant, kFloats, adam_tolerance, [=](Maker& make) {
            std::vector<OptimParam> params = make_params(make, update, 2);
            AdamArgs args;
            args.count = static_cast<std::int64_t>(params.size());
            args.params = make.keep(std::move(params));
            args.decoupled = decoupled;
            args.grad_scale = update.grad_scale;
            return args;
          }));
  }
  return cases;
}

std::vector<OpCase> affine_cases() {
  std::vector<OpCase> cases;
  auto warp = [&](const char* variant, const Shape& shape, std::vector<double> theta, double fill) {
    // Positions up to 30 are rounded to half an epsilon a term, and the picture's slope is up to 2 a pixel in each
    // direction.
    cases.push_back(op_case(variant, kFloats, {.relative = 4, .absolute = 400}, [=](Maker& make) {
      AffineWarpArgs args;
      args.x = make.input(shape, Layout::channels_last());
      args.theta = make.values_of(DType::f32, {shape[0], 2, 3}, theta);
      args.y = make.output("y", shape, Layout::channels_last());
      args.fill = fill;
      return args;
    }));
  };
  const double c = std::cos(0.3), s = std::sin(0.3);
  warp("identity", {2, 3, 9, 7}, {1, 0, 0, 0, 1, 0}, 0);
  warp("shift", {1, 1, 8, 8}, {1, 0, 2, 0, 1, -3}, 0.5);
  warp("fraction", {1, 5, 9, 9}, {1, 0, 0.25, 0, 1, -0.625}, 0);
  warp("rotation", {1, 3, 28, 28}, {c, -s, 0, s, c, 0}, 0);
  warp("a_map_each", {2, 1, 13, 11}, {c, -s, 1.5, s, c, -2, 0.7, 0.1, 0, -0.2, 1.3, 0.5}, -1);
  warp("all_outside", {1, 2, 5, 5}, {1, 0, 100, 0, 1, 0}, 0.75);
  warp("far_outside", {1, 2, 5, 5}, {1, 0, 1e12, 0, 1, -1e12}, 0.75);
  warp("mirrored", {1, 2, 6, 5}, {-1, 0, 0, 0, 1, 0}, 0);
  warp("one_pixel", {1, 3, 1, 1}, {1, 0, 0, 0, 1, 0}, 0);
  warp("empty", {0, 3, 5, 5}, {1, 0, 0, 0, 1, 0}, 0);
  return cases;
}

GRAFT_OP_CASES(Reduce, reduce_cases());
GRAFT_OP_CASES(Argmax, argmax_cases());
GRAFT_OP_CASES(SquaredNorm, squared_norm_cases());
GRAFT_OP_CASES(Index, index_cases());
GRAFT_OP_CASES(Random, random_cases());
GRAFT_OP_CASES(Optim, optim_cases());
GRAFT_OP_CASES(AffineWarp, affine_cases());

}  // namespace
}  // namespace graft::test
