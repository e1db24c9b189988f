// Contracts of the chains of element-by-element steps.
#include <graft/kernels/api/contracts.h>

#include <tuple>

#include <graft/kernels/api/contract.h>

namespace graft::kernels {
namespace {

constexpr const char* kTensors[] = {"steps[0].tensor", "steps[1].tensor", "steps[2].tensor", "steps[3].tensor",
                                    "steps[4].tensor", "steps[5].tensor", "steps[6].tensor", "steps[7].tensor"};
constexpr const char* kGradients[] = {"gtensors[0]", "gtensors[1]", "gtensors[2]", "gtensors[3]",
                                      "gtensors[4]", "gtensors[5]", "gtensors[6]", "gtensors[7]"};
static_assert(std::size(kTensors) == kChainSteps && std::size(kGradients) == kChainSteps);

/// The steps over `x`. `reads`: null where every tensor is read.
void check_steps(Contract& c, const ChainSteps& steps, const char* x_name, const TensorRef& x,
                 const std::array<bool, kChainSteps>* reads) {
  c.require(steps.count >= 1 && steps.count <= kChainSteps, "the chain has ", steps.count, " steps: expected 1 to ",
            kChainSteps);
  if (!c.ok()) return;
  int tensors = 0;
  for (int i = 0; i < steps.count && c.ok(); ++i) {
    const ChainStep& step = steps[i];
    if (step.kind == ChainStep::Kind::unary) continue;
    c.require(!is_comparison(step.binary), "steps[", i, "] is ", name(step.binary), ": expected add, sub, mul or div");
    if (step.kind != ChainStep::Kind::tensor) continue;
    ++tensors;
    if (reads != nullptr && !(*reads)[static_cast<std::size_t>(i)] && !step.tensor.defined()) continue;
    const char* what = kTensors[i];
    c.input(what, step.tensor).same_dtype(what, step.tensor, x_name, x).same_shape(what, step.tensor, x_name, x);
  }
  c.require(tensors <= kChainTensors, tensors, " steps take a tensor: expected at most ", kChainTensors);
}

}  // namespace

Support check_contract(const ChainArgs& args) {
  Contract c;
  c.input("x", args.x).output("y", args.y).floating("x", args.x);
  c.same_dtype("y", args.y, "x", args.x).same_shape("y", args.y, "x", args.x);
  check_steps(c, args.steps, "x", args.x, nullptr);
  return c.result();
}

Support check_contract(const ChainBackwardArgs& args) {
  Contract c;
  const auto like_gy = [&](const char* what, const TensorRef& t) {
    c.same_dtype(what, t, "gy", args.gy).same_shape(what, t, "gy", args.gy);
  };
  c.input("gy", args.gy).floating("gy", args.gy);
  c.require(args.steps.count >= 1 && args.steps.count <= kChainSteps, "the chain has ", args.steps.count,
            " steps: expected 1 to ", kChainSteps);
  if (!c.ok()) return c.result();
  const ChainBackwardPlan plan(args);
  for (const auto& [what, t, read] : {std::tuple{"x", &args.x, plan.reads_x}, {"y", &args.y, plan.reads_y}}) {
    if (!read && !t->defined()) continue;
    c.input(what, *t);
    like_gy(what, *t);
  }
  check_steps(c, args.steps, "gy", args.gy, &plan.reads_tensor);
  const TensorRef* first = nullptr;
  const auto gradient = [&](const char* what, const TensorRef& g) {
    if (!g.defined()) return;
    c.output(what, g);
    like_gy(what, g);
    if (first == nullptr) first = &g;
    c.require(same_layout(g, *first), what, " has strides ", g.strides, ": expected those of the other gradients, ",
              first->strides);
  };
  gradient("gx", args.gx);
  for (int i = 0; i < kChainSteps && c.ok(); ++i) {
    const TensorRef& g = args.gtensors[static_cast<std::size_t>(i)];
    c.require(!g.defined() || (i < args.steps.count && args.steps[i].kind == ChainStep::Kind::tensor), kGradients[i],
              " is ", g, ", but there is no such step with a tensor");
    gradient(kGradients[i], g);
  }
  c.require(first != nullptr, "no gradient is defined: expected gx or one of gtensors");
  return c.result();
}

}  // namespace graft::kernels
