// Matrix products on every backend.
#include <limits>

#include "op_case.h"

namespace graft::test {
namespace {

using namespace kernels;

struct Product {
  std::string variant;
  std::int64_t m, n, k;
  Layout a, b;
  bool bias = false;
  Activation activation = Activation::none;
  std::vector<std::int64_t> batch = {};
};

Shape batched(const std::vector<std::int64_t>& batch, std::int64_t rows, std::int64_t columns) {
  Shape shape{std::span(batch)};
  shape.push_back(rows);
  shape.push_back(columns);
  return shape;
}

std::vector<OpCase> matmul_cases() {
  const Layout plain, transposed = Layout::permuted({1, 0}), window = Layout::window();
  const Layout batch_transposed = Layout::permuted({0, 2, 1});
  Layout transposed_window = transposed;
  transposed_window.row_gap = 3;
  transposed_window.offset = 1;
  const std::vector<Product> products = {
      {"1x1x1", 1, 1, 1, plain, plain},
      {"awkward", 33, 65, 7, plain, plain},
      {"awkward_bias_relu", 7, 33, 65, plain, plain, true, Activation::relu},
      {"long_k", 5, 9, 515, plain, plain},
      {"row_vector", 1, 33, 65, plain, plain, true},
      {"column_vector", 65, 1, 33, plain, plain, true},
      {"inner_product", 1, 1, 129, plain, plain},
      {"outer_product", 33, 17, 1, plain, plain},
      {"linear", 33, 10, 65, plain, transposed, true},
      {"a_transposed", 17, 33, 9, transposed, plain},
      {"both_transposed", 17, 9, 33, transposed, transposed, true, Activation::relu},
      {"windows", 9, 17, 33, window, window, true},
      {"aligned", 64, 64, 64, plain, plain},
      {"tile_plus_one", 65, 129, 33, plain, plain},
      {"empty_rows", 0, 9, 5, plain, plain, true},
      {"empty_columns", 5, 0, 9, plain, plain},
      {"empty_k", 5, 9, 0, plain, plain},
      {"empty_k_bias_relu", 5, 9, 0, plain, plain, true, Activation::relu},
      {"batch", 7, 9, 17, plain, plain, false, Activation::none, {3}},
      {"batch_bias", 7, 9, 17, plain, plain, true, Activation::relu, {3}},
      {"batch_of_two_ranks", 5, 7, 9, plain, plain, false, Activation::none, {2, 3}},
      {"batch_b_transposed", 7, 9, 17, plain, batch_transposed, false, Activation::none, {3}},
      {"batch_a_transposed", 7, 9, 17, batch_transposed, plain, false, Activation::none, {3}},
      {"batch_b_shared", 7, 9, 17, plain, Layout::expanded({0}), false, Activation::none, {3}},
      {"batch_a_shared", 7, 9, 17, Layout::expanded({0}), plain, true, Activation::none, {3}},
      {"batch_outer_broadcast", 5, 7, 9, Layout::expanded({0}), Layout::expanded({1}), false, Activation::none, {2, 3}},
      {"batch_middle", 5, 7, 9, Layout::permuted({1, 0, 2}), plain, false, Activation::none, {3}},
      {"empty_batch", 5, 7, 9, plain, plain, false, Activation::none, {0}},
      // A long K over few results, which may be cut into parts that are added afterwards.
      {"long_k_aligned", 33, 40, 1025, plain, plain, true, Activation::relu},
      {"long_k_both_contiguous", 7, 33, 1032, plain, transposed},
      {"long_k_weight_gradient", 33, 65, 700, transposed, plain},
      {"long_k_batch", 17, 9, 600, plain, plain, true, Activation::none, {2}},
      {"long_k_vector", 1, 65, 2049, plain, plain, true},
      // Rows that begin at multiples of 4 bytes in every dtype, and at odd elements.
      {"even_rows", 65, 18, 34, plain, plain, true},
      {"even_rows_transposed", 66, 70, 34, transposed, transposed},
      {"windows_over_tiles", 65, 70, 67, window, window, true, Activation::relu},
      {"transposed_windows", 33, 65, 35, transposed_window, transposed_window},
      {"row_vector_windows", 1, 33, 65, window, transposed_window},
      {"column_vector_windows", 65, 1, 33, transposed_window, window},
      {"outer_product_windows", 33, 17, 1, transposed_window, transposed_window},
      // Sizes at the edges of tiles of 32, 64 and 128, and more tiles than are ordered in one group.
      {"many_rows", 600, 10, 20, plain, plain, true},
      {"many_columns", 10, 600, 20, transposed, plain},
      {"one_less_than_tiles", 63, 127, 31, plain, plain},
      {"middle_tiles", 65, 70, 19, plain, plain, true, Activation::relu, {8}},
      {"middle_tiles_both_transposed", 72, 65, 24, batch_transposed, batch_transposed, false, Activation::none, {8}},
      {"large_tiles", 129, 136, 17, plain, plain, true, Activation::relu, {24}},
      {"large_tiles_b_transposed", 129, 130, 17, plain, batch_transposed, true, Activation::none, {24}},
      {"large_tiles_a_transposed", 136, 129, 17, batch_transposed, plain, false, Activation::none, {24}},
      {"large_tiles_both_transposed", 129, 129, 16, batch_transposed, batch_transposed, false, Activation::relu, {24}},
  };
  std::vector<OpCase> cases;
  for (const Product& p : products)
    cases.push_back(op_case(p.variant, kFloats, sum_of(p.k), [p](Maker& make) {
      MatmulArgs args;
      args.a = make.input(batched(p.batch, p.m, p.k), p.a);
      args.b = make.input(batched(p.batch, p.k, p.n), p.b);
      if (p.bias) args.bias = make.input({p.n});
      args.y = make.output("y", batched(p.batch, p.m, p.n));
      args.activation = p.activation;
      return args;
    }));
  for (Activation activation : {Activation::none, Activation::relu})
    cases.push_back(op_case(activation == Activation::relu ? "nan_and_inf_relu" : "nan_and_inf", kFloats, sum_of(17),
                            [=](Maker& make) {
                              MatmulArgs args;
                              args.a = make.input({9, 17});
                              args.b = make.input({17, 7}, {}, 0.5, 1);
                              make.sprinkle(args.a, 61, std::numeric_limits<double>::quiet_NaN());
                              make.sprinkle(args.a, 131, std::numeric_limits<double>::infinity());
                              args.y = make.output("y", {9, 7});
                              args.activation = activation;
                              return args;
                            }));
  // With the sums of a's rows: one or several tiles, and parts of K; rows and columns of a contiguous.
  struct Sums {
    const char* variant;
    std::int64_t m, n, k;
    bool transposed;
  };
  for (const Sums& p : std::vector<Sums>{{"row_sums", 33, 17, 5, false},
                                         {"row_sums_of_columns", 40, 33, 65, true},
                                         {"row_sums_of_many_tiles", 300, 200, 35, true},
                                         {"row_sums_long_k", 33, 65, 700, true},
                                         {"row_sums_longer_k", 5, 9, 4200, false},
                                         {"row_sums_one_column", 70, 1, 64, true},
                                         {"row_sums_no_k", 7, 5, 0, false}})
    cases.push_back(op_case(p.variant, kFloats, sum_of(p.k), [p](Maker& make) {
      MatmulArgs args;
      args.a = make.input({p.m, p.k}, p.transposed ? Layout::permuted({1, 0}) : Layout{});
      args.b = make.input({p.k, p.n});
      args.y = make.output("y", {p.m, p.n});
      args.a_sums = make.output("a_sums", {p.m});
      return args;
    }));
  // The same tag twice with the same contents: a packed copy may be kept, and gives the same result.
  cases.push_back(op_case("tagged_weight", kF32, sum_of(33), [](Maker& make) {
    MatmulArgs args;
    args.a = make.input({17, 33});
    args.b = make.input({33, 9}, Layout::permuted({1, 0}));
    args.y = make.output("y", {17, 9});
    args.b_tag = 0x7e57000000000001ull;
    return args;
  }));
  return cases;
}

GRAFT_OP_CASES(Matmul, matmul_cases());

}  // namespace
}  // namespace graft::test
