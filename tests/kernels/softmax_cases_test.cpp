// Softmax and cross-entropy on every backend.
#include <cmath>
#include <limits>

#include <graft/kernels/reference/table.h>

#include "op_case.h"

namespace graft::test {
namespace {

using namespace kernels;

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// exp of an argument x - max that was rounded (half an epsilon of up to 20) is off by up to 10 epsilons, relatively;
// the vector exp adds 2 ulp and the sum of n terms about sqrt(n).
Tolerance softmax_tolerance(std::int64_t n) { return {.relative = 14 + std::sqrt(static_cast<double>(n))}; }

// log_softmax subtracts the logarithm of a sum that is off by some epsilons from a number up to `range`.
Tolerance log_softmax_tolerance(std::int64_t n) {
  return {.relative = 2, .absolute = 6 + std::sqrt(static_cast<double>(n))};
}

std::vector<OpCase> softmax_cases() {
  std::vector<OpCase> cases;
  struct Rows {
    const char* variant;
    std::int64_t rows, n;
    double range;
  };
  for (const Rows& r : {Rows{"one_element", 1, 1, 5}, Rows{"awkward", 7, 33, 5}, Rows{"ten_classes", 65, 10, 8},
                        Rows{"thousand_classes", 3, 1000, 8}, Rows{"large_values", 9, 65, 1e4}, Rows{"empty", 0, 7, 1},
                        Rows{"one_column", 65, 1, 5}, Rows{"seven", 7, 7, 5}, Rows{"huge_values", 7, 33, 6e4},
                        // On the device rows lie in a warp's registers, in a block's (of two sizes), or in none.
                        Rows{"odd_warp", 2, 231, 8}, Rows{"odd_block", 2, 1025, 8}, Rows{"block", 1, 2048, 8},
                        Rows{"large_block", 2, 5000, 8}, Rows{"odd_large_block", 1, 4999, 8},
                        Rows{"beyond_registers", 2, 8208, 8}, Rows{"odd_beyond_registers", 1, 8193, 8}})
    for (bool log : {false, true}) {
      const std::string variant = std::string(log ? "log_" : "") + r.variant;
      cases.push_back(
          op_case(variant, kFloats, log ? log_softmax_tolerance(r.n) : softmax_tolerance(r.n), [r, log](Maker& make) {
            const TensorRef x = make.input({r.rows, r.n}, {}, -r.range, r.range);
            return SoftmaxArgs{x, make.output("y", {r.rows, r.n}), log};
          }));
      cases.push_back(op_case(
          // Products and a sum of n terms within +-1; exp(y) of y in (-4, 0) adds a few epsilons.
          variant, kFloats, {.relative = 8, .absolute = 8 + static_cast<double>(r.n)}, [r, log](Maker& make) {
            const TensorRef y = log ? make.input({r.rows, r.n}, {}, -4, 0) : make.input({r.rows, r.n}, {}, 0, 1);
            const TensorRef gy = make.input({r.rows, r.n});
            return SoftmaxBackwardArgs{y, gy, make.output("gx", {r.rows, r.n}), log};
          }));
    }
  for (bool log : {false, true})
    cases.push_back(op_case(log ? "log_special" : "special", kFloats,
                            log ? log_softmax_tolerance(5) : softmax_tolerance(5), [log](Maker& make) {
                              const TensorRef x =
                                  make.values({6, 5}, {0,     -kInf, 1,     -kInf, 2,     -1e4, -1e4, -1e4, -1e4, -1e4,
                                                       1,     kNaN,  2,     3,     4,     1e4,  0,    -1e4, 5,    6,
                                                       -kInf, -kInf, -kInf, -kInf, -kInf, 3,    3,    3,    3,    3});
                              return SoftmaxArgs{x, make.output("y", {6, 5}), log};
                            }));
  for (const std::int64_t n : {17, 1025, 8208})
    cases.push_back(op_case("in_place_" + std::to_string(n), kFloats, softmax_tolerance(n), [n](Maker& make) {
      const TensorRef x = make.in_out("x", make.input({2, n}));
      return SoftmaxArgs{x, x, false};
    }));
  // Long rows of nothing but -infinity; with few numbers among -infinity; with one NaN; with one infinity.
  for (const std::int64_t n : {257, 1032, 8208})
    for (const bool log : {false, true})
      cases.push_back(op_case((log ? "log_special_" : "special_") + std::to_string(n), kFloats,
                              log ? log_softmax_tolerance(n) : softmax_tolerance(n), [n, log](Maker& make) {
                                std::vector<double> values(static_cast<std::size_t>(4 * n), -kInf);
                                auto at = [&](std::int64_t row, std::int64_t column) -> double& {
                                  return values[static_cast<std::size_t>(row * n + column)];
                                };
                                at(1, 0) = 1, at(1, n / 2) = -3, at(1, n - 1) = 2;
                                at(2, 5) = 1, at(2, n - 2) = kNaN;
                                at(3, n / 3) = kInf, at(3, 7) = 2;
                                const TensorRef x = make.values({4, n}, values);
                                return SoftmaxArgs{x, make.output("y", {4, n}), log};
                              }));
  // Rows of whole vectors at addresses that do not allow them.
  for (const std::int64_t n : {64, 1032}) {
    const Layout unaligned{.offset = 1};
    const std::string size = std::to_string(n);
    cases.push_back(op_case("unaligned_input_" + size, kFloats, softmax_tolerance(n), [=](Maker& make) {
      const TensorRef x = make.input({3, n}, unaligned);
      return SoftmaxArgs{x, make.output("y", {3, n}), false};
    }));
    cases.push_back(op_case("unaligned_output_" + size, kFloats, log_softmax_tolerance(n), [=](Maker& make) {
      const TensorRef x = make.input({3, n});
      return SoftmaxArgs{x, make.output("y", {3, n}, unaligned), true};
    }));
    cases.push_back(op_case("unaligned_" + size, kFloats, {.relative = 8, .absolute = 8 + static_cast<double>(n)},
                            [=](Maker& make) {
                              const TensorRef y = make.input({3, n}, {}, 0, 1), gy = make.input({3, n}, unaligned);
                              return SoftmaxBackwardArgs{y, gy, make.output("gx", {3, n}), false};
                            }));
  }
  return cases;
}

struct Loss {
  std::string variant;
  std::int64_t n, classes;
  Reduction reduction = Reduction::mean;
  double smoothing = 0;
  bool weights = false;
  int ignored_every = 0;  // 1: all
  double range = 4;
  Layout layout = {};  // of the logits
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
      {"empty_mean", 0, 9},
      {"empty_sum", 0, 9, Reduction::sum},
      {"empty_none", 0, 9, Reduction::none},
  };
}

CrossEntropyArgs make_loss(Maker& make, const Loss& loss, bool written) {
  CrossEntropyArgs args;
  args.logits = make.input({loss.n, loss.classes}, loss.layout, -loss.range, loss.range);
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
    args.log_sum_exp = make.wide_output("log_sum_exp", {loss.n});
    make.tolerate(tolerance);
    args.scale = make.wide_output("scale", {});
    make.tolerate({.relative = 1 + std::sqrt(static_cast<double>(loss.n))});  // one over a sum of n positive weights
  }
  return args;
}

