#include <graft/kernels/api/softmax.h>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/nn.h>
#include <graft/core/ops/raw.h>
#include <graft/core/ops/view.h>

namespace graft {
namespace {

/// (rows, n) contiguous.
Tensor as_rows(const Tensor& x) {
  return raw::reshape(raw::with_format(x, MemoryFormat::contiguous), {x.numel() / x.size(-1), x.size(-1)});
}

Tensor softmax_rows(const Tensor& x, bool log) {
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  raw::run(kernels::SoftmaxArgs{x.ref(), y.ref(), log}, x);
  return y;
}

/// Over the last dimension.
struct SoftmaxNode final : Node {
  Saved y;  // (rows, n)
  bool log;
  SoftmaxNode(const Tensor& rows, bool is_log) : y(rows), log(is_log) {}
  const char* name() const override { return log ? "log_softmax" : "softmax"; }
  void backward(const Tensor& gy, GradSlots& gx) override {
    if (!gx.needed(0)) return;
    const Tensor rows = y.get(name()), gradient = as_rows(gy);
    Tensor g = rows.empty_like();
    raw::run(kernels::SoftmaxBackwardArgs{rows.ref(), gradient.ref(), g.ref(), log}, gy);
    gx.put(0, raw::reshape(g, gy.shape()));
  }
  void release() override { y = {}; }
};

Tensor softmax_over(const Tensor& x, int dim, bool log) {
  const char* op = log ? "log_softmax" : "softmax";
  raw::check_floating(op, "x", x);
  check(x.dim() >= 1, op, ": x must have at least one dimension");
  const int axis = raw::dimension(dim, x.dim(), op);
  if (x.numel() == 0) return x.clone();
  if (axis != x.dim() - 1) return transpose(softmax_over(transpose(x, axis, -1), -1, log), axis, -1);
  const Tensor rows = softmax_rows(as_rows(x), log);
  Tensor y = raw::reshape(rows, x.shape());
  if (!any_requires_grad({&x})) return y;
  return record(y, std::make_shared<SoftmaxNode>(rows, log), {x});
}

struct CrossEntropyNode final : Node {
  Saved logits, targets, class_weights, row_max, log_sum, scale;
  kernels::CrossEntropyBackwardArgs args;  // settings; the tensors are filled in at the time
  const char* name() const override { return "cross_entropy"; }
  bool takes_implicit_ones() const override { return true; }
  void backward(const Tensor& gy, GradSlots& gx) override {
    if (!gx.needed(0)) return;
    const Tensor x = logits.get(name()), t = targets.get(name()), w = class_weights.get(name()),
                 greatest = row_max.get(name()), sum = log_sum.get(name()), s = scale.get(name());
    const Tensor gradient = gy.defined() ? raw::with_format(gy, MemoryFormat::contiguous) : Tensor();
    Tensor g = x.empty_like();
    args.logits = x.ref();
    args.targets = t.ref();
    if (w.defined()) args.class_weights = w.ref();
    args.row_max = greatest.ref();
    args.log_sum = sum.ref();
    args.scale = s.ref();
    args.gy = gradient.defined() ? gradient.ref() : kernels::TensorRef{};
    args.gx = g.ref();
    if (g.numel() > 0) raw::run(args, x);
    gx.put(0, g);
  }
  void release() override { logits = targets = class_weights = row_max = log_sum = scale = {}; }
};

}  // namespace

Tensor softmax(const Tensor& x, int dim) { return softmax_over(x, dim, false); }
Tensor log_softmax(const Tensor& x, int dim) { return softmax_over(x, dim, true); }

Tensor cross_entropy(const Tensor& logits, const Tensor& targets, const CrossEntropyOptions& options) {
  constexpr const char* op = "cross_entropy";
  raw::check_floating(op, "logits", logits);
  check(logits.dim() == 2 && logits.size(1) > 0, op, ": expected logits (N, C), got ", logits);
  check(targets.defined() && targets.dtype() == DType::i64 && targets.shape() == Shape{logits.size(0)}, op,
        ": expected targets i64 (", logits.size(0), ",), got ", targets);
  raw::check_same_device(op, logits, targets);
  check(options.label_smoothing >= 0 && options.label_smoothing <= 1, op, ": label_smoothing must be in [0, 1], got ",
        options.label_smoothing);
  if (options.class_weights.defined()) {
    raw::check_same_device(op, logits, options.class_weights);
    check(options.class_weights.shape() == Shape{logits.size(1)} && options.class_weights.dtype() == logits.dtype(), op,
          ": expected class_weights ", name(logits.dtype()), " (", logits.size(1), ",), got ", options.class_weights);
  }

  check(!any_requires_grad({&options.class_weights}), op,
        ": class_weights require grad, and none would reach them; detach() them");

  const Tensor x = raw::with_format(logits, MemoryFormat::contiguous);
  const Tensor t = raw::with_format(targets, MemoryFormat::contiguous);
  const Tensor w = options.class_weights.defined()
                       ? raw::with_format(options.class_weights.detach(), MemoryFormat::contiguous)
                       : Tensor();
  const DType wide = logits.dtype() == DType::f64 ? DType::f64 : DType::f32;
  const Shape loss_shape = options.reduction == Reduction::none ? Shape{x.size(0)} : Shape{};
  Tensor loss = Tensor::empty(loss_shape, wide, x.device());
  Tensor row_max = Tensor::empty({x.size(0)}, wide, x.device());
  Tensor log_sum = Tensor::empty({x.size(0)}, wide, x.device());
  Tensor scale = Tensor::empty({}, wide, x.device());
  kernels::CrossEntropyArgs args{x.ref(),
                                 t.ref(),
                                 {},
                                 loss.ref(),
                                 row_max.ref(),
                                 log_sum.ref(),
                                 scale.ref(),
                                 options.reduction,
                                 options.label_smoothing,
                                 options.ignore_index};
  if (w.defined()) args.class_weights = w.ref();
  raw::run(args, x);
  if (!any_requires_grad({&logits})) return loss;
  auto node = std::make_shared<CrossEntropyNode>();
  node->logits = Saved(x);
  node->targets = Saved(t);
  node->class_weights = Saved(w);
  node->row_max = Saved(row_max);
  node->log_sum = Saved(log_sum);
  node->scale = Saved(scale);
  node->args.reduction = options.reduction;
  node->args.label_smoothing = options.label_smoothing;
  node->args.ignore_index = options.ignore_index;
  return record(loss, std::move(node), {logits});
}

}  // namespace graft
