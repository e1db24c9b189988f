// Cross-entropy on every backend: the op cases; and forward and backward together, far from zero, against numbers that
// were computed near it.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <ostream>
#include <string>
#include <vector>

#include <graft/kernels/api/error.h>
#include <graft/kernels/registry/registry.h>
#include <graft/kernels/runtime/cuda.h>

#include "op_case.h"

namespace graft::test {
namespace {

using namespace kernels;

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

struct Loss {
  std::string variant;
  std::int64_t n, classes;
  Reduction reduction = Reduction::mean;
  double smoothing = 0;
  bool weights = false;
  int ignored_every = 0;  // 1: all
  double range = 4;
  Layout layout = {};  // of the logits
  bool ones = false;   // the backward is given no gradient
  // Not 0: logits of offset + a whole multiple of 2 within the range.
  double offset = 0;
  std::vector<DType> dtypes = kFloats;
};

std::vector<Loss> losses() {
  return {
      {"one_row", 1, 2},
      {"mean", 33, 10},
      {"sum", 33, 10, Reduction::sum},
      {"none", 33, 10, Reduction::none},
      {"many_classes", 5, 1000},
      {"one_class", 7, 1},
      {"smoothing", 17, 9, Reduction::mean, 0.1},
      {"full_smoothing", 17, 9, Reduction::sum, 1.0},
      {"weights", 17, 9, Reduction::mean, 0, true},
      {"weights_none", 17, 9, Reduction::none, 0, true},
      {"ignore", 33, 9, Reduction::mean, 0, false, 3},
      {"ignore_none", 33, 9, Reduction::none, 0, false, 3},
      {"ignore_all_mean", 5, 9, Reduction::mean, 0, false, 1},
      {"ignore_all_sum", 5, 9, Reduction::sum, 0, false, 1},
      {"everything", 65, 33, Reduction::mean, 0.2, true, 4},
      {"everything_none", 65, 33, Reduction::none, 0.2, true, 4},
      {"large_logits", 17, 9, Reduction::mean, 0, false, 0, 1e4},
      // On the device a warp takes a row of up to 1024 classes, a block a longer one.
      {"odd_row", 3, 331},
      {"long_odd_row", 2, 1025, Reduction::sum},
      {"long_row", 3, 4104, Reduction::mean, 0.1, true, 3},
      {"long_row_none", 2, 2056, Reduction::none, 0.1},
      {"smoothing_in_vectors", 9, 264, Reduction::mean, 0.3, true},
      {"unaligned", 9, 64, Reduction::mean, 0.1, true, 0, 4, {.offset = 1}},
      {"ones", 9, 10, Reduction::mean, 0.1, true, 3, 4, {}, true},
      {"ones_none", 5, 1030, Reduction::none, 0, false, 2, 4, {}, true},
      // Neighbours of a dtype at these offsets are 2 apart. (f64 runs beside f32.)
      {"offset_f32", 17, 33, Reduction::none, 0.2, true, 4, 6, {}, false, 0x1p24, {DType::f32}},
      {"offset_f16", 17, 33, Reduction::mean, 0.2, false, 4, 6, {}, false, 0x1p11, {DType::f16}},
      {"offset_bf16", 17, 33, Reduction::sum, 0.2, true, 4, 6, {}, false, 0x1p8, {DType::bf16}},
      {"offset_long_row", 3, 2056, Reduction::mean, 0.1, true, 0, 6, {}, false, 0x1p24, {DType::f32}},
      {"empty_mean", 0, 9},
      {"empty_sum", 0, 9, Reduction::sum},
      {"empty_none", 0, 9, Reduction::none},
  };
}

// What the forward keeps of a row.
struct Kept {
  double row_max = -kInf, log_sum = 0;
  Kept(const double* row, std::int64_t classes) {
    for (std::int64_t c = 0; c < classes; ++c)
      if (row[c] > row_max || std::isnan(row[c])) row_max = row[c];
    double sum = 0;
    for (std::int64_t c = 0; c < classes; ++c) sum += std::exp(row[c] - row_max);
    log_sum = std::log(sum);
  }
};

CrossEntropyArgs make_loss(Maker& make, const Loss& loss, bool written) {
  CrossEntropyArgs args;
  if (loss.offset != 0) {
    std::vector<double> logits(static_cast<std::size_t>(loss.n * loss.classes));
    for (double& logit : logits) logit = loss.offset + 2 * std::floor(make.uniform(0, loss.range / 2 + 1));
    args.logits = make.values({loss.n, loss.classes}, logits);
  } else {
    args.logits = make.input({loss.n, loss.classes}, loss.layout, -loss.range, loss.range);
  }
  std::vector<double> targets(static_cast<std::size_t>(std::max<std::int64_t>(loss.n, 1)));
  for (std::size_t i = 0; i < targets.size(); ++i) {
    targets[i] = std::floor(make.uniform(0, static_cast<double>(loss.classes)));
    if (loss.ignored_every > 0 && i % static_cast<std::size_t>(loss.ignored_every) == 0) targets[i] = -100;
  }
  args.targets = make.values_of(DType::i64, {loss.n}, targets);
  if (loss.weights) args.class_weights = make.input({loss.classes}, {}, 0.25, 2);
  args.reduction = loss.reduction;
  args.label_smoothing = loss.smoothing;
  if (written) {
    // A logarithm of a sum of up to 1000 terms, then rows added: terms up to 2 range; means stay of that size.
    const auto terms = static_cast<double>(loss.reduction == Reduction::sum ? loss.n : 1);
    const Tolerance tolerance{.relative = 4 + std::sqrt(static_cast<double>(loss.classes)),
                              .absolute = 4 * loss.range * terms};
    args.loss = make.wide_output("loss", loss.reduction == Reduction::none ? Shape{loss.n} : Shape{});
    make.tolerate(tolerance);
    args.row_max = make.wide_output("row_max", {loss.n});
    make.tolerate({});
    args.log_sum = make.wide_output("log_sum", {loss.n});
    make.tolerate(tolerance);
    args.scale = make.wide_output("scale", {});
    make.tolerate({.relative = 1 + std::sqrt(static_cast<double>(loss.n))});  // one over a sum of n positive weights
  }
  return args;
}

constexpr std::int64_t kSpecialRows = 8;

// Rows, with smoothing, of: one class that cannot be; a target that cannot be; nothing that can be; a NaN; an infinity;
// ever greater logits; nothing possible but at the end; nothing possible but at the beginning.
CrossEntropyArgs make_special(Maker& make, std::int64_t classes, bool weighted) {
  std::vector<double> logits(static_cast<std::size_t>(kSpecialRows * classes));
  const auto at = [&](std::int64_t row, std::int64_t column) -> double& {
    return logits[static_cast<std::size_t>(row * classes + column)];
  };
  for (double& logit : logits) logit = make.uniform(-4, 4);
  const std::int64_t target = classes / 2;
  at(0, 1) = -kInf;
  at(1, target) = -kInf;
  at(3, 3) = kNaN;
  at(4, classes - 1) = kInf;
  for (std::int64_t c = 0; c < classes; ++c) {
    at(2, c) = -kInf;
    at(5, c) = 16.0 * static_cast<double>(c) / static_cast<double>(classes);
    if (c < classes - 1) at(6, c) = -kInf;
    if (c > 0) at(7, c) = -kInf;
  }
  CrossEntropyArgs args;
  args.logits = make.values({kSpecialRows, classes}, logits);
  args.targets = make.values_of(DType::i64, {kSpecialRows}, {static_cast<double>(target)});
  if (weighted) args.class_weights = make.input({classes}, {}, 0.25, 2);
  args.reduction = Reduction::none;
  args.label_smoothing = 0.25;
  return args;
}

std::vector<OpCase> cross_entropy_cases() {
  std::vector<OpCase> cases;
  for (const Loss& loss : losses()) {
    cases.push_back(
        op_case(loss.variant, loss.dtypes, {}, [loss](Maker& make) { return make_loss(make, loss, true); }));
    // The probabilities are exp((logit - row_max) - log_sum), where the subtractions round at the size of the range
    // (and the f32 log_sum at its own, below it): range epsilons, relatively, of probabilities up to the weight 2.
    const Tolerance tolerance{.relative = 8 + 2 * loss.range, .absolute = 4 + 2 * loss.range};
    cases.push_back(op_case(loss.variant, loss.dtypes, tolerance, [loss](Maker& make) {
      const CrossEntropyArgs forward = make_loss(make, loss, false);
      // What the forward keeps, computed from the same logits.
      const std::vector<double> logits = make.read(forward.logits), targets = make.read(forward.targets);
      std::vector<double> row_max(static_cast<std::size_t>(std::max<std::int64_t>(loss.n, 1))), log_sum = row_max;
      const std::vector<double> weights = loss.weights ? make.read(forward.class_weights)
                                                       : std::vector<double>(static_cast<std::size_t>(loss.classes), 1);
      double total = 0;
      for (std::size_t i = 0; i < targets.size(); ++i) {
        const Kept kept(logits.data() + i * static_cast<std::size_t>(loss.classes), loss.classes);
        row_max[i] = kept.row_max;
        log_sum[i] = kept.log_sum;
        if (targets[i] >= 0) total += weights[static_cast<std::size_t>(targets[i])];
      }
      CrossEntropyBackwardArgs args;
      args.logits = forward.logits;
      args.targets = forward.targets;
      args.class_weights = forward.class_weights;
      args.row_max = make.wide_values({loss.n}, row_max);
      args.log_sum = make.wide_values({loss.n}, log_sum);
      args.scale = make.wide_values({}, {loss.reduction == Reduction::mean ? 1 / total : 1});
      if (!loss.ones) args.gy = make.wide_input(loss.reduction == Reduction::none ? Shape{loss.n} : Shape{}, 0.5, 2);
      args.gx = make.output("gx", {loss.n, loss.classes});
      args.reduction = loss.reduction;
      args.label_smoothing = loss.smoothing;
      return args;
    }));
  }
  // More rows than the blocks of the device take in one go.
  const Loss many_rows{"many_rows", 4099, 2, Reduction::mean, 0, false, 5};
  cases.push_back(op_case(many_rows.variant, kF32, {}, [=](Maker& make) { return make_loss(make, many_rows, true); }));
  cases.push_back(op_case("impossible_class", kFloats, {.relative = 8, .absolute = 16}, [](Maker& make) {
    // A logit of -infinity in another class changes nothing; in the target's class the loss is infinite; NaN spreads.
    CrossEntropyArgs args;
    args.logits = make.values({3, 4}, {1, -kInf, 2, 0.5, 1, -kInf, 2, 0.5, 1, kNaN, 2, 0.5});
    args.targets = make.values_of(DType::i64, {3}, {0, 1, 2});
    args.loss = make.wide_output("loss", {3});
    args.row_max = make.wide_output("row_max", {3});
    args.log_sum = make.wide_output("log_sum", {3});
    args.scale = make.wide_output("scale", {});
    args.reduction = Reduction::none;
    return args;
  }));
  for (const std::int64_t classes : {5, 300, 2060})
    for (const bool weighted : {false, true}) {
      const std::string variant = cat("special_", weighted ? "weighted_" : "", classes);
      const Tolerance tolerance{.relative = 8 + std::sqrt(static_cast<double>(classes)), .absolute = 64};
      cases.push_back(op_case(variant, kFloats, tolerance, [=](Maker& make) {
        CrossEntropyArgs args = make_special(make, classes, weighted);
        args.loss = make.wide_output("loss", {kSpecialRows});
        args.row_max = make.wide_output("row_max", {kSpecialRows});
        args.log_sum = make.wide_output("log_sum", {kSpecialRows});
        args.scale = make.wide_output("scale", {});
        return args;
      }));
      cases.push_back(op_case(variant, kFloats, tolerance, [=](Maker& make) {
        const CrossEntropyArgs forward = make_special(make, classes, weighted);
        const std::vector<double> logits = make.read(forward.logits);
        std::vector<double> row_max, log_sum;
        for (std::int64_t row = 0; row < kSpecialRows; ++row) {
          const Kept kept(logits.data() + row * classes, classes);
          row_max.push_back(kept.row_max);
          log_sum.push_back(kept.log_sum);
        }
        CrossEntropyBackwardArgs args;
        args.logits = forward.logits;
        args.targets = forward.targets;
        args.class_weights = forward.class_weights;
        args.row_max = make.wide_values({kSpecialRows}, row_max);
        args.log_sum = make.wide_values({kSpecialRows}, log_sum);
        args.scale = make.wide_values({}, {1});
        args.gx = make.output("gx", {kSpecialRows, classes});
        args.reduction = forward.reduction;
        args.label_smoothing = forward.label_smoothing;
        return args;
      }));
    }
  return cases;
}

GRAFT_OP_CASES(CrossEntropy, cross_entropy_cases());

// --- logits at an offset ---------------------------------------------------------------------------------------------

// Logits of offset + a small multiple of step, both exact in the dtype.
struct Offset {
  const char* name;
  DType dtype;
  double offset, step;
};
void PrintTo(const Offset& o, std::ostream* out) { *out << o.name; }

struct Setting {
  std::int64_t rows, classes;
  Reduction reduction;
  double smoothing;
  bool weights, ignored;
};

/// What cross-entropy gives, from logits without their offset.
struct Truth {
  std::vector<long double> loss, log_sum, gx, allowed;  // of gx: the error in epsilons
  long double scale = 1;
};

struct Given {
  std::vector<double> steps, targets, weights, gy;  // logits = offset + step steps
};

Truth truth_of(const Setting& s, const Given& given, double step) {
  Truth truth;
  long double total = 0, total_weight = 0, all_weights = 0;
  for (const double w : given.weights) all_weights += w;
  const auto classes = static_cast<long double>(s.classes);
  for (std::int64_t row = 0; row < s.rows; ++row)
    if (const double t = given.targets[static_cast<std::size_t>(row)]; t >= 0)
      total_weight += given.weights[static_cast<std::size_t>(t)];
  if (s.reduction == Reduction::mean) truth.scale = 1 / total_weight;
  for (std::int64_t row = 0; row < s.rows; ++row) {
    const double* steps = given.steps.data() + row * s.classes;
    const double t = given.targets[static_cast<std::size_t>(row)], top = *std::max_element(steps, steps + s.classes);
    const auto below = [&](std::int64_t c) {
      return static_cast<long double>(step) * (top - steps[c]);
    };  // max - logit
    long double sum = 0, loss = 0;
    for (std::int64_t c = 0; c < s.classes; ++c) sum += std::exp(-below(c));
    const long double log_sum = std::log(sum);
    const long double own = t < 0 ? 0 : (1 - s.smoothing) * given.weights[static_cast<std::size_t>(t)];
    const long double g =
        t < 0 ? 0 : truth.scale * given.gy[s.reduction == Reduction::none ? static_cast<std::size_t>(row) : 0];
    for (std::int64_t c = 0; c < s.classes; ++c) {
      const bool hit = static_cast<double>(c) == t;
      const long double spread = s.smoothing / classes * given.weights[static_cast<std::size_t>(c)];
      if (t >= 0) loss += ((hit ? own : 0) + spread) * (log_sum + below(c));
      const long double p = std::exp(-below(c)) / sum, factor = own + s.smoothing / classes * all_weights;
      truth.gx.push_back(g * (p * factor - (hit ? own : 0) - spread));
      // p: the exponential and the sum that log_sum is of, then half an epsilon of what is subtracted, twice. All
      // terms: some products, and scale.
      const long double of_p = 4 + std::sqrt(classes) + below(c) + 2 * log_sum;
      truth.allowed.push_back(g * (p * factor * of_p + (8 + std::sqrt(static_cast<long double>(s.rows))) *
                                                           (p * factor + (hit ? own : 0) + spread)));
    }
    truth.log_sum.push_back(log_sum);
    total += loss;
    if (s.reduction == Reduction::none) truth.loss.push_back(loss);
  }
  if (s.reduction != Reduction::none) truth.loss.push_back(total * truth.scale);
  return truth;
}

void expect_near(const char* what, const std::vector<double>& got, const std::vector<long double>& want,
                 const std::function<long double(std::size_t)>& allowed) {
  ASSERT_EQ(got.size(), want.size());
  int wrong = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (std::abs(got[i] - want[i]) <= allowed(i)) continue;
    if (++wrong <= 3)
      ADD_FAILURE() << what << "[" << i << "] is " << got[i] << ", expected " << static_cast<double>(want[i])
                    << " within " << static_cast<double>(allowed(i));
  }
  EXPECT_EQ(wrong, 0) << what << ": of " << got.size();
}

class CrossEntropyOffset : public testing::TestWithParam<Offset> {
 protected:
  /// Forward and backward on every backend of the device that has them in this dtype.
  static void run_on(DeviceType device, const Setting& s) {
    const Offset& o = GetParam();
    SCOPED_TRACE(testing::Message() << s.rows << "x" << s.classes << ", reduction " << static_cast<int>(s.reduction)
                                    << ", smoothing " << s.smoothing << (s.weights ? ", weights" : "")
                                    << (s.ignored ? ", ignored rows" : ""));
    int served = 0;
    for (const BackendTable* backend : backends(device)) {
      SCOPED_TRACE(kernels::name(backend->id));
      served += run_on(*backend, o, s);
    }
    EXPECT_GT(served, 0);
  }

