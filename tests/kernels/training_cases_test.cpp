// What a training step on the device is made of, on every backend: batches, counters, updates by the clock.
#include <cmath>
#include <limits>

#include "op_case.h"

namespace graft::test {
namespace {

using namespace kernels;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

struct Set {
  std::string variant;
  Shape pictures;
  std::int64_t batch;
  std::int64_t step = 0;
  bool shuffle = true;
  AffineAmounts augment{};
  int offset = 0;  // of images and x from an aligned address
};

std::vector<OpCase> batch_cases() {
  std::vector<OpCase> cases;
  const std::vector<Set> pixels = {
      {"first", {33, 1, 7, 9}, 8},
      {"in_order", {33, 1, 7, 9}, 8, 3, false},
      {"second_epoch", {33, 1, 7, 9}, 8, 6},
      {"late_epoch", {12, 3, 5, 5}, 5, 12345677},
      {"all", {7, 2, 4, 4}, 7, 3},
      {"one_of_one", {1, 1, 3, 3}, 1, 4},
      {"one_pixel", {65, 1, 1, 1}, 33, 1},
      {"large", {3, 3, 40, 41}, 2, 1},
      {"unaligned", {9, 3, 5, 7}, 4, 1, true, {}, 1},
      {"rotated", {9, 1, 13, 11}, 4, 5, true, {.rotation = 0.3}},
      {"scaled", {9, 2, 8, 8}, 4, 1, true, {.scale = 0.5}},
      {"warped", {33, 3, 12, 9}, 8, 9, true, {.rotation = 0.2, .scale = 0.12, .shear = 0.2, .shift = 1.5}},
      {"warped_far", {9, 1, 5, 6}, 4, 2, false, {.shift = 20}},
      {"warped_large", {3, 1, 40, 41}, 2, 7, true, {.rotation = 0.1, .shift = 2}},
  };
  for (const Set& set : pixels) {
    // (pixel - 33) / 78 is one division of a whole number; where pictures are warped each of four pixels up to 255 is
    // weighed by a fraction that is good to half an epsilon of a position up to 60, and a border pixel may be seen from
    // the other side.
    const Tolerance tolerance = set.augment.enabled() ? Tolerance{4, 2000} : Tolerance{2, 2};
    cases.push_back(op_case("pixels_" + set.variant, kFloats, tolerance, [=](Maker& make) {
      LoadBatchArgs args;
      Layout odd;
      odd.offset = set.offset;
      args.images = make.whole(DType::u8, set.pictures, 0, 255, odd);
      args.labels = make.whole(DType::i64, {set.pictures[0]}, 0, 9);
      args.step = make.values_of(DType::i64, {}, {static_cast<double>(set.step)});
      Shape x = set.pictures;
      x[0] = set.batch;
      Layout last = Layout::channels_last();
      last.offset = set.offset;
      args.x = make.output("x", x, last);
      args.y = make.output_of(DType::i64, "y", {set.batch});
      args.shuffle = set.shuffle;
      args.seed = 77;
      args.mean = 33;
      args.deviation = 78;
      args.augment = set.augment;
      return args;
    }));
  }
  const std::vector<Set> rows = {{"first", {33, 16}, 8},
                                 {"odd", {33, 7}, 8, 2},
                                 {"one_column", {65, 1}, 32, 1},
                                 {"vector", {9}, 4, 1},
                                 {"long", {5, 5000}, 2, 9},
                                 {"maps", {9, 8, 3, 3}, 4, 3},
                                 {"in_order", {33, 16}, 8, 3, false},
                                 {"unaligned", {9, 16}, 4, 1, true, {}, 1},
                                 {"no_columns", {9, 0}, 4, 1}};
  for (const Set& set : rows)
    cases.push_back(op_case("rows_" + set.variant, kFloats, kRounded, [=](Maker& make) {
      LoadBatchArgs args;
      Layout odd;
      odd.offset = set.offset;
      args.images = make.input(set.pictures, odd);
      args.labels = make.whole(DType::i64, {set.pictures[0]}, 0, 9);
      args.step = make.values_of(DType::i64, {}, {static_cast<double>(set.step)});
      Shape x = set.pictures;
      x[0] = set.batch;
      args.x = make.output("x", x, odd);
      args.y = make.output_of(DType::i64, "y", {set.batch});
      args.shuffle = set.shuffle;
      args.seed = 78;
      return args;
    }));
  return cases;
}

std::vector<OpCase> grad_scale_cases() {
  std::vector<OpCase> cases;
  struct Moment {
    const char* variant;
    double squared_norm, max_norm, loss_scale, good_steps;  // loss_scale of 0: none
  };
  for (const Moment& m :
       {Moment{"unclipped", 9, 0, 0, 0}, Moment{"within", 9, 5, 0, 0}, Moment{"clipped", 9, 0.5, 0, 0},
        Moment{"zero", 0, 1, 0, 0}, Moment{"scaled", 9e6, 0, 1024, 5}, Moment{"scaled_clipped", 9e6, 0.25, 1024, 5},
        Moment{"grows", 9, 0, 512, 1999}, Moment{"grows_no_further", 9, 0, 16777216, 1999},
        Moment{"shrinks", kInf, 0, 512, 77}, Moment{"shrinks_by_nan", kNaN, 1, 512, 77},
        Moment{"shrinks_no_further", kInf, 0, 1, 3}})
    // A root, two divisions and a minimum, in double.
    cases.push_back(op_case(m.variant, kF32, {.relative = 2}, [=](Maker& make) {
      GradScaleArgs args;
      args.squared_norm = make.values_of(DType::f64, {}, {m.squared_norm});
      args.step = make.values_of(DType::i64, {}, {12});
      args.factor = make.output_of(DType::f64, "factor", {});
      if (m.loss_scale > 0) {
        args.loss_scale = make.in_out("loss_scale", make.values_of(DType::f32, {}, {m.loss_scale}));
        args.good_steps = make.in_out("good_steps", make.values_of(DType::i64, {}, {m.good_steps}));
      }
      args.max_norm = m.max_norm;
      return args;
    }));
  return cases;
}

std::vector<OpCase> finish_step_cases() {
  std::vector<OpCase> cases;
  auto finish = [&](const char* variant, double step, double factor, bool has_factor) {
    cases.push_back(op_case(variant, kFloats, kRounded, [=](Maker& make) {
      FinishStepArgs args;
      args.loss = make.values({}, {1.25});
      args.losses = make.in_out("losses", make.values_of(DType::f64, {5}, {-1, -2, -3, -4, -5}));
      args.step = make.in_out("step", make.values_of(DType::i64, {}, {step}));
      args.updates = make.in_out("updates", make.values_of(DType::i64, {}, {2}));
      if (has_factor) args.factor = make.values_of(DType::f64, {}, {factor});
      return args;
    }));
  };
  finish("first", 0, 0, false);
  finish("last", 4, 0, false);
  finish("beyond", 5, 0, false);
  finish("with_a_factor", 2, 0.5, true);
  finish("left_out", 2, 0, true);
  return cases;
}

struct Update {
  std::string variant;
  std::int64_t step = 1;     // of the parameters, before the clock's
  std::int64_t updates = 0;  // of the clock
  double grad_scale = -1;    // negative: the host's
  bool mask = false;
  std::vector<Shape> shapes = {{7, 33}, {1}, {1000}, {0}};
};

constexpr double kBeta1 = 0.9, kBeta2 = 0.999;

template <class Args>
Args clocked(Maker& make, const Update& update, int states, bool masters) {
  std::vector<OptimParam> params;
  for (const Shape& shape : update.shapes) {
    OptimParam p;
    p.param = make.in_out("param", make.input(shape));
    p.grad = make.input(shape);
    if (masters) p.master = make.in_out("master", make.wide_input(shape));
    if (states > 0) p.state0 = make.in_out("state0", make.wide_input(shape, -1, 1));
    if (states > 1) p.state1 = make.in_out("state1", make.wide_input(shape, 0, 1));
    if (update.mask) p.mask = make.whole(DType::u8, shape, 0, 1);
    p.lr = 0.1;
    p.weight_decay = 0.01;
    p.multiplier = 0.5;
    p.step = update.step;
    params.push_back(p);
  }
  Args args;
  args.count = static_cast<std::int64_t>(params.size());
  args.params = make.keep(std::move(params));
  args.grad_scale = 0.75;
  const auto number = [&](double value) {
    return make.values_of(DType::i64, {}, {value}).template as<const std::int64_t>();
  };
  std::vector<double> corrections;
  for (int t = 1; t <= 12; ++t) {
    corrections.push_back(1 - std::pow(kBeta1, t));
    corrections.push_back(1 / std::sqrt(1 - std::pow(kBeta2, t)));
  }
  args.clock.step = number(2);
  args.clock.lr_factor = make.values_of(DType::f64, {4}, {9, 8, 0.7, 6}).template as<const double>();
  args.clock.updates = number(static_cast<double>(update.updates));
  args.clock.corrections = make.values_of(DType::f64, {24}, corrections).template as<const double>();
  if (update.grad_scale >= 0)
    args.clock.grad_scale = make.values_of(DType::f64, {}, {update.grad_scale}).template as<const double>();
  return args;
}

std::vector<OpCase> clocked_cases() {
  std::vector<OpCase> cases;
  std::vector<Shape> many(400, Shape{3});  // beyond one launch's list
  for (const Update& update :
       {Update{"first"}, Update{"later", 1, 4}, Update{"later_by_the_host", 3, 2}, Update{"scaled", 1, 3, 0.25},
        Update{"left_out", 1, 3, 0}, Update{"mask", 1, 3, 0.5, true}, Update{"many", 1, 3, -1, false, many}}) {
    // As the updates without a clock (misc_cases_test.cpp).
    const Tolerance sgd{.relative = 2, .absolute = 8}, adam{.relative = 8, .absolute = 64};
    for (const bool masters : {false, true}) {
      const std::string name = (masters ? "clocked_master_" : "clocked_") + update.variant;
      // A master stands beside a rounded parameter only.
      const std::vector<DType> dtypes = masters ? std::vector<DType>{DType::bf16, DType::f16} : kFloats;
      cases.push_back(op_case("plain_" + name, dtypes, sgd,
                              [=](Maker& make) { return clocked<SgdArgs>(make, update, 0, masters); }));
      cases.push_back(op_case("momentum_" + name, dtypes, sgd, [=](Maker& make) {
        auto args = clocked<SgdArgs>(make, update, 1, masters);
        args.momentum = 0.9;
        return args;
      }));
      for (const bool decoupled : {false, true})
        cases.push_back(op_case((decoupled ? "decoupled_" : "") + name, dtypes, adam, [=](Maker& make) {
          auto args = clocked<AdamArgs>(make, update, 2, masters);
          args.decoupled = decoupled;
          return args;
        }));
    }
  }
  // Without a clock, but with a master.
  cases.push_back(op_case("master", {DType::bf16, DType::f16}, {.relative = 8, .absolute = 64}, [](Maker& make) {
    auto args = clocked<AdamArgs>(make, {"", 3}, 2, true);
    args.clock = {};
    return args;
  }));
  return cases;
}

std::vector<OpCase> replayed_random_cases() {
  std::vector<OpCase> cases;
  for (const std::int64_t step : {0, 1, 1000}) {
    const auto key = [step](Maker& make) {
      const TensorRef counter = make.values_of(DType::i64, {}, {static_cast<double>(step)});
      return RandomKey{11, 22, counter.as<const std::int64_t>(), 3};
    };
    const std::string name = "replayed_" + std::to_string(step);
    for (const Distribution distribution : {Distribution::uniform, Distribution::normal})
      cases.push_back(op_case(name + (distribution == Distribution::normal ? "_normal" : "_uniform"), kFloats,
                              {.relative = 4, .absolute = 24}, [=](Maker& make) {  // as random_cases
                                return RandomArgs{make.output("y", {67}), distribution, 0, 1, key(make)};
                              }));
    cases.push_back(op_case(name, kFloats, {.relative = 1.5}, [=](Maker& make) {
      const TensorRef x = make.input({7, 33});
      return DropoutArgs{x, make.output("y", {7, 33}), 0.5, key(make)};
    }));
  }
  return cases;
}

GRAFT_OP_CASES(LoadBatch, batch_cases());
GRAFT_OP_CASES(GradScale, grad_scale_cases());
GRAFT_OP_CASES(FinishStep, finish_step_cases());
GRAFT_OP_CASES(ClockedOptim, clocked_cases());
GRAFT_OP_CASES(ReplayedRandom, replayed_random_cases());

}  // namespace
}  // namespace graft::test
