// Element-wise maps, copies and transpositions, chains, reductions, optimisers.
#include "large/large.h"

namespace graft::test::large {
namespace {

using kernels::BinaryOp;
using kernels::ChainStep;
using kernels::ReduceOp;
using kernels::UnaryOp;

// 64 Mi elements, as the benchmarks; in the emulator enough for several rounds of several blocks, and no whole vectors.
std::int64_t rows() { return small_sizes() ? 37 : 65536; }
Shape matrix() { return {rows(), 1024}; }

void add_unary(Cases& cases, const char* name, UnaryOp op, int roundings, double low, double high) {
  cases.add(std::string("unary_") + name, kAll, [=](Tensors& make) {
    kernels::UnaryArgs args;
    args.op = op;
    args.x = make.input(matrix(), low, high).ref();
    args.y = make.output("y", matrix(), make.after(roundings)).ref();
    return std::vector{step(args)};
  });
  cases.add(std::string("unary_backward_") + name, kAll, [=](Tensors& make) {
    kernels::UnaryBackwardArgs args;
    args.op = op;
    args.saved = make.input(matrix(), backward_uses_output(op) ? 0.1 : low, backward_uses_output(op) ? 0.9 : high).ref();
    args.gy = make.input(matrix()).ref();
    args.gx = make.output("gx", matrix(), make.after(roundings + 4)).ref();
    return std::vector{step(args)};
  });
}

void add_maps(Cases& cases) {
  // Functions of CUDA's library count four, each other operation one; gelu's and silu's arguments are off by a few u
  // themselves, which the functions pass on at most fourfold within +-3.
  add_unary(cases, "relu", UnaryOp::relu, 0, -1, 1);
  add_unary(cases, "exp", UnaryOp::exp, 4, -2, 2);
  add_unary(cases, "log", UnaryOp::log, 4, 0.1, 0.5);
  add_unary(cases, "gelu", UnaryOp::gelu, 16, -3, 3);
  add_unary(cases, "gelu_tanh", UnaryOp::gelu_tanh, 24, -3, 3);
  add_unary(cases, "sigmoid", UnaryOp::sigmoid, 8, -4, 4);
  add_unary(cases, "tanh", UnaryOp::tanh, 4, -2, 2);
  add_unary(cases, "silu", UnaryOp::silu, 12, -3, 3);
  add_unary(cases, "hardswish", UnaryOp::hardswish, 4, -4, 4);
  for (const auto& [name, op] : {std::pair{"add", BinaryOp::add}, {"mul", BinaryOp::mul}, {"div", BinaryOp::div}})
    for (const bool row : {false, true})
      cases.add(std::string("binary_") + name + (row ? "_row" : ""), kAll, [=, which = op](Tensors& make) {
        kernels::BinaryArgs args;
        args.op = which;
        args.a = make.input(matrix()).ref();
        args.b = row ? make.input({1024}, 0.5, 1.5).as_strided(matrix(), {0, 1}, 0).ref()
                     : make.input(matrix(), 0.5, 1.5).ref();
        args.y = make.output("y", matrix(), make.after(2)).ref();
        return std::vector{step(args)};
      });
  cases.add("binary_scalar", kAll, [](Tensors& make) {
    kernels::BinaryScalarArgs args;
    args.op = BinaryOp::mul;
    args.x = make.input(matrix()).ref();
    args.scalar = 0.75;
    args.y = make.output("y", matrix(), make.after(2)).ref();
    return std::vector{step(args)};
  });
  cases.add("axpy", kAll, [](Tensors& make) {
    const Tensor x = make.input(matrix()), y = make.input(matrix());
    return std::vector{step(kernels::AxpyArgs{0.75, x.ref(), make.in_out("y", y, make.after(3)).ref()})};
  });
  cases.add("fill", kAll, [](Tensors& make) {
    return std::vector{step(kernels::FillArgs{0.75, make.output("y", matrix(), 0).ref()})};
  });
}

Step copy(const Tensor& x, const Tensor& y) { return step(kernels::CopyArgs{x.ref(), y.ref()}); }

void add_copies(Cases& cases) {
  cases.add("copy", kAll, [](Tensors& make) {
    const Tensor x = make.input(matrix());
    return std::vector{copy(x, make.output("y", matrix(), 0))};
  });
  cases.add("copy_transposed", kAll, [](Tensors& make) {
    const std::int64_t m = small_sizes() ? 130 : 8192, n = small_sizes() ? 203 : 8200;
    const Tensor x = make.input({n, m}).as_strided({m, n}, {1, m}, 0);
    return std::vector{copy(x, make.output("y", {m, n}, 0))};
  });
  cases.add("copy_transposed_batch", kAll, [](Tensors& make) {
    const std::int64_t b = small_sizes() ? 5 : 1024, m = small_sizes() ? 66 : 196, n = small_sizes() ? 70 : 256;
    const Tensor x = make.input({b, n, m}).as_strided({b, m, n}, {m * n, 1, m}, 0);
    return std::vector{copy(x, make.output("y", {b, m, n}, 0))};
  });
  cases.add("copy_heads", kAll, [](Tensors& make) {  // (batch, place, head, feature) to (batch, head, place, feature)
    const std::int64_t b = small_sizes() ? 3 : 64, p = small_sizes() ? 19 : 1024, h = small_sizes() ? 5 : 16, f = 64;
    const Tensor x = make.input({b, p, h, f}).as_strided({b, h, p, f}, {p * h * f, f, h * f, 1}, 0);
    return std::vector{copy(x, make.output("y", {b, h, p, f}, 0))};
  });
  cases.add("copy_reversed", kAll, [](Tensors& make) {
    const std::int64_t a = small_sizes() ? 7 : 64, b = small_sizes() ? 9 : 96, c = small_sizes() ? 11 : 80, d = 64;
    const Tensor x = make.input({d, c, b, a}).as_strided({a, b, c, d}, {1, a, a * b, a * b * c}, 0);
    return std::vector{copy(x, make.output("y", {a, b, c, d}, 0))};
  });
  const Shape images = small_sizes() ? Shape{3, 70, 9, 11} : Shape{1024, 64, 32, 32};
  cases.add("copy_nchw_to_nhwc", kAll, [=](Tensors& make) {
    const Tensor x = make.input(images);
    return std::vector{copy(x, make.output_images("y", images, 0))};
  });
  cases.add("copy_nhwc_to_nchw", kAll, [=](Tensors& make) {
    const Tensor x = make.images(images);
    return std::vector{copy(x, make.output("y", images, 0))};
  });
  for (const auto& [to, bound] : {std::pair{DType::bf16, 0x1p-8}, {DType::f16, 0x1p-11}, {DType::f32, 0.0}})
    cases.add(std::string("copy_to_") + name(to), kAll, [target = to, rounding = bound](Tensors& make) {
      const Tensor x = make.input(matrix());
      const DType dtype = make.dtype() == DType::f64 ? DType::f64 : target;
      return std::vector{copy(x, make.output_of(dtype, "y", matrix(), target == make.tested() ? 0 : rounding))};
    });
}

// The steps; `second` tells what the tensors after x are.
using Build = std::function<kernels::ChainSteps(const std::vector<TensorRef>&)>;
void add_chain(Cases& cases, const std::string& name, int tensors, int roundings, bool backward, const Build& build) {
  cases.add("chain_" + name, kAll, [=](Tensors& make) {
    kernels::ChainArgs args;
    args.x = make.input(matrix()).ref();
    std::vector<TensorRef> others;
    for (int i = 1; i < tensors; ++i) others.push_back(make.input(matrix(), 0.5, 1.5).ref());
    args.steps = build(others);
    args.y = make.output("y", matrix(), make.after(roundings)).ref();
    if (!backward) return std::vector{step(args)};
    kernels::ChainBackwardArgs back;
    back.x = args.x;
    back.y = args.y;
    back.gy = make.input(matrix()).ref();
    back.steps = args.steps;
    // What is recomputed is off by `roundings`, and so is what the steps' derivatives are taken at.
    back.gx = make.output("gx", matrix(), make.after(3 * roundings)).ref();
    for (int i = 0, next = 0; i < args.steps.count; ++i)
      if (args.steps[i].kind == ChainStep::Kind::tensor)
        back.gtensors[static_cast<std::size_t>(i)] =
            make.output("gtensor" + std::to_string(++next), matrix(), make.after(3 * roundings)).ref();
    return std::vector{step(args), step(back)};
  });
}

// No ReLU where the backward is compared: of 64 Mi sums a few are so near to zero that their sign is chance.
void add_chains(Cases& cases) {
  add_chain(cases, "scale_shift_relu", 1, 4, false, [](const std::vector<TensorRef>&) {
    return kernels::ChainSteps{ChainStep::of(BinaryOp::mul, 0.5), ChainStep::of(BinaryOp::add, 0.1),
                               ChainStep::of(UnaryOp::relu)};
  });
  add_chain(cases, "residual_relu", 2, 2, false, [](const std::vector<TensorRef>& t) {
    return kernels::ChainSteps{ChainStep::of(BinaryOp::add, t[0]), ChainStep::of(UnaryOp::relu)};
  });
  add_chain(cases, "add_gelu_add", 3, 20, true, [](const std::vector<TensorRef>& t) {
    return kernels::ChainSteps{ChainStep::of(BinaryOp::add, t[0]), ChainStep::of(UnaryOp::gelu),
                               ChainStep::of(BinaryOp::add, t[1])};
  });
  add_chain(cases, "quotient", 2, 4, true, [](const std::vector<TensorRef>& t) {
    return kernels::ChainSteps{ChainStep::of(BinaryOp::div, t[0])};
  });
}

// Numbers of one sign: a sum of both would be near zero by chance. Means over all, as a sum is beyond f16.
void add_reductions(Cases& cases) {
  for (const auto& [name, op] : {std::pair{"sum", ReduceOp::sum}, {"mean", ReduceOp::mean}, {"max", ReduceOp::max}})
    for (const auto& [axes, shape] :
         {std::pair{"all", Shape{1, 1}}, {"rows", Shape{rows(), 1}}, {"columns", Shape{1, 1024}}}) {
      if (op == ReduceOp::sum && shape[0] == 1 && shape[1] == 1) continue;
      cases.add(std::string("reduce_") + name + "_" + axes, kAll, [which = op, reduced = shape](Tensors& make) {
        kernels::ReduceArgs args;
        args.op = which;
        args.x = make.input(matrix(), 0, 1).ref();
        const std::int64_t terms = rows() * 1024 / reduced.numel();
        args.y = make.output("y", reduced, which == ReduceOp::max ? 0 : make.sum(terms, 1)).ref();
        return std::vector{step(args)};
      });
    }
  cases.add("squared_norm", kAll, [](Tensors& make) {
    const std::vector<TensorRef> tensors = {make.input(matrix()).ref(), make.input({1001}).ref(),
                                            make.input({512, 999}).ref()};
    kernels::SquaredNormArgs args;
    args.count = 3;
    args.tensors = make.keep(tensors);
    // Squares in float at worst; the sum is f64.
    args.y = make.output_of(DType::f64, "y", {}, Tensors::wide_after(1)).ref();
    return std::vector{step(args)};
  });
}

// A network's list of parameters; beside bf16 and f16 the value that is trained is f32. What a step changes is of the
// order of the parameter itself, so that an error in it shows.
template <class Args>
std::vector<Step> update(Tensors& make, Args args, bool second, double weight_decay) {
  std::vector<std::int64_t> sizes = {864, 32, 1 << 20, 4097, 1000, 3 << 18, 10, 36864, 128, 294912};
  if (small_sizes()) sizes = {864, 32, 5000, 4097, 10};
  const bool half = make.tested() != DType::f32;
  std::vector<kernels::OptimParam> params;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const std::string at = std::to_string(i);
    const Shape shape = {sizes[i]};
    kernels::OptimParam p;
    const Tensor value = half ? make.wide_input(shape) : make.input(shape);
    if (half) {
      p.master = make.in_out("master" + at, value, Tensors::wide_after(16)).ref();
      p.param = make.output("param" + at, shape, make.after(16)).ref();
    } else {
      p.param = make.in_out("param" + at, value, make.after(16)).ref();
    }
    p.grad = make.input(shape).ref();
    p.state0 = make.in_out("state0_" + at, make.wide_input(shape, -0.5, 0.5), Tensors::wide_after(6)).ref();
    if (second) p.state1 = make.in_out("state1_" + at, make.wide_input(shape, 0.1, 1), Tensors::wide_after(6)).ref();
    p.lr = 0.1;
    p.weight_decay = weight_decay;
    p.step = 10;
    params.push_back(p);
  }
  args.count = static_cast<std::int64_t>(params.size());
  args.params = make.keep(std::move(params));
  return {step(args)};
}

std::vector<Case> map_cases() {
  Cases cases;
  add_maps(cases);
  add_copies(cases);
  add_chains(cases);
  add_reductions(cases);
  return cases;
}

std::vector<Case> optim_cases() {
  Cases cases;
  cases.add("sgd_momentum", kAll, [](Tensors& make) {
    kernels::SgdArgs args;
    args.momentum = 0.9;
    return update(make, args, false, 0.01);
  });
  for (const bool decoupled : {false, true})
    cases.add(decoupled ? "adamw" : "adam", kAll, [=](Tensors& make) {
      kernels::AdamArgs args;
      args.decoupled = decoupled;
      return update(make, args, true, 0.01);
    });
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Maps, Large, testing::ValuesIn(map_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Optim, Large, testing::ValuesIn(optim_cases()), case_name);

}  // namespace
}  // namespace graft::test::large
