#include <graft/kernels/api/matmul.h>

#include <utility>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/nn.h>
#include <graft/core/ops/raw.h>
#include <graft/core/ops/view.h>
#include <graft/core/tensor_state.h>

namespace graft {
namespace {

using kernels::MatmulArgs;
using kernels::ReduceOp;

/// x itself if one of its two matrix dimensions has unit stride, else a row-major copy.
Tensor as_operand(const Tensor& x) {
  const int last = x.dim() - 1;
  const auto unit = [&](int i) { return x.strides()[i] == 1 || x.shape()[i] == 1; };
  return x.numel() == 0 || unit(last) || unit(last - 1) ? x : raw::with_format(x, MemoryFormat::contiguous);
}

/// View with the two matrix dimensions swapped.
Tensor swapped(const Tensor& x) {
  Shape shape = x.shape(), strides = x.strides();
  std::swap(shape[x.dim() - 1], shape[x.dim() - 2]);
  std::swap(strides[x.dim() - 1], strides[x.dim() - 2]);
  return make_view(x, shape, strides, x.storage_offset());
}

Shape batch_of(const Tensor& x) { return Shape(std::span(x.shape().begin(), static_cast<std::size_t>(x.dim() - 2))); }

Shape with_matrix(Shape batch, std::int64_t rows, std::int64_t columns) {
  batch.push_back(rows);
  batch.push_back(columns);
  return batch;
}

/// a (..., M, K) @ b (..., K, N) + bias (N), batches broadcast. a_sums (M) or undefined: gets the sums of a's rows.
Tensor product(const Tensor& a, const Tensor& b, const Tensor& bias, std::uint64_t b_tag, const Tensor& a_sums = {}) {
  const std::int64_t m = a.size(-2), k = a.size(-1), n = b.size(-1);
  const Shape batch = raw::broadcast(batch_of(a), batch_of(b), "matmul");
  Tensor y = Tensor::empty(with_matrix(batch, m, n), a.dtype(), a.device());
  if (y.numel() == 0) return y;
  const Tensor x = raw::expand(as_operand(a), with_matrix(batch, m, k), "matmul");
  const Tensor w = raw::expand(as_operand(b), with_matrix(batch, k, n), "matmul");
  MatmulArgs args{x.ref(), w.ref(), {}, y.ref()};
  if (bias.defined()) args.bias = bias.ref();
  args.b_tag = b_tag;
  if (a_sums.defined()) args.a_sums = a_sums.ref();
  raw::run(args, a);
  return y;
}

struct MatmulNode final : Node {
  Saved a, b;
  Shape a_shape, b_shape;
  MatmulNode(const Tensor& x, const Tensor& z) : a_shape(x.shape()), b_shape(z.shape()) {
    if (z.requires_grad()) a = Saved(x);
    if (x.requires_grad()) b = Saved(z);
  }
  const char* name() const override { return "matmul"; }
  void backward(const Tensor& gy, GradSlots& gx) override {
    if (gx.needed(0)) gx.put(0, raw::sum_to(product(gy, swapped(b.get(name())), {}, 0), a_shape));
    if (gx.needed(1)) gx.put(1, raw::sum_to(product(swapped(a.get(name())), gy, {}, 0), b_shape));
  }
  void release() override { a = b = {}; }
};

/// x (..., n) as (rows, n), also where n is 0.
Tensor as_rows(const Tensor& x) {
  std::int64_t rows = 1;
  for (int i = 0; i < x.dim() - 1; ++i) rows *= x.shape()[i];
  return raw::reshape(x, {rows, x.size(-1)});
}

struct LinearNode final : Node {
  Saved x, weight;
  LinearNode(const Tensor& input, const Tensor& w) {
    if (w.requires_grad()) x = Saved(input);
    if (input.requires_grad()) weight = Saved(w);
  }
  const char* name() const override { return "linear"; }
  void backward(const Tensor& gy, GradSlots& gx) override {
    const Tensor rows = as_rows(gy);
    if (gx.needed(0)) {
      const Tensor w = weight.get(name());
      Shape shape = gy.shape();
      shape[gy.dim() - 1] = w.size(1);
      gx.put(0, raw::reshape(product(rows, w, {}, 0), shape));
    }
    // On a CUDA device the kernel of the weight's gradient gives the bias's too: a launch less.
    Tensor gbias;
    if (gx.needed(1)) {
      const Tensor in = as_rows(x.get(name()));
      if (gx.needed(2) && gy.device().is_cuda() && in.size(1) > 0 && rows.size(1) > 0)
        gbias = Tensor::empty({rows.size(1)}, gy.dtype(), gy.device());
      gx.put(1, product(swapped(rows), in, {}, 0, gbias));
    }
    if (gbias.defined()) {
      gx.put(2, gbias);
      return;
    }
    if (gx.needed(2)) gx.put(2, raw::drop(raw::reduce(ReduceOp::sum, rows, 1u), 1u));
  }
  void release() override { x = weight = {}; }
};

void check_same_dtype(const char* op, const char* a_name, const Tensor& a, const char* b_name, const Tensor& b) {
  check(a.dtype() == b.dtype(), op, ": ", a_name, " is ", a, ", ", b_name, " is ", b, ": dtypes must be equal");
  raw::check_same_device(op, a, b);
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) {
  raw::check_floating("matmul", "a", a);
  raw::check_floating("matmul", "b", b);
  check_same_dtype("matmul", "a", a, "b", b);
  check(a.dim() >= 2 && b.dim() >= 2 && a.size(-1) == b.size(-2),
        "matmul: expected a (..., M, K) and b (..., K, N), got a ", a, ", b ", b);
  Tensor y = product(a, b, {}, 0);
  if (!any_requires_grad({&a, &b})) return y;
  return record(y, std::make_shared<MatmulNode>(a, b), {a, b});
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  raw::check_floating("linear", "x", x);
  raw::check_floating("linear", "weight", weight);
  check_same_dtype("linear", "x", x, "weight", weight);
  check(weight.dim() == 2, "linear: expected weight (out, in), got ", weight);
  check(x.dim() >= 1 && x.size(-1) == weight.size(1), "linear: expected x (..., ", weight.size(1), "), got x ", x,
        ", weight ", weight);
  if (bias.defined()) {
    check_same_dtype("linear", "x", x, "bias", bias);
    check(bias.shape() == Shape{weight.size(0)}, "linear: expected bias (", weight.size(0), ",), got ", bias);
  }
  const Tensor rows = as_rows(x);
  const Tensor dense_bias = bias.defined() ? raw::with_format(bias, MemoryFormat::contiguous) : bias;
  // A frozen weight is worth packing once; one that trains changes with every step.
  const std::uint64_t tag = any_requires_grad({&weight}) ? 0 : raw::weight_tag(weight);
  const Tensor product_rows = product(rows, swapped(weight), dense_bias, tag);
  Shape shape = x.shape();
  shape[x.dim() - 1] = weight.size(0);
  Tensor y = x.dim() == 2 ? product_rows : raw::reshape(product_rows, shape);
  if (!any_requires_grad({&x, &weight, &bias})) return y;
  return record(y, std::make_shared<LinearNode>(x, weight), {x, weight, bias});
}

}  // namespace graft
