// Softmax on every backend.
#include <cmath>
#include <limits>

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

GRAFT_OP_CASES(Softmax, softmax_cases());

}  // namespace
}  // namespace graft::test
