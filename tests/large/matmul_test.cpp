// Products: square ones in every transposition, those of the strokes network and of ResNet-50's last layer.
#include "large/large.h"

namespace graft::test::large {
namespace {

enum class Kind { nn, tn, nt, tt };  // t: the operand lies transposed

struct Product {
  std::int64_t batch, m, k, n;
  bool bias_relu = false;
};

std::vector<Step> product(Tensors& make, const Product& p, Kind kind) {
  const auto operand = [&](std::int64_t rows, std::int64_t columns, bool transposed) {
    if (!transposed) return make.input({p.batch, rows, columns});
    return make.input({p.batch, columns, rows}).as_strided({p.batch, rows, columns}, {rows * columns, 1, rows}, 0);
  };
  const Tensor a = operand(p.m, p.k, kind == Kind::tn || kind == Kind::tt),
               b = operand(p.k, p.n, kind == Kind::nt || kind == Kind::tt),
               y = make.output("y", {p.batch, p.m, p.n}, make.dot(p.k, p.bias_relu ? 1 : 0));
  kernels::MatmulArgs args{.a = a.ref(), .b = b.ref(), .bias = {}, .y = y.ref()};
  if (p.bias_relu) {
    args.bias = make.input({p.n}).ref();
    args.activation = kernels::Activation::relu;
  }
  return {step(args)};
}

void add(Cases& cases, const std::string& name, const Product& p, std::initializer_list<Kind> kinds,
         const std::vector<DType>& dtypes = kAll) {
  const char* const names[] = {"nn", "tn", "nt", "tt"};
  for (const Kind kind : kinds)
    cases.add("matmul_" + name + "_" + names[static_cast<int>(kind)], dtypes,
              [=](Tensors& make) { return product(make, p, kind); });
}

std::vector<Case> cases() {
  using enum Kind;
  const auto all = {nn, tn, nt, tt};
  Cases cases;
  if (small_sizes()) {
    // 96 tiles of 128 x 128 (matmul.cuh: fills), 32 of 64 x 64, fewer; depths of six and more steps of 16 (f32) or 32.
    add(cases, "tiles_of_128", {24, 130, 86, 132}, all, {DType::f32});
    add(cases, "tiles_of_128", {24, 130, 168, 132}, all, {DType::bf16, DType::f16});
    add(cases, "tiles_of_128_bias_relu", {24, 129, 163, 131, true}, {nn}, {DType::f32, DType::bf16});
    add(cases, "tiles_of_64", {8, 100, 86, 104}, all, {DType::f32});
    add(cases, "tiles_of_64", {2, 100, 168, 104}, all, {DType::bf16, DType::f16});
    add(cases, "tiles_of_32", {1, 40, 86, 36}, all, {DType::f32});
    add(cases, "split", {1, 72, 2056, 40}, all);  // of K into parts of eight steps and more
    return cases;
  }
  add(cases, "4096", {1, 4096, 4096, 4096}, {nn, tn, nt});
  add(cases, "2048", {1, 2048, 2048, 2048}, all);
  add(cases, "1024", {1, 1024, 1024, 1024}, {nn});
  add(cases, "512", {1, 512, 512, 512}, {nn});
  add(cases, "2047x2049x2051", {1, 2047, 2049, 2051}, all);
  add(cases, "batch_64", {64, 384, 264, 392}, all);
  add(cases, "strokes_fc1", {1, 128, 1152, 256}, {nn, tn, nt});
  add(cases, "resnet50_fc", {1, 256, 2048, 1000}, {nn, tn, nt});
  add(cases, "4096_bias_relu", {1, 4096, 4096, 4096, true}, {nn});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Matmul, Large, testing::ValuesIn(cases()), case_name);

}  // namespace
}  // namespace graft::test::large
