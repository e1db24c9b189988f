#include <graft/core/ops/math.h>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/raw.h>
#include <graft/core/ops/view.h>
#include <graft/core/tensor_state.h>

namespace graft {
namespace {

using kernels::BinaryOp;
using kernels::ChainStep;
using kernels::ReduceOp;
using kernels::UnaryOp;

// --- unary
// ------------------------------------------------------------------------------------------------------------

struct UnaryNode final : Node {
  UnaryOp op;
  Saved saved;  // y or x, as backward_uses_output says
  UnaryNode(UnaryOp which, const Tensor& kept) : op(which), saved(kept) {}
  const char* name() const override { return kernels::name(op); }
  void backward(const Tensor& gy, GradSlots& gx) override {
    if (gx.needed(0)) gx.put(0, raw::unary_backward(op, saved.get(name()), gy));
  }
  void release() override { saved = {}; }
};

Tensor unary(UnaryOp op, const Tensor& x) {
  check(x.defined(), kernels::name(op), ": x is undefined");
  Tensor y = raw::unary(op, x);
  if (!any_requires_grad({&x})) return y;
  return record(y, std::make_shared<UnaryNode>(op, kernels::backward_uses_output(op) ? y : x), {x});
}

// --- binary
// -----------------------------------------------------------------------------------------------------------

struct BinaryNode final : Node {
  BinaryOp op;
  Saved a, b;
  Shape a_shape, b_shape;
  BinaryNode(BinaryOp which, const Tensor& x, const Tensor& z) : op(which), a_shape(x.shape()), b_shape(z.shape()) {
    if (op == BinaryOp::mul || op == BinaryOp::div) {
      // Each factor is needed for the other's gradient only.
      if (z.requires_grad()) a = Saved(x);
      if (x.requires_grad() || op == BinaryOp::div) b = Saved(z);
    }
  }
  const char* name() const override { return kernels::name(op); }
  void backward(const Tensor& gy, GradSlots& gx) override {
    if (gx.needed(0)) {
      Tensor ga = gy;
      if (op == BinaryOp::mul) ga = raw::binary(BinaryOp::mul, gy, b.get(name()));
      if (op == BinaryOp::div) ga = raw::binary(BinaryOp::div, gy, b.get(name()));
      gx.put(0, raw::sum_to(ga, a_shape));
    }
    if (gx.needed(1)) {
      Tensor gb = gy;
      if (op == BinaryOp::sub) gb = raw::unary(UnaryOp::neg, gy);
      if (op == BinaryOp::mul) gb = raw::binary(BinaryOp::mul, gy, a.get(name()));
      if (op == BinaryOp::div) {  // -gy a / b^2
        const Tensor dividend = raw::expand(a.get(name()), gy.shape(), name());
        const Tensor divisor = raw::expand(b.get(name()), gy.shape(), name());
        const ChainStep divide = ChainStep::of(BinaryOp::div, divisor.ref());
        gb =
            raw::chain(dividend, {divide, divide, ChainStep::of(BinaryOp::mul, gy.ref()), ChainStep::of(UnaryOp::neg)});
      }
      gx.put(1, raw::sum_to(gb, b_shape));
    }
  }
  void release() override { a = b = {}; }
};

Tensor binary(BinaryOp op, const Tensor& a, const Tensor& b) {
  check(a.defined() && b.defined(), kernels::name(op), ": ", a.defined() ? "b" : "a", " is undefined");
  Tensor y = raw::binary(op, a, b);
  if (kernels::is_comparison(op) || !any_requires_grad({&a, &b})) return y;
  return record(y, std::make_shared<BinaryNode>(op, a, b), {a, b});
}

struct ScalarNode final : Node {
  BinaryOp op;
  double scalar;
  bool reversed;
  Saved y, x;  // kept for scalar / x only
  ScalarNode(BinaryOp which, double value, bool reverse, const Tensor& input, const Tensor& output)
      : op(which), scalar(value), reversed(reverse) {
    if (op == BinaryOp::div && reversed) {
      x = Saved(input);
      y = Saved(output);
    }
  }
  const char* name() const override { return kernels::name(op); }
  void backward(const Tensor& gy, GradSlots& gx) override {
    if (!gx.needed(0)) return;
    switch (op) {
      case BinaryOp::mul:
        return gx.put(0, raw::binary_scalar(BinaryOp::mul, gy, scalar));
      case BinaryOp::sub:
        return gx.put(0, reversed ? raw::unary(UnaryOp::neg, gy) : gy);
      case BinaryOp::div:
        if (!reversed) return gx.put(0, raw::binary_scalar(BinaryOp::div, gy, scalar));
        return gx.put(0, divided_into(gy));
      default:
        return gx.put(0, gy);
    }
  }
  void release() override { y = x = {}; }

