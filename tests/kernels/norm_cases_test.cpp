// Batch and layer normalisation on every backend.
#include <cmath>
#include <limits>

#include "op_case.h"

namespace graft::test {
namespace {

using namespace kernels;

struct Norm {
  std::string variant;
  std::int64_t rows, n;
  bool affine = true;
  double shift = 0, spread = 1;  // x lies in shift +- spread
};

std::vector<Norm> norms() {
  return {
      {"two_rows", 2, 1},
      {"awkward", 33, 7},
      {"many_channels", 9, 65},
      {"many_rows", 515, 3},
      {"no_affine", 33, 17, false},
      {"shifted", 65, 9, true, 10, 1},  // a one-pass variance would lose digits here
      {"small_spread", 33, 8, true, 0, 1e-3},
      {"one_channel", 65, 1},
      {"one_more_than_a_warp", 17, 33},
      {"channels_130", 9, 130},
      {"part_of_a_tile", 130, 72},  // on the device a tile is 64 channels of bf16, 32 of f32
      {"several_parts", 2100, 8},   // the device cuts these rows into parts
      {"large_mean", 65, 9, true, 1e3, 0.1},
      {"large_mean_in_vectors", 130, 16, true, -1e3, 0.1},
      {"large_mean_in_several_parts", 2100, 8, true, 1e3, 1},
  };
}

// The mean of m values is off by some epsilons of shift + spread, divided by the standard deviation, about spread / 2
// (where eps = 1e-5 allows); sums of m terms add sqrt(m).
double normalised_error(const Norm& c, std::int64_t m) {
  return 4 * (std::abs(c.shift) + c.spread) / std::max(c.spread, 3e-3) + std::sqrt(static_cast<double>(m)) + 8;
}

TensorRef make_x(Maker& make, const Norm& c) {
  return make.input({c.rows, c.n}, {}, c.shift - c.spread, c.shift + c.spread);
}

// Mean and 1 / sqrt(var + eps) of `count` values of x that begin at `first` and lie `step` apart.
struct Moments {
  double mean = 0, var = 0;
  Moments(const std::vector<double>& x, std::int64_t first, std::int64_t step, std::int64_t count) {
    auto at = [&](std::int64_t i) { return x[static_cast<std::size_t>(first + i * step)]; };
    for (std::int64_t i = 0; i < count; ++i) mean += at(i) / static_cast<double>(count);
    for (std::int64_t i = 0; i < count; ++i) var += (at(i) - mean) * (at(i) - mean) / static_cast<double>(count);
  }
  double inv_std() const { return 1 / std::sqrt(var + 1e-5); }
};

std::vector<OpCase> batch_norm_cases() {
  std::vector<OpCase> cases;
  for (const Norm& c : norms()) {
    const double error = normalised_error(c, c.rows);
    // y is about 2 gamma + beta, gamma within 2.
    const Tolerance y_tolerance{.relative = 8, .absolute = 4 * error};
    for (bool training : {true, false})
      cases.push_back(
          op_case(c.variant + (training ? "_training" : "_inference"), kFloats, y_tolerance, [=](Maker& make) {
            BatchNormArgs args;
            args.x = make_x(make, c);
            if (c.affine) {
              args.gamma = make.wide_input({c.n}, 0.5, 2);
              args.beta = make.wide_input({c.n});
            }
            args.running_mean = make.wide_input({c.n}, c.shift - 1, c.shift + 1);
            args.running_var = make.wide_input({c.n}, 0.5, 2);
            args.training = training;
            args.y = make.output("y", {c.rows, c.n});
            const double size = std::abs(c.shift) + c.spread + 1;
            const Tolerance statistics{.relative = error, .absolute = error * size};
            if (training) {
              make.in_out("running_mean", args.running_mean);
              make.in_out("running_var", args.running_var);
            }
            args.mean = make.wide_output("mean", {c.n});
            make.tolerate({.relative = 1, .absolute = 4 * size});  // a sum of m values over m
            args.inv_std = make.wide_output("inv_std", {c.n});
            make.tolerate(statistics);
            return args;
          }));
    for (bool training : {true, false})
      cases.push_back(
          // ggamma and gbeta add m terms of up to 2; gx multiplies by inv_std, up to 1 / spread.
          op_case(c.variant + (training ? "_training" : "_inference"), kFloats,
                  {.relative = 8, .absolute = (8 + static_cast<double>(c.rows)) * 4}, [=](Maker& make) {
                    BatchNormBackwardArgs args;
                    args.x = make_x(make, c);
                    args.gy = make.input({c.rows, c.n});
                    const std::vector<double> x = make.read(args.x);
                    std::vector<double> mean, inv_std;
                    for (std::int64_t j = 0; j < c.n; ++j) {
                      const Moments moments(x, j, c.n, c.rows);
                      mean.push_back(moments.mean);
                      inv_std.push_back(moments.inv_std());
                    }
                    if (c.affine) args.gamma = make.wide_input({c.n}, 0.5, 2);
                    args.mean = make.wide_values({c.n}, mean);
                    args.inv_std = make.wide_values({c.n}, inv_std);
                    args.training = training;
                    args.gx = make.output("gx", {c.rows, c.n});
                    const double gain = 2 / std::max(c.spread, 3e-3);
                    make.tolerate({.relative = 8, .absolute = gain * error});
                    args.ggamma = make.wide_output("ggamma", {c.n});
                    // Each x - mean is off by half an epsilon of |x|.
                    make.tolerate({.relative = 8, .absolute = static_cast<double>(c.rows) + error * 8});
                    args.gbeta = make.wide_output("gbeta", {c.n});
                    return args;
                  }));
  }
  auto partial = [&](const char* variant, bool gx, bool ggamma, bool gbeta) {
    cases.push_back(op_case(variant, kFloats, {.relative = 8, .absolute = 40}, [=](Maker& make) {
      BatchNormBackwardArgs args;
      args.x = make.input({17, 9});
      args.gy = make.input({17, 9});
      args.mean = make.wide_input({9}, -0.1, 0.1);
      args.inv_std = make.wide_input({9}, 1, 2);
      args.gamma = make.wide_input({9}, 0.5, 2);
      if (gx) args.gx = make.output("gx", {17, 9});
      if (ggamma) args.ggamma = make.wide_output("ggamma", {9});
      if (gbeta) args.gbeta = make.wide_output("gbeta", {9});
      return args;
    }));
  };
  partial("only_gx", true, false, false);
  partial("only_ggamma", false, true, false);
  partial("only_gbeta", false, false, true);
  partial("no_gx", false, true, true);
  cases.push_back(op_case("no_running_statistics", kFloats, {.relative = 8, .absolute = 40}, [](Maker& make) {
    BatchNormArgs args;
    args.x = make.input({17, 9});
    args.y = make.output("y", {17, 9});
    args.mean = make.wide_output("mean", {9});
    args.inv_std = make.wide_output("inv_std", {9});
    return args;
  }));
  cases.push_back(op_case("inference_keeps_nothing", kFloats, {.relative = 8, .absolute = 16}, [](Maker& make) {
    BatchNormArgs args;
    args.x = make.input({17, 9});
    args.running_mean = make.wide_input({9});
    args.running_var = make.wide_input({9}, 0.5, 2);
    args.y = make.output("y", {17, 9});
    args.training = false;
    return args;
  }));
  cases.push_back(op_case("inference_keeps_statistics", kFloats, {.relative = 8, .absolute = 16}, [](Maker& make) {
    BatchNormArgs args;
    args.x = make.input({70, 72}, {.offset = 1});
    args.running_mean = make.wide_input({72});
    args.running_var = make.wide_input({72}, 0.5, 2);
    args.y = make.output("y", {70, 72});
    args.mean = make.wide_output("mean", {72});
    args.inv_std = make.wide_output("inv_std", {72});
    args.training = false;
    return args;
  }));
  cases.push_back(op_case("unaligned", kFloats, {.relative = 8, .absolute = 40}, [](Maker& make) {
    BatchNormArgs args;
    args.x = make.input({70, 72});
    args.gamma = make.wide_input({72}, 0.5, 2);
    args.beta = make.wide_input({72});
    args.y = make.output("y", {70, 72}, {.offset = 1});
    args.mean = make.wide_output("mean", {72});
    args.inv_std = make.wide_output("inv_std", {72});
    return args;
  }));
  cases.push_back(op_case("unaligned", kFloats, {.relative = 8, .absolute = 600}, [](Maker& make) {
    BatchNormBackwardArgs args;
    args.x = make.input({70, 72});
    args.gy = make.input({70, 72}, {.offset = 1});
    args.mean = make.wide_input({72}, -0.1, 0.1);
    args.inv_std = make.wide_input({72}, 1, 2);
    args.gx = make.output("gx", {70, 72});
    args.ggamma = make.wide_output("ggamma", {72});
    args.gbeta = make.wide_output("gbeta", {72});
    return args;
  }));
  cases.push_back(op_case("outlier_first", kFloats, {.relative = 8, .absolute = 60}, [](Maker& make) {
    // The first row, which deviations may be taken from, lies far from all others.
    BatchNormArgs args;
    std::vector<double> x(40 * 8);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = i < 8 ? 1000 : make.uniform(-1, 1);
    args.x = make.values({40, 8}, x);
    args.y = make.output("y", {40, 8});
    args.mean = make.wide_output("mean", {8});
    make.tolerate({.relative = 8, .absolute = 100});
    args.inv_std = make.wide_output("inv_std", {8});
    make.tolerate({.relative = 60});
    return args;
  }));
  // The same where the device cuts the rows into parts: only the thread that meets the outlier, with some 7 rows, loses
  // digits to it.
  for (const std::int64_t outlier : {0, 1050, 2099})
    cases.push_back(op_case("outlier_in_row_" + std::to_string(outlier), kFloats, {.relative = 8, .absolute = 60},
                            [outlier](Maker& make) {
                              constexpr std::int64_t rows = 2100;
                              BatchNormArgs args;
                              std::vector<double> x(rows * 8);
                              for (std::int64_t i = 0; i < rows * 8; ++i)
                                x[static_cast<std::size_t>(i)] = i / 8 == outlier ? 1000 : make.uniform(-1, 1);
                              args.x = make.values({rows, 8}, x);
                              args.y = make.output("y", {rows, 8});
                              args.mean = make.wide_output("mean", {8});
                              make.tolerate({.relative = 8, .absolute = 100});
                              args.inv_std = make.wide_output("inv_std", {8});
                              make.tolerate({.relative = 60});
                              return args;
                            }));
  for (const bool training : {true, false})
    cases.push_back(op_case(training ? "counts_batches" : "counts_no_batches_in_inference", kFloats,
                            {.relative = 8, .absolute = 40}, [=](Maker& make) {
                              BatchNormArgs args;
                              args.x = make.input({17, 9});
                              args.running_mean = make.in_out("running_mean", make.wide_input({9}));
                              args.running_var = make.in_out("running_var", make.wide_input({9}, 0.5, 2));
                              args.y = make.output("y", {17, 9});
                              args.mean = make.wide_output("mean", {9});
                              args.inv_std = make.wide_output("inv_std", {9});
                              args.training = training;
                              args.batches = make.values_of(DType::i64, {}, {5e9});
                              make.in_out("batches", args.batches);
                              return args;
                            }));
  cases.push_back(op_case("empty_inference", kFloats, {}, [](Maker& make) {
    BatchNormArgs args;
    args.x = make.input({0, 5});
    args.running_mean = make.wide_input({5});
    args.running_var = make.wide_input({5}, 0.5, 2);
    args.y = make.output("y", {0, 5});
    args.training = false;
    return args;
  }));
  cases.push_back(op_case("nan_channel", kFloats, {.relative = 8, .absolute = 40}, [](Maker& make) {
    BatchNormArgs args;  // NaN spreads in its own channel only
    args.x = make.input({9, 5});
    make.sprinkle(args.x, 45, std::numeric_limits<double>::quiet_NaN());
    args.running_mean = make.in_out("running_mean", make.wide_input({5}));
    args.running_var = make.in_out("running_var", make.wide_input({5}, 0.5, 2));
    args.y = make.output("y", {9, 5});
    args.mean = make.wide_output("mean", {5});
    args.inv_std = make.wide_output("inv_std", {5});
    return args;
  }));
  return cases;
}

std::vector<OpCase> layer_norm_cases() {
  std::vector<OpCase> cases;
  std::vector<Norm> all = norms();
  all.push_back({"one_column", 5, 1});
  all.push_back({"wide_rows", 3, 768});
  all.push_back({"empty", 0, 9});
  all.push_back({"one_row", 1, 33});
  // On the device rows lie in a warp's registers, in a block's (of two sizes), or in none.
  all.push_back({"odd_warp", 2, 231});
  all.push_back({"odd_block", 2, 1025, true, 10, 1});
  all.push_back({"block", 1, 2048, false});
  all.push_back({"large_block", 2, 5000});
  all.push_back({"odd_large_block", 1, 4999, false});
  all.push_back({"beyond_registers", 2, 8208, true, 100, 1});
  all.push_back({"odd_beyond_registers", 1, 8193});
  for (const Norm& c : all) {
    const double error = normalised_error(c, c.n);
    cases.push_back(op_case(c.variant, kFloats, {.relative = 8, .absolute = 4 * error}, [=](Maker& make) {
      LayerNormArgs args;
      args.x = make_x(make, c);
      if (c.affine) {
        args.gamma = make.input({c.n}, {}, 0.5, 2);
        args.beta = make.input({c.n});
      }
      args.y = make.output("y", {c.rows, c.n});
      const double size = std::abs(c.shift) + c.spread;
      args.mean = make.wide_output("mean", {c.rows});
      make.tolerate({.relative = 1, .absolute = 4 * size});
      args.inv_std = make.wide_output("inv_std", {c.rows});
      // A variance of a few values can be near zero, where inv_std is up to 1 / sqrt(eps) = 316.
      make.tolerate({.relative = 4 * error, .absolute = error});
      return args;
    }));
    cases.push_back(op_case(c.variant, kFloats, {.relative = 8, .absolute = static_cast<double>(c.rows) + 8 * error},
                            [=](Maker& make) {
                              LayerNormBackwardArgs args;
                              args.x = make_x(make, c);
                              args.gy = make.input({c.rows, c.n});
                              const std::vector<double> x = make.read(args.x);
                              std::vector<double> mean(1), inv_std(1);
                              if (c.rows > 0) mean.clear(), inv_std.clear();
                              double steepest = 1;
                              for (std::int64_t i = 0; i < c.rows; ++i) {
                                const Moments moments(x, i * c.n, 1, c.n);
                                mean.push_back(moments.mean);
                                inv_std.push_back(moments.inv_std());
                                steepest = std::max(steepest, moments.inv_std());
                              }
                              if (c.affine) args.gamma = make.input({c.n}, {}, 0.5, 2);
                              args.mean = make.wide_values({c.rows}, mean);
                              args.inv_std = make.wide_values({c.rows}, inv_std);
                              args.gx = make.output("gx", {c.rows, c.n});
                              make.tolerate({.relative = 8, .absolute = 2 * steepest * error});
                              args.ggamma = make.output("ggamma", {c.n});
                              args.gbeta = make.output("gbeta", {c.n});
                              return args;
                            }));
  }
  cases.push_back(op_case("special", kFloats, {.relative = 8, .absolute = 100}, [](Maker& make) {
    // NaN and infinity spread in their own rows only; a row of one value is beta; an outlier comes first.
    const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
    LayerNormArgs args;
    args.x = make.values({5, 5}, {1, nan, 2, 3, 4, inf, 1, 2, 3, 4, 7, 7, 7, 7, 7, 1000, 1, 0, 0.5, 2, 1, 2, 3, 4, 5});
    args.gamma = make.input({5}, {}, 0.5, 2);
    args.beta = make.input({5});
    args.y = make.output("y", {5, 5});
    args.mean = make.wide_output("mean", {5});
    make.tolerate({.relative = 8});
    args.inv_std = make.wide_output("inv_std", {5});
    return args;
  }));
  for (const std::int64_t n : {64, 1032}) {
    cases.push_back(
        op_case("unaligned_" + std::to_string(n), kFloats, {.relative = 8, .absolute = 200}, [n](Maker& make) {
          LayerNormArgs args;
          args.x = make.input({3, n});
          args.gamma = make.input({n}, {.offset = 1}, 0.5, 2);
          args.beta = make.input({n});
          args.y = make.output("y", {3, n});
          args.mean = make.wide_output("mean", {3});
          args.inv_std = make.wide_output("inv_std", {3});
          return args;
        }));
    cases.push_back(
        op_case("unaligned_" + std::to_string(n), kFloats, {.relative = 8, .absolute = 200}, [n](Maker& make) {
          LayerNormBackwardArgs args;
          args.x = make.input({3, n}, {.offset = 1});
          args.gy = make.input({3, n});
          args.gamma = make.input({n}, {}, 0.5, 2);
          args.mean = make.wide_input({3}, -0.1, 0.1);
          args.inv_std = make.wide_input({3}, 1, 2);
          args.gx = make.output("gx", {3, n});
          args.ggamma = make.output("ggamma", {n});
          return args;
        }));
  }
  cases.push_back(op_case("only_gx", kFloats, {.relative = 8, .absolute = 40}, [](Maker& make) {
    LayerNormBackwardArgs args;
    args.x = make.input({7, 33});
    args.gy = make.input({7, 33});
    args.mean = make.wide_input({7}, -0.1, 0.1);
    args.inv_std = make.wide_input({7}, 1, 2);
    args.gx = make.output("gx", {7, 33});
    return args;
  }));
  return cases;
}

GRAFT_OP_CASES(BatchNorm, batch_norm_cases());
GRAFT_OP_CASES(LayerNorm, layer_norm_cases());

}  // namespace
}  // namespace graft::test
