// unary, binary, axpy, fill, copy, chains and reduce over 4 Mi elements, on a GPU 64 Mi (more than its L2 cache holds):
// the bytes a second they move. "copy" is what the others are measured by. For "separate", the same steps as single ops,
// the bytes are those that the chain needs.
#include <support.h>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/fused.h>
#include <graft/core/ops/raw.h>
#include <graft/core/random.h>

namespace graft::bench {
namespace {


std::int64_t elements(const Place& place) { return place.device.is_cpu() ? 4 << 20 : emulated() ? 64 << 10 : 64 << 20; }
double all_bytes(const Place& place) { return place.element() * static_cast<double>(elements(place)); }
Shape rows_of_1024(const Place& place) { return {elements(place) / 1024, 1024}; }
Tensor vector(const Place& place) { return place.randn({elements(place)}); }

void add_unary(const Place& place, const char* what, kernels::UnaryOp op) {
  add(place, place.name("unary", what), {.bytes = 2 * all_bytes(place)}, [=] {
    const Tensor x = vector(place), y = x.empty_like();
    return [=] { raw::run(kernels::UnaryArgs{op, x.ref(), y.ref()}, x); };
  });
}

void add_copy(const Place& place, const char* what, double moved,
              const std::function<std::pair<Tensor, Tensor>()>& make) {
  add(place, place.name("copy", what), {.bytes = moved}, [=] {
    const auto [x, y] = make();
    return [from = x, to = y] { raw::run(kernels::CopyArgs{from.ref(), to.ref()}, from); };
  });
}

void add_copies(const Place& place) {
  const double once = all_bytes(place);
  add_copy(place, graft::name(place.dtype), 2 * once,
           [=] { return std::pair{vector(place), Tensor::empty({elements(place)}, place.dtype, place.device)}; });
  add_copy(place, "nchw_to_nhwc", 2 * once, [=] {
    const Shape images = {elements(place) >> 16, 64, 32, 32};
    return std::pair{place.randn(images), place.empty_images(images)};
  });
  if (place.dtype != DType::f32) return;
  add_copy(place, "f32_to_bf16", 1.5 * once,
           [=] { return std::pair{vector(place), Tensor::empty({elements(place)}, DType::bf16, place.device)}; });
}

/// A chain of steps and the same steps one by one, without recording and with the backward.
void add_chain(const Place& place, const std::string& what, int tensors,
               const std::function<Tensor(const std::vector<Tensor>&)>& chain,
               const std::function<Tensor(const std::vector<Tensor>&)>& separate, const Shape& second = {}) {
  const auto inputs = [=] {
    std::vector<Tensor> all;
    for (int i = 0; i < tensors; ++i)
      all.push_back(place.randn(i == 1 && second.rank() > 0 ? second : rows_of_1024(place)));
    return all;
  };
  const double large = tensors - (second.rank() > 0 ? 1 : 0);
  for (const bool fuse : {true, false}) {
    const auto& f = fuse ? chain : separate;
    const std::string side = fuse ? "/fused" : "/separate";
    add(place, place.name("chain", what + side), {.bytes = (large + 1) * all_bytes(place)}, [=] {
      const auto x = inputs();
      return [=] {
        const NoGrad no_grad;
        f(x);
      };
    });
    add(place, place.name("chain", "forward_backward/" + what + side), {.bytes = (3 * large + 2) * all_bytes(place)},
        [=] {
          auto x = inputs();
          for (Tensor& t : x) t.requires_grad_();
          const Tensor gy = place.randn(x[0].shape());
          return [=]() mutable {
            f(x).backward(gy);
            for (Tensor& t : x) t.set_grad({});
          };
        });
  }
}

using Tensors = std::vector<Tensor>;

void add_chains(const Place& place) {
  add_chain(
      place, "scale_shift_relu", 1, [](const Tensors& t) { return fused(t[0]).mul(0.5).add(0.1).relu().run(); },
      [](const Tensors& t) { return relu(t[0] * 0.5 + 0.1); });
  add_chain(
      place, "residual_relu", 2, [](const Tensors& t) { return fused(t[0]).add(t[1]).relu().run(); },
      [](const Tensors& t) { return relu(t[0] + t[1]); });
  add_chain(
      place, "bias_gelu_residual", 3, [](const Tensors& t) { return fused(t[0]).add(t[1]).gelu().add(t[2]).run(); },
      [](const Tensors& t) { return gelu(t[0] + t[1]) + t[2]; }, {1024});
  add_chain(
      place, "quotient", 2, [](const Tensors& t) { return fused(t[0]).div(t[1]).run(); },
      [](const Tensors& t) { return t[0] / t[1]; });
}

void add_maps(const Place& place) {
  const double once = all_bytes(place);
  add_unary(place, "relu", kernels::UnaryOp::relu);
  add_unary(place, "exp", kernels::UnaryOp::exp);
  add_unary(place, "gelu", kernels::UnaryOp::gelu);
  add_unary(place, "sigmoid", kernels::UnaryOp::sigmoid);
  add(place, place.name("unary_backward", "relu"), {.bytes = 3 * once}, [=] {
    const Tensor y = vector(place), gy = vector(place), gx = y.empty_like();
    return [=] { raw::run(kernels::UnaryBackwardArgs{kernels::UnaryOp::relu, y.ref(), gy.ref(), gx.ref()}, y); };
  });
  add(place, place.name("binary", "add"), {.bytes = 3 * once}, [=] {
    const Tensor a = vector(place), b = vector(place), y = a.empty_like();
    return [=] { raw::run(kernels::BinaryArgs{kernels::BinaryOp::add, a.ref(), b.ref(), y.ref()}, y); };
  });
  add(place, place.name("binary", "add_row"), {.bytes = 2 * once}, [=] {
    const Tensor a = place.randn(rows_of_1024(place)), b = place.randn({1024}), y = a.empty_like();
    const Tensor rows = raw::expand(b, a.shape(), "add");
    return [=] { raw::run(kernels::BinaryArgs{kernels::BinaryOp::add, a.ref(), rows.ref(), y.ref()}, y); };
  });
  add(place, place.name("binary", "axpy"), {.bytes = 3 * once}, [=] {
    const Tensor x = vector(place), y = vector(place);
    return [=] { raw::run(kernels::AxpyArgs{1e-9, x.ref(), y.ref()}, y); };
  });
  add(place, place.name("unary", "fill"), {.bytes = once}, [=] {
    const Tensor y = vector(place);
    return [=] { raw::run(kernels::FillArgs{1, y.ref()}, y); };
  });
}

void add_reductions(const Place& place) {
  for (const char* axis : {"all", "rows", "columns"}) {
    add(place, place.name("reduce", std::string("sum_") + axis), {.bytes = all_bytes(place)},
        [=, axis = std::string(axis)] {
          const Tensor x = place.randn(rows_of_1024(place));
          const unsigned axes = axis == "all" ? 0b11u : (axis == "rows" ? 0b10u : 0b01u);
          return [=] { raw::reduce(kernels::ReduceOp::sum, x, axes); };
        });
  }
}

void add_random(const Place& place) {
  const Work work{.items = static_cast<double>(elements(place)), .bytes = all_bytes(place)};
  add(place, place.name("random", "uniform"), work, [=] {
    Tensor y = vector(place);
    return [=]() mutable { uniform_(y, 0, 1); };
  });
  add(place, place.name("random", "normal"), work, [=] {
    Tensor y = vector(place);
    return [=]() mutable { normal_(y, 0, 1); };
  });
}

}  // namespace

void add_elementwise() {
  for (const Place& place : own_places()) {
    add_copies(place);
    add_maps(place);
    add_chains(place);
    add_reductions(place);
    add_random(place);
  }
}

}  // namespace graft::bench
