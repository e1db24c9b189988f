#include <graft/core/ops/fused.h>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/raw.h>
#include <graft/core/tensor_state.h>

namespace graft {
namespace {

using kernels::BinaryOp;
using kernels::ChainStep;
using kernels::ChainSteps;
using kernels::kChainSteps;

constexpr const char* kName = "fused";

/// Whether the gradient of the step's tensor is the one that comes to the step.
bool passes_gradient(const ChainStep& step) {
  return step.binary == BinaryOp::add || (step.binary == BinaryOp::sub && step.reversed);
}

struct FusedNode final : Node {
  ChainSteps steps;
  Saved x, y;                              // y where the last step's derivative takes it
  std::array<Saved, kChainSteps> tensors;  // by step; like x, only what a derivative or its values take
  std::array<Shape, kChainSteps> shapes;   // of the tensors
  Shape shape, strides;                    // of the result, and of the gradients before they are summed
  const char* name() const override { return kName; }

  void backward(const Tensor& gy, GradSlots& gx) override {
    const Tensor input = x.get(name()), output = y.get(name());
    kernels::ChainBackwardArgs args;
    if (input.defined()) args.x = input.ref();
    if (output.defined()) args.y = output.ref();
    args.gy = gy.ref();
    args.steps = steps;
    bool any = false;
    const auto gradient = [&](kernels::TensorRef& ref) {
      any = true;
      Tensor g = make_view(Tensor::empty(shape, gy.dtype(), gy.device()), shape, strides, 0);
      ref = g.ref();
      return g;
    };
    // Between two steps that change the gradient it is the same for all who take part: one tensor serves them, and
    // behind the last of those steps it is gy itself.
    Tensor passed = gy;
    std::array<Tensor, kChainSteps> gradients, expanded;
    int slot = 0;
    for (const ChainStep& step : steps) slot += step.kind == ChainStep::Kind::tensor ? 1 : 0;
    for (int i = steps.count - 1; i >= 0; --i) {
      const auto at = static_cast<std::size_t>(i);
      const ChainStep& step = steps[i];
      if (step.kind == ChainStep::Kind::tensor) {
        if (tensors[at].defined()) {
          expanded[at] = raw::expand(tensors[at].get(name()), shape, name());
          args.steps[i].tensor = expanded[at].ref();
        }
        if (gx.needed(slot--)) {
          gradients[at] = passes_gradient(step) && passed.defined() ? passed : gradient(args.gtensors[at]);
          if (passes_gradient(step)) passed = gradients[at];
        }
      }
      if (kernels::changes_gradient(step)) passed = {};
    }
    Tensor g;
    if (gx.needed(0)) g = passed.defined() ? passed : gradient(args.gx);
    if (any && gy.numel() > 0) raw::run(args, gy);
    if (g.defined()) gx.put(0, g);
    for (std::size_t i = 0; i < static_cast<std::size_t>(steps.count); ++i) {
      if (steps.at[i].kind == ChainStep::Kind::tensor) ++slot;
      if (gradients[i].defined()) gx.put(slot, raw::sum_to(gradients[i], shapes[i]));
    }
  }
  void release() override {
    x = y = {};
    tensors.fill({});
  }
};

}  // namespace

Fused::Fused(const Tensor& x) : x_(x) { raw::check_floating(kName, "x", x); }

void Fused::check_room(const char* op) const {
  check(steps_.count < kChainSteps, kName, ": ", op, " would be step ", steps_.count + 1, ", expected at most ",
        kChainSteps, "; begin another chain with the result of run()");
}

Fused& Fused::step(kernels::UnaryOp op) {
  check_room(kernels::name(op));
  steps_.push_back(ChainStep::of(op));
  return *this;
}

Fused& Fused::step(BinaryOp op, double other, bool reversed) {
  check_room(kernels::name(op));
  steps_.push_back(ChainStep::of(op, other, reversed));
  return *this;
}

Fused& Fused::step(BinaryOp op, const Tensor& other, bool reversed) {
  const char* what = kernels::name(op);
  check_room(what);
  check(other.defined(), kName, ": step ", steps_.count + 1, ", ", what, ": the tensor is undefined");
  check(other.dtype() == x_.dtype(), kName, ": step ", steps_.count + 1, ", ", what, ": the tensor is ", other,
        ", expected x's dtype, x is ", x_, "; convert one with to(dtype)");
  raw::check_same_device(kName, x_, other);
  bool fits = other.dim() <= x_.dim();
  for (int i = 1; fits && i <= other.dim(); ++i) fits = other.size(-i) == x_.size(-i) || other.size(-i) == 1;
  check(fits, kName, ": step ", steps_.count + 1, ", ", what, ": the tensor is ", other,
        ", expected a shape that broadcasts to x's, x is ", x_);
  check(tensor_count_ < kernels::kChainTensors, kName, ": step ", steps_.count + 1, ", ", what,
        ", would take tensor number ", tensor_count_ + 1, ", expected at most ", kernels::kChainTensors,
        "; begin another chain with the result of run()");
  tensors_[static_cast<std::size_t>(steps_.count)] = other;
  ++tensor_count_;
  steps_.push_back(ChainStep::of(op, kernels::TensorRef{}, reversed));
  return *this;
}

Tensor Fused::run() const {
  check(steps_.count > 0, kName, ": there is no step, expected at least one before run()");
  ChainSteps steps = steps_;
  std::array<Tensor, kChainSteps> expanded;
  std::vector<Tensor> inputs = {x_};
  // The backward as it would be now, to see what it reads.
  kernels::ChainBackwardArgs backward;
  bool recorded = any_requires_grad({&x_});
  if (recorded) backward.gx = x_.ref();
  for (int i = 0; i < steps.count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (steps[i].kind != ChainStep::Kind::tensor) continue;
    expanded[at] = raw::expand(tensors_[at], x_.shape(), kName);
    steps[i].tensor = expanded[at].ref();
    inputs.push_back(tensors_[at]);
    if (!any_requires_grad({&tensors_[at]})) continue;
    recorded = true;
    backward.gtensors[at] = steps[i].tensor;
  }
  Tensor y = raw::chain(x_, steps);
  if (!recorded) return y;
  backward.steps = steps;
  backward.y = y.ref();
  const kernels::ChainBackwardPlan plan(backward);
  auto node = std::make_shared<FusedNode>();
  node->steps = steps_;
  node->shape = y.shape();
  node->strides = y.strides();
  if (plan.reads_x) node->x = Saved(x_);
  if (plan.reads_y) node->y = Saved(y);
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    if (!tensors_[i].defined()) continue;
    node->shapes[i] = tensors_[i].shape();
    if (plan.reads_tensor[i]) node->tensors[i] = Saved(tensors_[i]);
  }
  return record(y, std::move(node), inputs);
}

}  // namespace graft
