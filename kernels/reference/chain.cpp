// Chains of steps: the separate ops of this backend one after the other, in double.
#include <graft/kernels/reference/internal.h>
#include <graft/kernels/reference/table.h>

namespace graft::kernels::reference {
namespace {

using Values = Array<double>;

TensorRef ref(const Values& values) {
  return {const_cast<double*>(values.values.data()), DType::f64, values.shape, contiguous_strides(values.shape)};
}

template <class Args>
void run(const Args& args) {
  Stream stream;
  table().row<Args>().run(args, stream);
}

Values unary(UnaryOp op, const Values& x) {
  Values y(x.shape);
  run(UnaryArgs{op, ref(x), ref(y)});
  return y;
}

Values unary_backward(UnaryOp op, const Values& saved, const Values& gy) {
  Values gx(gy.shape);
  run(UnaryBackwardArgs{op, ref(saved), ref(gy), ref(gx)});
  return gx;
}

Values binary(BinaryOp op, const Values& a, const Values& b) {
  Values y(a.shape);
  run(BinaryArgs{op, ref(a), ref(b), ref(y)});
  return y;
}

/// What stands beside v in a step with a scalar or a tensor.
Values other_of(const ChainStep& step, const Shape& shape) {
  return step.kind == ChainStep::Kind::scalar ? Values(shape, step.scalar) : read(step.tensor);
}

Values forward(const ChainStep& step, const Values& v) {
  if (step.kind == ChainStep::Kind::unary) return unary(step.unary, v);
  const Values other = other_of(step, v.shape);
  return step.reversed ? binary(step.binary, other, v) : binary(step.binary, v, other);
}

/// -(g a / b^2): what a quotient a / b gives to its divisor.
Values divisor_gradient(const Values& g, const Values& a, const Values& b) {
  return unary(UnaryOp::neg, binary(BinaryOp::mul, g, binary(BinaryOp::div, binary(BinaryOp::div, a, b), b)));
}

struct Gradients {
  Values v, other;
};

/// The gradients of v and of the other operand of one arithmetic step. Sums do not read the operand.
Gradients backward(const ChainStep& step, const Values& v, bool reads_tensor, const Values& g) {
  const bool absent = step.kind == ChainStep::Kind::tensor && !reads_tensor;
  const Values other = absent ? Values(v.shape) : other_of(step, v.shape);
  switch (step.binary) {
    case BinaryOp::sub:
      return step.reversed ? Gradients{unary(UnaryOp::neg, g), g} : Gradients{g, unary(UnaryOp::neg, g)};
    case BinaryOp::mul:
      return {binary(BinaryOp::mul, g, other), binary(BinaryOp::mul, g, v)};
    case BinaryOp::div:
      if (step.reversed) return {divisor_gradient(g, other, v), binary(BinaryOp::div, g, v)};
      return {binary(BinaryOp::div, g, other), divisor_gradient(g, v, other)};
    default:
      return {g, g};
  }
}

void chain(const ChainArgs& args) {
  Values v = read(args.x);
  for (const ChainStep& step : args.steps) v = forward(step, v);
  write(v, args.y);
}

void chain_backward(const ChainBackwardArgs& args) {
  const ChainBackwardPlan plan(args);
  const Values unread(args.gy.shape, std::numeric_limits<double>::quiet_NaN());
  std::vector<Values> values = {plan.reads_x ? read(args.x) : unread};
  for (int i = 0; i < args.steps.count; ++i)
    values.push_back(i < plan.forward ? forward(args.steps[i], values.back()) : unread);
  if (plan.reads_y) values.back() = read(args.y);
  Values g = read(args.gy);
  for (int i = args.steps.count - 1; i >= plan.lowest; --i) {
    const ChainStep& step = args.steps[i];
    const auto at = static_cast<std::size_t>(i);
    if (step.kind == ChainStep::Kind::unary) {
      g = unary_backward(step.unary, backward_uses_output(step.unary) ? values[at + 1] : values[at], g);
      continue;
    }
    Gradients both = backward(step, values[at], plan.reads_tensor[at], g);
    write_if(both.other, args.gtensors[at]);
    g = std::move(both.v);
  }
  write_if(g, args.gx);
}

}  // namespace

void add_chain(BackendTable& table) {
  add<chain>(table);
  add<chain_backward>(table);
}

}  // namespace graft::kernels::reference
