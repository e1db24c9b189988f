// Optimiser updates: one parallel loop over the elements of all parameters.

#include <algorithm>
#include <cmath>

#include <graft/kernels/cpu/common.h>
#include <graft/kernels/cpu/rows.h>

namespace graft::kernels::cpu {
namespace {

template <class Args>
Support optim_support(const Args& args) {
  Support support = check_contract(args);
  if (support.ok && args.clock.defined()) support = Support::no("leaves updates by a clock to the reference backend");
  for (std::int64_t i = 0; support.ok && i < args.count; ++i)
    if (args.params[i].param.dtype != DType::f32)
      support = Support::no(cat("runs f32 only, got params[", i, "].param ", to_string(args.params[i].param)));
  return support;
}

// Calls f(param, first, count) for the ranges of elements that make up all parameters but the frozen ones.
template <class F>
void for_each_range(const OptimParam* params, std::int64_t count, F&& f) {
  std::int64_t total = 0;
  for (std::int64_t i = 0; i < count; ++i) total += params[i].param.numel();
  parallel_for(total, kGrain / 2, [&](std::int64_t begin, std::int64_t end) {
    std::int64_t offset = 0;
    for (std::int64_t i = 0; i < count && offset < end; ++i) {
      const std::int64_t n = params[i].param.numel();
      const std::int64_t first = std::max(begin, offset) - offset, last = std::min(end, offset + n) - offset;
      // A multiplier of 0 freezes, whatever the gradient holds: infinity times 0 would not.
      if (first < last && params[i].multiplier != 0) f(params[i], first, last - first);
      offset += n;
    }
  });
}

const std::uint8_t* mask_at(const OptimParam& p, std::int64_t first) {
  return p.mask.defined() ? static_cast<const std::uint8_t*>(p.mask.data) + first : nullptr;
}

Support supports(const SgdArgs& args) { return optim_support(args); }

void run(const SgdArgs& args, Stream&) {
  const auto kernel = vector_kernels().sgd;
  for_each_range(args.params, args.count, [&](const OptimParam& p, std::int64_t first, std::int64_t n) {
    SgdStep s{};
    s.grad_scale = static_cast<float>(args.grad_scale);
    s.decay = static_cast<float>(p.weight_decay);
    s.momentum = static_cast<float>(args.momentum);
    s.one_minus_dampening = static_cast<float>(1 - args.dampening);
    s.step_size = static_cast<float>(p.multiplier * p.lr);
    s.first = p.step == 1;
    s.nesterov = args.nesterov;
    float* buffer = args.momentum != 0 ? p.state0.as<float>() + first : nullptr;
    kernel(s, p.param.as<float>() + first, p.grad.as<float>() + first, buffer, mask_at(p, first), n);
  });
}

Support supports(const AdamArgs& args) { return optim_support(args); }

void run(const AdamArgs& args, Stream&) {
  const auto kernel = vector_kernels().adam;
  for_each_range(args.params, args.count, [&](const OptimParam& p, std::int64_t first, std::int64_t n) {
    const auto t = static_cast<double>(p.step);
    const double rate = p.multiplier * p.lr;
    AdamStep s{};
    s.beta1 = static_cast<float>(args.beta1);
    s.one_minus_beta1 = static_cast<float>(1 - args.beta1);
    s.beta2 = static_cast<float>(args.beta2);
    s.one_minus_beta2 = static_cast<float>(1 - args.beta2);
    s.eps = static_cast<float>(args.eps);
    s.grad_scale = static_cast<float>(args.grad_scale);
    s.decay = static_cast<float>(args.decoupled ? 0 : p.weight_decay);
    s.keep = static_cast<float>(args.decoupled ? 1 - rate * p.weight_decay : 1);
    s.step_size = static_cast<float>(rate / (1 - std::pow(args.beta1, t)));
    s.inv_sqrt_c2 = static_cast<float>(1 / std::sqrt(1 - std::pow(args.beta2, t)));
    kernel(s, p.param.as<float>() + first, p.grad.as<float>() + first, p.state0.as<float>() + first,
           p.state1.as<float>() + first, mask_at(p, first), n);
  });
}

}  // namespace

void add_optim(BackendTable& table) {
  table.row<SgdArgs>() = {supports, run};
  table.row<AdamArgs>() = {supports, run};
}

}  // namespace graft::kernels::cpu