std::vector<OpCase> cross_entropy_cases() {
  std::vector<OpCase> cases;
  for (const Loss& loss : losses()) {
    cases.push_back(op_case(loss.variant, kFloats, {}, [loss](Maker& make) { return make_loss(make, loss, true); }));
    // The probabilities are exp(logit - log_sum_exp), where the subtraction rounds at the size of the logits (and the
    // f32 log_sum_exp did so before): range epsilons, relatively, of probabilities up to the weight 2.
    const Tolerance tolerance{.relative = 8 + 2 * loss.range, .absolute = 4 + 2 * loss.range};
    cases.push_back(op_case(loss.variant, kFloats, tolerance, [loss](Maker& make) {
      const CrossEntropyArgs forward = make_loss(make, loss, false);
      // What the forward keeps, computed from the same logits.
      const std::vector<double> logits = make.read(forward.logits), targets = make.read(forward.targets);
      std::vector<double> lse(static_cast<std::size_t>(std::max<std::int64_t>(loss.n, 1)));
      const std::vector<double> weights = loss.weights ? make.read(forward.class_weights)
                                                       : std::vector<double>(static_cast<std::size_t>(loss.classes), 1);
      double total = 0;
      for (std::size_t i = 0; i < targets.size(); ++i) {
        const double* row = logits.data() + i * static_cast<std::size_t>(loss.classes);
        double greatest = row[0], sum = 0;
        for (std::int64_t c = 0; c < loss.classes; ++c) greatest = std::max(greatest, row[c]);
        for (std::int64_t c = 0; c < loss.classes; ++c) sum += std::exp(row[c] - greatest);
        lse[i] = greatest + std::log(sum);
        if (targets[i] >= 0) total += weights[static_cast<std::size_t>(targets[i])];
      }
      CrossEntropyBackwardArgs args;
      args.logits = forward.logits;
      args.targets = forward.targets;
      args.class_weights = forward.class_weights;
      args.log_sum_exp = make.wide_values({loss.n}, lse);
      args.scale = make.wide_values({}, {loss.reduction == Reduction::mean ? 1 / total : 1});
      args.gy = make.wide_input(loss.reduction == Reduction::none ? Shape{loss.n} : Shape{}, 0.5, 2);
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
    args.log_sum_exp = make.wide_output("log_sum_exp", {3});
    args.scale = make.wide_output("scale", {});
    args.reduction = Reduction::none;
    return args;
  }));
  return cases;
}

GRAFT_OP_CASES(Softmax, softmax_cases());
GRAFT_OP_CASES(CrossEntropy, cross_entropy_cases());

}  // namespace
}  // namespace graft::test
