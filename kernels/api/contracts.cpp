// Contracts of the elementwise, reducing, indexing, random, optimiser and warping ops.
#include <graft/kernels/api/contracts.h>

#include <array>
#include <cmath>

#include <graft/kernels/api/contract.h>

namespace graft::kernels {
namespace {

bool is_arithmetic_int(DType d) { return d == DType::i64 || d == DType::i32; }

// neg, abs and square also serve the signed integers.
bool serves_ints(UnaryOp op) { return op == UnaryOp::neg || op == UnaryOp::abs || op == UnaryOp::square; }

void check_binary(Contract& c, BinaryOp op, const char* x_name, const TensorRef& x, const TensorRef& y) {
  if (is_comparison(op))
    c.dtype("y", y, DType::boolean);
  else
    c.require(x.dtype != DType::boolean, x_name, " is ", x, ": bool has no ", name(op), ", cast it first")
        .same_dtype("y", y, x_name, x);
}

void check_axis(Contract& c, int axis, const char* x_name, const TensorRef& x) {
  c.require(axis >= 0 && axis < x.shape.rank(), "axis is ", axis, ": expected 0 to ", x.shape.rank() - 1, " for ",
            x_name, " ", x);
}

// x with `n` positions along `axis`.
Shape with_size(Shape shape, int axis, std::int64_t n) {
  shape[axis] = n;
  return shape;
}

void check_index_select(Contract& c, const char* x_name, const TensorRef& x, const TensorRef& index, const char* y_name,
                        const TensorRef& y, int axis) {
  c.same_dtype(y_name, y, x_name, x).contiguous(x_name, x).contiguous(y_name, y);
  c.dtype("index", index, DType::i64).rank("index", index, 1).contiguous("index", index);
  check_axis(c, axis, x_name, x);
  if (c.ok()) c.shape(y_name, y, with_size(x.shape, axis, index.shape[0]), "the index's size along the axis");
}

void check_gather(Contract& c, const char* x_name, const TensorRef& x, const TensorRef& index, const char* y_name,
                  const TensorRef& y, int axis) {
  c.same_dtype(y_name, y, x_name, x).contiguous(x_name, x).contiguous(y_name, y);
  c.dtype("index", index, DType::i64).contiguous("index", index);
  c.rank("index", index, x.shape.rank()).same_shape(y_name, y, "index", index);
  check_axis(c, axis, x_name, x);
  if (!c.ok()) return;
  for (int i = 0; i < x.shape.rank(); ++i)
    c.require(i == axis || index.shape[i] <= x.shape[i], "index is ", index, ": expected no more than ", x.shape[i],
              " in dimension ", i, ", that of ", x_name, " ", x);
}

void check_optim_param(Contract& c, const OptimParam& p, std::int64_t i, int states) {
  auto element = [](const char* what, std::int64_t position) { return cat("params[", position, "].", what); };
  auto same_order = [&](const char* what, const TensorRef& t) {
    c.require(t.defined(), "params[", i, "].", what, " is undefined");
    c.require(t.data != nullptr || t.numel() == 0, "params[", i, "].", what, " has no memory (null pointer)");
    c.require(same_layout(t, p.param), "params[", i, "].", what, " is ", t, " with strides ", t.strides,
              ": expected the shape and layout of param ", p.param, " with strides ", p.param.strides);
  };
  auto state = [&](const char* what, const TensorRef& t) {
    same_order(what, t);
    if (c.ok() && t.dtype != (p.param.dtype == DType::f64 ? DType::f64 : DType::f32))
      c.wide_dtype(element(what, i).c_str(), t, "param", p.param);
  };
  c.require(p.param.defined(), "params[", i, "].param is undefined");
  c.require(is_floating(p.param.dtype), "params[", i, "].param is ", p.param, ": expected a floating dtype");
  c.require(is_dense(p.param), "params[", i, "].param is ", p.param, " with strides ", p.param.strides,
            ": expected dense memory");
  same_order("param", p.param);
  same_order("grad", p.grad);
  c.require(p.grad.dtype == p.param.dtype, "params[", i, "].grad is ", p.grad, ": expected dtype ", p.param.dtype,
            ", that of param");
  if (states > 0) state("state0", p.state0);
  if (states > 1) state("state1", p.state1);
  if (p.master.defined()) {
    same_order("master", p.master);
    const bool rounded = p.param.dtype == DType::bf16 || p.param.dtype == DType::f16;
    c.require(rounded ? p.master.dtype == DType::f32 : p.param.dtype == DType::f64 && p.master.dtype == DType::f64,
              "params[", i, "].master is ", p.master, " beside param ", p.param,
              ": expected f32 beside bf16 or f16, or f64 beside f64");
  }
  if (p.mask.defined()) {
    same_order("mask", p.mask);
    c.require(p.mask.dtype == DType::u8 || p.mask.dtype == DType::boolean, "params[", i, "].mask is ", p.mask,
              ": expected u8 or bool");
  }
  c.require(p.step >= 1, "params[", i, "].step is ", p.step, ": expected 1 for the first update");
}

template <class Args>
Support check_optim(const Args& args, int states) {
  Contract c;
  c.require(args.count >= 0 && (args.params != nullptr || args.count == 0), "params has ", args.count,
            " entries and no memory");
  if (args.clock.defined())
    c.require(args.clock.lr_factor != nullptr && args.clock.updates != nullptr &&
                  (states < 2 || args.clock.corrections != nullptr),
              "clock has no table of rates, counter of updates or table of corrections: expected all or none");
  if (c.ok())
    for (std::int64_t i = 0; i < args.count && c.ok(); ++i) check_optim_param(c, args.params[i], i, states);
  return c.result();
}

}  // namespace

bool is_dense(const TensorRef& t) {
  if (t.numel() == 0) return true;
  // Each step finds the dimension whose stride is the size of the block so far.
  std::array<bool, kMaxRank> placed{};
  for (std::int64_t block = 1; block < t.numel();) {
    int next = -1;
    for (int i = 0; i < t.shape.rank(); ++i)
      if (!placed[static_cast<std::size_t>(i)] && t.shape[i] != 1 && t.strides[i] == block) next = i;
    if (next < 0) return false;
    placed[static_cast<std::size_t>(next)] = true;
    block *= t.shape[next];
  }
  return true;
}

bool same_layout(const TensorRef& a, const TensorRef& b) {
  if (!(a.shape == b.shape)) return false;
  if (a.numel() == 0) return true;
  for (int i = 0; i < a.shape.rank(); ++i)
    if (a.shape[i] != 1 && a.strides[i] != b.strides[i]) return false;
  return true;
}

Support check_contract(const UnaryArgs& args) {
  Contract c;
  c.input("x", args.x).output("y", args.y);
  if (!(serves_ints(args.op) && is_arithmetic_int(args.x.dtype))) c.floating("x", args.x);
  c.same_dtype("y", args.y, "x", args.x).same_shape("y", args.y, "x", args.x);
  return c.result();
}

Support check_contract(const UnaryBackwardArgs& args) {
  Contract c;
  c.input("saved", args.saved).input("gy", args.gy).output("gx", args.gx).floating("saved", args.saved);
  c.same_dtype("gy", args.gy, "saved", args.saved).same_shape("gy", args.gy, "saved", args.saved);
  c.same_dtype("gx", args.gx, "saved", args.saved).same_shape("gx", args.gx, "saved", args.saved);
  return c.result();
}

Support check_contract(const BinaryArgs& args) {
  Contract c;
  c.input("a", args.a).input("b", args.b).output("y", args.y);
  c.same_dtype("b", args.b, "a", args.a).same_shape("b", args.b, "a", args.a).same_shape("y", args.y, "a", args.a);
  check_binary(c, args.op, "a", args.a, args.y);
  return c.result();
}

Support check_contract(const BinaryScalarArgs& args) {
  Contract c;
  c.input("x", args.x).output("y", args.y).same_shape("y", args.y, "x", args.x);
  check_binary(c, args.op, "x", args.x, args.y);
  // The bound is 2^63: what lies below converts to i64.
  c.require(is_floating(args.x.dtype) || (std::trunc(args.scalar) == args.scalar && std::abs(args.scalar) < 0x1p63),
            "scalar is ", args.scalar, " and x is ", args.x, ": expected a whole number beside integers");
  return c.result();
}

Support check_contract(const AxpyArgs& args) {
  Contract c;
  c.input("x", args.x).output("y", args.y).floating("x", args.x);
  c.same_dtype("y", args.y, "x", args.x).same_shape("y", args.y, "x", args.x);
  return c.result();
}

Support check_contract(const FillArgs& args) { return Contract().output("y", args.y).result(); }

Support check_contract(const CopyArgs& args) {
  return Contract().input("x", args.x).output("y", args.y).same_shape("y", args.y, "x", args.x).result();
}

Support check_contract(const ReduceArgs& args) {
  Contract c;
  c.input("x", args.x).output("y", args.y);
  c.require(is_floating(args.x.dtype) || (args.op != ReduceOp::mean && is_arithmetic_int(args.x.dtype)), "x is ",
            args.x, ": expected a floating dtype", args.op == ReduceOp::mean ? " for a mean" : ", i64 or i32");
  c.same_dtype("y", args.y, "x", args.x).rank("y", args.y, args.x.shape.rank()).contiguous("y", args.y);
  if (!c.ok()) return c.result();
  for (int i = 0; i < args.x.shape.rank(); ++i)
    c.require(args.y.shape[i] == args.x.shape[i] || args.y.shape[i] == 1, "y is ", args.y, ": expected size ",
              args.x.shape[i], " (kept) or 1 (reduced) in dimension ", i, " for x ", args.x);
  c.require(args.op != ReduceOp::max || args.x.numel() > 0 || args.y.numel() == 0, "x is ", args.x,
            ": a max over nothing has no value");
  return c.result();
}

Support check_contract(const ArgmaxArgs& args) {
  Contract c;
  c.input("x", args.x).output("y", args.y).dtype("y", args.y, DType::i64).contiguous("y", args.y);
  check_axis(c, args.axis, "x", args.x);
  if (!c.ok()) return c.result();
  c.shape("y", args.y, with_size(args.x.shape, args.axis, 1), "that of x with size 1 along the axis");
  c.require(args.x.numel() > 0 || args.y.numel() == 0, "x is ", args.x, ": a maximum over nothing has no position");
  return c.result();
}

Support check_contract(const SquaredNormArgs& args) {
  Contract c;
  c.output("y", args.y).dtype("y", args.y, DType::f64).shape("y", args.y, {}, "a scalar");
  c.require(args.count >= 0 && (args.tensors != nullptr || args.count == 0), "tensors has ", args.count,
            " entries and no memory");
  if (!c.ok()) return c.result();
  for (std::int64_t i = 0; i < args.count; ++i) {
    const TensorRef& t = args.tensors[i];
    c.require(t.defined() && (t.data != nullptr || t.numel() == 0), "tensors[", i, "] is ", t,
              ": expected a tensor with memory");
    c.require(is_floating(t.dtype), "tensors[", i, "] is ", t, ": expected a floating dtype");
    c.require(is_dense(t), "tensors[", i, "] is ", t, " with strides ", t.strides, ": expected dense memory");
  }
  return c.result();
}

Support check_contract(const IndexSelectArgs& args) {
  Contract c;
  c.input("x", args.x).input("index", args.index).output("y", args.y);
  check_index_select(c, "x", args.x, args.index, "y", args.y, args.axis);
  return c.result();
}

Support check_contract(const IndexSelectBackwardArgs& args) {
  Contract c;
  c.input("gy", args.gy).input("index", args.index).output("gx", args.gx).floating("gy", args.gy);
  check_index_select(c, "gx", args.gx, args.index, "gy", args.gy, args.axis);
  return c.result();
}

Support check_contract(const GatherArgs& args) {
  Contract c;
  c.input("x", args.x).input("index", args.index).output("y", args.y);
  check_gather(c, "x", args.x, args.index, "y", args.y, args.axis);
  return c.result();
}

Support check_contract(const GatherBackwardArgs& args) {
  Contract c;
  c.input("gy", args.gy).input("index", args.index).output("gx", args.gx).floating("gy", args.gy);
  check_gather(c, "gx", args.gx, args.index, "gy", args.gy, args.axis);
  return c.result();
}

Support check_contract(const RandomArgs& args) {
  return Contract().output("y", args.y).floating("y", args.y).contiguous("y", args.y).result();
}

Support check_contract(const DropoutArgs& args) {
  Contract c;
  c.input("x", args.x).output("y", args.y).floating("x", args.x).same_dtype("y", args.y, "x", args.x);
  c.same_shape("y", args.y, "x", args.x);
  c.require(is_dense(args.x), "x is ", args.x, " with strides ", args.x.strides, ": expected dense memory");
  c.require(same_layout(args.x, args.y), "y has strides ", args.y.strides, ": expected those of x, ", args.x.strides);
  c.require(args.p >= 0 && args.p <= 1, "p is ", args.p, ": expected 0 to 1");
  return c.result();
}

Support check_contract(const SgdArgs& args) { return check_optim(args, args.momentum != 0 ? 1 : 0); }

Support check_contract(const AdamArgs& args) { return check_optim(args, 2); }

Support check_contract(const AffineWarpArgs& args) {
  Contract c;
  c.input("x", args.x).input("theta", args.theta).output("y", args.y).floating("x", args.x);
  c.same_dtype("y", args.y, "x", args.x).channels_last("x", args.x).channels_last("y", args.y);
  c.same_shape("y", args.y, "x", args.x).dtype("theta", args.theta, DType::f32).contiguous("theta", args.theta);
  if (c.ok()) c.shape("theta", args.theta, {args.x.shape[0], 2, 3}, "one 2 x 3 map a picture");
  return c.result();
}

}  // namespace graft::kernels