 private:
  static int run_on(const BackendTable& backend, const Offset& o, const Setting& s) {
    Maker make(o.dtype, false, {}, 5, Device{backend.device, 0});
    const bool none = s.reduction == Reduction::none;
    const Shape per_loss = none ? Shape{s.rows} : Shape{};
    Given given;
    std::vector<double> logits;
    for (std::int64_t i = 0; i < s.rows * s.classes; ++i) {
      given.steps.push_back(std::floor(make.uniform(0, 5)));
      logits.push_back(o.offset + o.step * given.steps.back());
    }
    for (std::int64_t row = 0; row < s.rows; ++row)
      given.targets.push_back(s.ignored && row % 3 == 1 ? -100
                                                        : std::floor(make.uniform(0, static_cast<double>(s.classes))));
    CrossEntropyArgs forward;
    forward.logits = make.values({s.rows, s.classes}, logits);
    EXPECT_EQ(make.read(forward.logits), logits) << "not exact in the dtype";
    forward.targets = make.values_of(DType::i64, {s.rows}, given.targets);
    if (s.weights) forward.class_weights = make.input({s.classes}, {}, 0.25, 2);
    forward.loss = make.wide_output("loss", per_loss);
    forward.row_max = make.wide_output("row_max", {s.rows});
    forward.log_sum = make.wide_output("log_sum", {s.rows});
    forward.scale = make.wide_output("scale", {});
    forward.reduction = s.reduction;
    forward.label_smoothing = s.smoothing;
    CrossEntropyBackwardArgs backward{forward.logits,
                                      forward.targets,
                                      forward.class_weights,
                                      forward.row_max,
                                      forward.log_sum,
                                      forward.scale,
                                      make.wide_input(per_loss, 0.5, 2),
                                      make.output("gx", {s.rows, s.classes}),
                                      s.reduction,
                                      s.smoothing};
    const Launch first = launch(forward), second = launch(backward);
    if (!first.supports(backend).ok || !second.supports(backend).ok) return 0;
    make.seal();
    first.run(backend);
    second.run(backend);
    make.download();

    given.weights =
        s.weights ? make.read(forward.class_weights) : std::vector<double>(static_cast<std::size_t>(s.classes), 1);
    given.gy = make.read(backward.gy);
    const Truth truth = truth_of(s, given, o.step);
    const long double e = o.dtype == DType::f64 ? 0x1p-52L : 0x1p-23L;
    const auto classes = static_cast<long double>(s.classes), rows = static_cast<long double>(s.rows);
    // The logarithm of a sum that is off by this many epsilons; the losses are sums of it and of positive numbers, with
    // weights up to 2.
    const long double of_sum = 4 + std::sqrt(classes);
    const long double of_loss = s.reduction == Reduction::sum ? 2 * rows * of_sum : 2 * of_sum;
    expect_near("loss", make.read(forward.loss), truth.loss,
                [&](std::size_t i) { return e * (of_loss + (of_sum + std::sqrt(rows)) * truth.loss[i]); });
    expect_near("log_sum", make.read(forward.log_sum), truth.log_sum,
                [&](std::size_t i) { return e * (of_sum + truth.log_sum[i]); });
    const std::vector<double> row_max = make.read(forward.row_max);
    for (std::int64_t row = 0; row < s.rows; ++row)
      EXPECT_EQ(row_max[static_cast<std::size_t>(row)],
                *std::max_element(logits.data() + row * s.classes, logits.data() + (row + 1) * s.classes));
    const long double storage = o.dtype == DType::bf16 ? 0x1p-8L : o.dtype == DType::f16 ? 0x1p-11L : 0;
    const long double tiny = o.dtype == DType::f16 ? 0x1p-25L : 0x1p-126L;
    expect_near("gx", make.read(backward.gx), truth.gx,
                [&](std::size_t i) { return e * truth.allowed[i] + storage * std::abs(truth.gx[i]) + tiny; });
    return 1;
  }
};

std::vector<Setting> settings() {
  std::vector<Setting> all;
  for (const std::int64_t classes : {3, 200, 1500})
    for (const Reduction reduction : {Reduction::none, Reduction::mean, Reduction::sum})
      for (const double smoothing : {0.0, 0.3})
        for (const bool rest : {false, true})
          all.push_back({classes > 1024 ? 4 : 9, classes, reduction, smoothing, rest, rest});
  return all;
}

TEST_P(CrossEntropyOffset, ChangesNothingOnTheCpu) {
  for (const Setting& s : settings()) run_on(DeviceType::cpu, s);
}

TEST_P(CrossEntropyOffset, ChangesNothingOnTheDevice) {
  if (const std::string why = runtime::cuda_unavailable(); !why.empty()) GTEST_SKIP() << why;
  for (const Setting& s : settings()) run_on(DeviceType::cuda, s);
}

INSTANTIATE_TEST_SUITE_P(
    Logits, CrossEntropyOffset,
    testing::Values(Offset{"f32_1e7", DType::f32, 1e7, 1}, Offset{"f32_1e8", DType::f32, 1e8, 8},
                    Offset{"f32_minus_1e8", DType::f32, -1e8, 8}, Offset{"f64_9e15", DType::f64, 0x1p53, 2},
                    Offset{"f64_minus_1e17", DType::f64, -1e17, 16}, Offset{"bf16_256", DType::bf16, 0x1p8, 2},
                    Offset{"bf16_minus_7e7", DType::bf16, -0x1p26, 0x1p18}, Offset{"f16_2048", DType::f16, 0x1p11, 2},
                    Offset{"f16_minus_32768", DType::f16, -0x1p15, 32}),
    [](const auto& of) { return std::string(of.param.name); });

}  // namespace
}  // namespace graft::test
