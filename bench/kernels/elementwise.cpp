// unary, binary, axpy, fill, copy, chains and reduce over 4 Mi floats: the bytes a second they move. "copy" is what the
// others are measured by. For "separate", the same steps as single ops, the bytes are those that the chain needs.
#include <support.h>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/fused.h>
#include <graft/core/ops/raw.h>
#include <graft/core/random.h>

namespace graft::bench {
namespace {

constexpr std::int64_t kElements = 4 << 20;
constexpr double kBytes = 4.0 * kElements;

void add_unary(const char* what, kernels::UnaryOp op) {
  add(std::string("unary/") + what, {.bytes = 2 * kBytes}, [=] {
    const Tensor x = randn({kElements}), y = x.empty_like();
    return [=] { raw::run(kernels::UnaryArgs{op, x.ref(), y.ref()}, x); };
  });
}

void add_copy(const char* what, double moved, const std::function<std::pair<Tensor, Tensor>()>& make) {
  add(std::string("copy/") + what, {.bytes = moved}, [=] {
    const auto [x, y] = make();
    return [x, y] { raw::run(kernels::CopyArgs{x.ref(), y.ref()}, x); };
  });
}

/// A chain of steps and the same steps one by one, without recording and with the backward.
void add_chain(const char* what, int tensors, const std::function<Tensor(const std::vector<Tensor>&)>& chain,
               const std::function<Tensor(const std::vector<Tensor>&)>& separate, const Shape& second = {}) {
  const auto inputs = [=] {
    const Shape shape = {kElements / 1024, 1024};
    std::vector<Tensor> all;
    for (int i = 0; i < tensors; ++i) all.push_back(randn(i == 1 && second.rank() > 0 ? second : shape));
    return all;
  };
  const double large = tensors - (second.rank() > 0 ? 1 : 0);
  for (const bool fuse : {true, false}) {
    const auto& f = fuse ? chain : separate;
    const std::string side = fuse ? "/fused" : "/separate";
    add(cat("chain/", what, side), {.bytes = (large + 1) * kBytes}, [=] {
      const auto x = inputs();
      return [=] {
        const NoGrad no_grad;
        f(x);
      };
    });
    add(cat("chain/forward_backward/", what, side), {.bytes = (3 * large + 2) * kBytes}, [=] {
      auto x = inputs();
      for (Tensor& t : x) t.requires_grad_();
      const Tensor gy = randn(x[0].shape());
      return [=]() mutable {
        f(x).backward(gy);
        for (Tensor& t : x) t.set_grad({});
      };
    });
  }
}

using Tensors = std::vector<Tensor>;

void add_chains() {
  add_chain(
      "scale_shift_relu", 1, [](const Tensors& t) { return fused(t[0]).mul(0.5).add(0.1).relu().run(); },
      [](const Tensors& t) { return relu(t[0] * 0.5 + 0.1); });
  add_chain(
      "residual_relu", 2, [](const Tensors& t) { return fused(t[0]).add(t[1]).relu().run(); },
      [](const Tensors& t) { return relu(t[0] + t[1]); });
  add_chain(
      "bias_gelu_residual", 3, [](const Tensors& t) { return fused(t[0]).add(t[1]).gelu().add(t[2]).run(); },
      [](const Tensors& t) { return gelu(t[0] + t[1]) + t[2]; }, {1024});
  add_chain(
      "quotient", 2, [](const Tensors& t) { return fused(t[0]).div(t[1]).run(); },
      [](const Tensors& t) { return t[0] / t[1]; });
}

}  // namespace

void add_elementwise() {
  add_copy("f32", 2 * kBytes, [] { return std::pair{randn({kElements}), Tensor::empty({kElements})}; });
  add_copy("nchw_to_nhwc", 2 * kBytes, [] {
    return std::pair{randn({64, 64, 32, 32}),
                     Tensor::empty({64, 64, 32, 32}, DType::f32, Device::cpu(), MemoryFormat::channels_last)};
  });
  add_copy("f32_to_bf16", 1.5 * kBytes, [] {
    return std::pair{randn({kElements}), Tensor::empty({kElements}, DType::bf16)};
  });
  add_unary("relu", kernels::UnaryOp::relu);
  add_unary("exp", kernels::UnaryOp::exp);
  add_unary("gelu", kernels::UnaryOp::gelu);
  add_unary("sigmoid", kernels::UnaryOp::sigmoid);
  add("unary_backward/relu", {.bytes = 3 * kBytes}, [] {
    const Tensor y = randn({kElements}), gy = randn({kElements}), gx = y.empty_like();
    return [=] { raw::run(kernels::UnaryBackwardArgs{kernels::UnaryOp::relu, y.ref(), gy.ref(), gx.ref()}, y); };
  });
  add("binary/add", {.bytes = 3 * kBytes}, [] {
    const Tensor a = randn({kElements}), b = randn({kElements}), y = a.empty_like();
    return [=] { raw::run(kernels::BinaryArgs{kernels::BinaryOp::add, a.ref(), b.ref(), y.ref()}, y); };
  });
  add("binary/add_row", {.bytes = 2 * kBytes}, [] {
    const Tensor a = randn({kElements / 1024, 1024}), b = randn({1024}), y = a.empty_like();
    const Tensor rows = raw::expand(b, a.shape(), "add");
    return [=] { raw::run(kernels::BinaryArgs{kernels::BinaryOp::add, a.ref(), rows.ref(), y.ref()}, y); };
  });
  add("axpy", {.bytes = 3 * kBytes}, [] {
    const Tensor x = randn({kElements}), y = randn({kElements});
    return [=] { raw::run(kernels::AxpyArgs{1e-9, x.ref(), y.ref()}, y); };
  });
  add("fill", {.bytes = kBytes}, [] {
    const Tensor y = Tensor::empty({kElements});
    return [=] { raw::run(kernels::FillArgs{1, y.ref()}, y); };
  });
  add_chains();
  for (const char* axis : {"all", "rows", "columns"}) {
    add(std::string("reduce/sum_") + axis, {.bytes = kBytes}, [axis = std::string(axis)] {
      const Tensor x = randn({kElements / 1024, 1024});
      const unsigned axes = axis == "all" ? 0b11u : (axis == "rows" ? 0b10u : 0b01u);
      return [=] { raw::reduce(kernels::ReduceOp::sum, x, axes); };
    });
  }
  add("random/uniform", {.items = kElements, .bytes = kBytes}, [] {
    Tensor y = Tensor::empty({kElements});
    return [=]() mutable { uniform_(y, 0, 1); };
  });
  add("random/normal", {.items = kElements, .bytes = kBytes}, [] {
    Tensor y = Tensor::empty({kElements});
    return [=]() mutable { normal_(y, 0, 1); };
  });
}

}  // namespace graft::bench