 private:
  /// The gradient of y = scalar / x: -gy y / x.
  Tensor divided_into(const Tensor& gy) const {
    const Tensor quotient = y.get(name()), divisor = x.get(name());
    return raw::chain(quotient, {ChainStep::of(BinaryOp::div, divisor.ref()), ChainStep::of(BinaryOp::mul, gy.ref()),
                                 ChainStep::of(UnaryOp::neg)});
  }
};

Tensor binary_scalar(BinaryOp op, const Tensor& x, double scalar, bool reversed = false) {
  check(x.defined(), kernels::name(op), ": x is undefined");
  Tensor y = raw::binary_scalar(op, x, scalar, reversed);
  if (kernels::is_comparison(op) || !any_requires_grad({&x})) return y;
  return record(y, std::make_shared<ScalarNode>(op, scalar, reversed, x, y), {x});
}

// --- reductions
// -------------------------------------------------------------------------------------------------------

struct ReduceNode final : Node {
  ReduceOp op;
  Shape x_shape, kept_shape;
  ReduceNode(ReduceOp which, const Shape& x, const Shape& kept) : op(which), x_shape(x), kept_shape(kept) {}
  const char* name() const override { return kernels::name(op); }
  void backward(const Tensor& gy, GradSlots& gx) override {
    if (!gx.needed(0)) return;
    Tensor g = raw::reshape(gy, kept_shape);
    if (op == ReduceOp::mean) {
      const auto count = static_cast<double>(x_shape.numel()) / static_cast<double>(kept_shape.numel());
      g = raw::binary_scalar(BinaryOp::div, g, count);
    }
    gx.put(0, raw::expand(g, x_shape, name()));
  }
  void release() override {}
};

Tensor reduce(ReduceOp op, const Tensor& x, unsigned axes, bool keepdim) {
  check(x.defined(), kernels::name(op), ": x is undefined");
  Tensor kept = raw::reduce(op, x, axes);
  if (kept.is_same(x)) kept = raw::cast(x, x.dtype());  // nothing to reduce: still a tensor of its own
  Tensor y = keepdim ? make_view(kept, kept.shape(), kept.strides(), kept.storage_offset()) : raw::drop(kept, axes);
  if (!any_requires_grad({&x})) return y;
  return record(y, std::make_shared<ReduceNode>(op, x.shape(), kept.shape()), {x});
}

unsigned axes_of(const Tensor& x, const std::vector<int>& dims, const char* op) {
  check(x.defined(), op, ": x is undefined");
  unsigned axes = 0;
  for (int dim : dims) {
    const unsigned bit = 1u << raw::dimension(dim, x.dim(), op);
    check((axes & bit) == 0, op, ": dimension ", dim, " is named twice");
    axes |= bit;
  }
  return axes;
}

unsigned all_axes(const Tensor& x) { return x.defined() ? (1u << x.dim()) - 1u : 0u; }

}  // namespace

Tensor neg(const Tensor& x) { return unary(UnaryOp::neg, x); }
Tensor abs(const Tensor& x) { return unary(UnaryOp::abs, x); }
Tensor exp(const Tensor& x) { return unary(UnaryOp::exp, x); }
Tensor log(const Tensor& x) { return unary(UnaryOp::log, x); }
Tensor sqrt(const Tensor& x) { return unary(UnaryOp::sqrt, x); }
Tensor square(const Tensor& x) { return unary(UnaryOp::square, x); }
Tensor reciprocal(const Tensor& x) { return unary(UnaryOp::reciprocal, x); }
Tensor relu(const Tensor& x) { return unary(UnaryOp::relu, x); }
Tensor relu6(const Tensor& x) { return unary(UnaryOp::relu6, x); }
Tensor gelu(const Tensor& x, GeluKind kind) {
  return unary(kind == GeluKind::exact ? UnaryOp::gelu : UnaryOp::gelu_tanh, x);
}
Tensor sigmoid(const Tensor& x) { return unary(UnaryOp::sigmoid, x); }
Tensor tanh(const Tensor& x) { return unary(UnaryOp::tanh, x); }
Tensor hardswish(const Tensor& x) { return unary(UnaryOp::hardswish, x); }
Tensor silu(const Tensor& x) { return unary(UnaryOp::silu, x); }

Tensor add(const Tensor& a, const Tensor& b) { return binary(BinaryOp::add, a, b); }
Tensor sub(const Tensor& a, const Tensor& b) { return binary(BinaryOp::sub, a, b); }
Tensor mul(const Tensor& a, const Tensor& b) { return binary(BinaryOp::mul, a, b); }
Tensor div(const Tensor& a, const Tensor& b) { return binary(BinaryOp::div, a, b); }
Tensor add(const Tensor& a, double b) { return binary_scalar(BinaryOp::add, a, b); }
Tensor sub(const Tensor& a, double b) { return binary_scalar(BinaryOp::sub, a, b); }
Tensor sub(double a, const Tensor& b) { return binary_scalar(BinaryOp::sub, b, a, true); }
Tensor mul(const Tensor& a, double b) { return binary_scalar(BinaryOp::mul, a, b); }
Tensor div(const Tensor& a, double b) { return binary_scalar(BinaryOp::div, a, b); }
Tensor div(double a, const Tensor& b) { return binary_scalar(BinaryOp::div, b, a, true); }

Tensor eq(const Tensor& a, const Tensor& b) { return binary(BinaryOp::eq, a, b); }
Tensor lt(const Tensor& a, const Tensor& b) { return binary(BinaryOp::lt, a, b); }
Tensor gt(const Tensor& a, const Tensor& b) { return binary(BinaryOp::gt, a, b); }
Tensor eq(const Tensor& a, double b) { return binary_scalar(BinaryOp::eq, a, b); }
Tensor lt(const Tensor& a, double b) { return binary_scalar(BinaryOp::lt, a, b); }
Tensor gt(const Tensor& a, double b) { return binary_scalar(BinaryOp::gt, a, b); }

Tensor sum(const Tensor& x) { return reduce(ReduceOp::sum, x, all_axes(x), false); }
Tensor mean(const Tensor& x) { return reduce(ReduceOp::mean, x, all_axes(x), false); }
Tensor sum(const Tensor& x, const std::vector<int>& dims, bool keepdim) {
  return reduce(ReduceOp::sum, x, axes_of(x, dims, "sum"), keepdim);
}
Tensor mean(const Tensor& x, const std::vector<int>& dims, bool keepdim) {
  return reduce(ReduceOp::mean, x, axes_of(x, dims, "mean"), keepdim);
}

Tensor argmax(const Tensor& x, int dim, bool keepdim) {
  check(x.defined(), "argmax: x is undefined");
  const int axis = raw::dimension(dim, x.dim(), "argmax");
  check(x.shape()[axis] > 0, "argmax: dimension ", dim, " of ", x, " is empty");
  Shape shape = x.shape();
  shape[axis] = 1;
  Tensor y = Tensor::empty(shape, DType::i64, x.device());
  if (y.numel() > 0) raw::run(kernels::ArgmaxArgs{x.ref(), y.ref(), axis}, x);
  return keepdim ? y : raw::drop(y, 1u << axis);
}

Tensor max(const Tensor& x, int dim, bool keepdim) {
  const int axis = raw::dimension(dim, x.defined() ? x.dim() : 0, "max");
  const Tensor kept = gather(x, axis, argmax(x, axis, true));
  return keepdim ? kept : squeeze(kept, axis);
}

}  // namespace graft
