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

// The rate and the number of one parameter's update, and the factor on its gradient: the host's, or the clock's.
struct Moment {
  double lr, grad_scale;
  std::int64_t step;
  Moment(const OptimParam& p, double scale, const OptimClock& clock) : lr(p.lr), grad_scale(scale), step(p.step) {
    if (!clock.defined()) return;
    lr *= clock.lr_factor[*clock.step];
    step += *clock.updates;
    if (clock.grad_scale != nullptr) grad_scale = *clock.grad_scale;
  }
};

bool left_out(const OptimClock& clock) {
  return clock.defined() && clock.grad_scale != nullptr && *clock.grad_scale == 0;
}

// What is trained: the master copy where there is one.
double trained(const OptimParam& p, std::int64_t i) { return load(p.master.defined() ? p.master : p.param, i); }
void set_trained(const OptimParam& p, std::int64_t i, double value) {
  if (p.master.defined()) {
    store(p.master, i, value);
    value = load(p.master, i);
  }
  store(p.param, i, value);
}

void sgd(const SgdArgs& args) {
  if (left_out(args.clock)) return;
  for (std::int64_t n = 0; n < args.count; ++n) {
    const OptimParam& p = args.params[n];
    const Moment now(p, args.grad_scale, args.clock);
    for_each_trained(p, [&](std::int64_t i) {
      const double value = trained(p, i);
      double g = now.grad_scale * load(p.grad, i) + p.weight_decay * value;
      if (args.momentum != 0) {
        const double buffer = now.step == 1 ? g : args.momentum * load(p.state0, i) + (1 - args.dampening) * g;
        store(p.state0, i, buffer);
        g = args.nesterov ? g + args.momentum * buffer : buffer;
      }
      set_trained(p, i, value - p.multiplier * now.lr * g);
    });
  }
}

void adam(const AdamArgs& args) {
  if (left_out(args.clock)) return;
  for (std::int64_t n = 0; n < args.count; ++n) {
    const OptimParam& p = args.params[n];
    const Moment now(p, args.grad_scale, args.clock);
    const auto step = static_cast<double>(now.step);
    const double correction1 = 1 - std::pow(args.beta1, step), correction2 = 1 - std::pow(args.beta2, step);
    const double rate = p.multiplier * now.lr;
    for_each_trained(p, [&](std::int64_t i) {
      double value = trained(p, i);
      double g = now.grad_scale * load(p.grad, i);
      if (args.decoupled)
        value -= rate * p.weight_decay * value;
      else
        g += p.weight_decay * value;
      const double m = args.beta1 * load(p.state0, i) + (1 - args.beta1) * g;
      const double v = args.beta2 * load(p.state1, i) + (1 - args.beta2) * g * g;
      store(p.state0, i, m);
      store(p.state1, i, v);
      set_trained(p, i, value - rate * (m / correction1) / (std::sqrt(v / correction2) + args.eps));
    });
  }
}

}  // namespace

void add_optim(BackendTable& table) {
  add<sgd>(table);
  add<adam>(table);
}

}  // namespace graft::kernels::reference
