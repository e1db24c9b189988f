#include <graft/kernels/reference/internal.h>

namespace graft::kernels::reference {
namespace {

// Calls f(i) for the elements, in memory order, that the parameter may change.
template <class F>
void for_each_trained(const OptimParam& p, F&& f) {
  if (p.multiplier == 0) return;  // a frozen parameter keeps its bytes, whatever the gradient holds
  for (std::int64_t i = 0; i < p.param.numel(); ++i)
    if (!p.mask.defined() || load(p.mask, i) != 0) f(i);
}

void sgd(const SgdArgs& args) {
  for (std::int64_t n = 0; n < args.count; ++n) {
    const OptimParam& p = args.params[n];
    for_each_trained(p, [&](std::int64_t i) {
      const double value = load(p.param, i);
      double g = args.grad_scale * load(p.grad, i) + p.weight_decay * value;
      if (args.momentum != 0) {
        const double buffer = p.step == 1 ? g : args.momentum * load(p.state0, i) + (1 - args.dampening) * g;
        store(p.state0, i, buffer);
        g = args.nesterov ? g + args.momentum * buffer : buffer;
      }
      store(p.param, i, value - p.multiplier * p.lr * g);
    });
  }
}

void adam(const AdamArgs& args) {
  for (std::int64_t n = 0; n < args.count; ++n) {
    const OptimParam& p = args.params[n];
    const auto step = static_cast<double>(p.step);
    const double correction1 = 1 - std::pow(args.beta1, step), correction2 = 1 - std::pow(args.beta2, step);
    const double rate = p.multiplier * p.lr;
    for_each_trained(p, [&](std::int64_t i) {
      double value = load(p.param, i);
      double g = args.grad_scale * load(p.grad, i);
      if (args.decoupled)
        value -= rate * p.weight_decay * value;
      else
        g += p.weight_decay * value;
      const double m = args.beta1 * load(p.state0, i) + (1 - args.beta1) * g;
      const double v = args.beta2 * load(p.state1, i) + (1 - args.beta2) * g * g;
      store(p.state0, i, m);
      store(p.state1, i, v);
      store(p.param, i, value - rate * (m / correction1) / (std::sqrt(v / correction2) + args.eps));
    });
  }
}

}  // namespace

void add_optim(BackendTable& table) {
  add<sgd>(table);
  add<adam>(table);
}

}  // namespace graft::kernels::reference
