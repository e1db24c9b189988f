#include <graft/core/optim/optimizer.h>

#include <algorithm>
#include <cmath>
#include <unordered_set>
#include <utility>

#include <graft/core/stream.h>
#include <graft/kernels/api/contracts.h>
#include <graft/kernels/registry/registry.h>

namespace graft::optim {
namespace {

std::string title(const Tensor& param) {
  return cat("parameter ", param.name().empty() ? std::string("(unnamed)") : cat("'", param.name(), "'"), ", ",
             to_string(param));
}

/// Frozen parameters take no part, whatever gradient an earlier backward has left on them.
bool takes_part(const Tensor& param) { return param.requires_grad() && param.grad().defined(); }

/// Uninitialised memory in which element i is the same element as in `param`.
Tensor empty_in_order_of(const Tensor& param, DType dtype) {
  return Tensor::empty({param.numel()}, dtype, param.device()).as_strided(param.shape(), param.strides(), 0);
}

Tensor copy_in_order_of(const Tensor& param, const Tensor& source) {
  Tensor copy = empty_in_order_of(param, source.dtype());
  copy.copy_(source);
  return copy;
}

Tensor zeros_in_order_of(const Tensor& param, DType dtype) {
  Tensor zeros = empty_in_order_of(param, dtype);
  zeros.zero_();
  return zeros;
}

DType state_dtype(const Tensor& param) { return param.dtype() == DType::f64 ? DType::f64 : DType::f32; }

void check_number(const char* optimizer, const char* what, double value, bool ok, const char* expected) {
  check(std::isfinite(value) && ok, optimizer, ": ", what, " is ", value, ", expected ", expected);
}

void check_rates(double lr, double weight_decay) {
  check_number("Optimizer", "lr", lr, lr >= 0, "a finite number from 0 up");
  check_number("Optimizer", "weight_decay", weight_decay, weight_decay >= 0, "a finite number from 0 up");
}

std::vector<ParamGroup> one_group(std::vector<Tensor> params, double lr, double weight_decay) {
  std::vector<ParamGroup> groups(1);
  groups[0].params = std::move(params);
  groups[0].lr = lr;
  groups[0].weight_decay = weight_decay;
  return groups;
}

void check_same_device(const char* what, const Tensor& param, Device device) {
  if (!(param.device() == device)) [[unlikely]]
    fail(what, ": ", title(param), " lies beside parameters on ", to_string(device),
         "; expected all on one device (make one optimiser for each)");
}

}  // namespace

Optimizer::Optimizer(std::vector<ParamGroup> groups) : groups_(std::move(groups)) {
  check(!groups_.empty(), "Optimizer: no parameter groups were given");
  std::unordered_set<TensorState*> seen;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    const ParamGroup& group = groups_[g];
    check(!group.params.empty(), "Optimizer: group ", g, " has no parameters");
    check_rates(group.lr, group.weight_decay);
    for (std::size_t i = 0; i < group.params.size(); ++i) {
      const Tensor& p = group.params[i];
      check(p.defined(), "Optimizer: parameter ", i, " of group ", g, " is undefined");
      check(is_floating(p.dtype()), "Optimizer: ", title(p), " is not floating");
      check(p.is_leaf(), "Optimizer: ", title(p), " is the result of an op, expected a leaf");
      check(p.is_dense(), "Optimizer: ", title(p), " has strides ", p.strides(),
            ", expected dense memory without gaps");
      check(seen.insert(p.state()).second, "Optimizer: ", title(p), " (number ", i, " of group ", g,
            ") was given before; expected each parameter once");
    }
  }
}

void Optimizer::step(double grad_scale) {
  check(std::isfinite(grad_scale), "Optimizer::step: grad_scale is ", grad_scale, ", expected a finite number");
  batch_.clear();
  std::vector<Tensor>
      converted;  // gradients brought into their parameter's element order, alive until the update is done
  const Device device = groups_.front().params.front().device();
  const int states = state_count();

  for (const ParamGroup& group : groups_) {
    check_rates(group.lr, group.weight_decay);
    for (const Tensor& p : group.params) {
      if (!takes_part(p)) continue;
      const auto limit = limits_.find(p.state());
      const bool limited = limit != limits_.end();
      if (limited && limit->second.multiplier == 0) continue;
      check_same_device("Optimizer::step", p, device);

      kernels::OptimParam& entry = batch_.emplace_back();
      entry.param = p.ref();
      entry.lr = group.lr;
      entry.weight_decay = group.weight_decay;
      if (limited) {
        entry.multiplier = limit->second.multiplier;
        if (limit->second.mask.defined()) entry.mask = limit->second.mask.ref();
      }
      if (const auto master = masters_.find(p.state()); master != masters_.end()) entry.master = master->second.ref();
      const Tensor grad = p.grad();
      entry.grad = grad.ref();
      if (!kernels::same_layout(entry.grad, entry.param))
        entry.grad = converted.emplace_back(copy_in_order_of(p, grad)).ref();
      if (states > 0) {
        State& state = states_[p.state()];
        if (!state.state0.defined()) state.state0 = zeros_in_order_of(p, state_dtype(p));
        if (states > 1 && !state.state1.defined()) state.state1 = zeros_in_order_of(p, state_dtype(p));
        entry.state0 = state.state0.ref();
        if (states > 1) entry.state1 = state.state1.ref();
        entry.step = state.step + 1;
      }
    }
  }
  if (batch_.empty()) return;
  const bool follows = clock_.step.defined();
  update(batch_, grad_scale, follows ? memory_of_clock() : kernels::OptimClock{}, device);

  // Counted only now: an update that was refused has not happened.
  for (ParamGroup& group : groups_)
    for (Tensor& p : group.params) {
      if (!takes_part(p)) continue;
      const auto limit = limits_.find(p.state());
      if (limit != limits_.end() && limit->second.multiplier == 0) continue;
      p.bump_version();
      if (states > 0 && !follows) ++states_[p.state()].step;
    }
}

kernels::OptimClock Optimizer::memory_of_clock() const {
  const auto data = [](const Tensor& t) { return t.defined() ? t.ref().data : nullptr; };
  return {static_cast<const std::int64_t*>(data(clock_.step)), static_cast<const double*>(data(clock_.lr_factor)),
          static_cast<const std::int64_t*>(data(clock_.updates)), static_cast<const double*>(data(corrections_)),
          static_cast<const double*>(data(clock_.grad_scale))};
}

void Optimizer::follow(const StepClock& clock) {
  const Device device = groups_.front().params.front().device();
  const auto require = [&](const char* what, const Tensor& t, DType dtype, int rank) {
    check(t.defined() && t.dtype() == dtype && t.dim() == rank && t.is_contiguous() && t.device() == device,
          "Optimizer::follow: ", what, " is ", t, ", expected ", name(dtype), rank == 0 ? " scalar" : " vector", " on ",
          device);
  };
  require("step", clock.step, DType::i64, 0);
  require("lr_factor", clock.lr_factor, DType::f64, 1);
  require("updates", clock.updates, DType::i64, 0);
  if (clock.grad_scale.defined()) require("grad_scale", clock.grad_scale, DType::f64, 0);
  std::int64_t before = 0;
  for (const auto& [param, state] : states_) before = std::max(before, state.step);
  const std::vector<double> table = corrections(before + clock.lr_factor.numel());
  corrections_ = table.empty() ? Tensor() : Tensor::from(table, {static_cast<std::int64_t>(table.size())}, device);
  clock_ = clock;
}

void Optimizer::unfollow() {
  if (!clock_.step.defined()) return;
  const auto made = static_cast<std::int64_t>(clock_.updates.item());
  for (auto& [param, state] : states_) state.step += made;
  clock_ = {};
  corrections_ = {};
}

void Optimizer::set_master(const Tensor& param, const Tensor& master) {
  check(is_parameter(param), "Optimizer::set_master: ", title(param), " is not a parameter of this optimiser");
  check(master.defined() && master.dtype() == DType::f32 && master.shape() == param.shape() &&
            kernels::same_layout(master.ref(), param.ref()) && master.device() == param.device() &&
            (param.dtype() == DType::bf16 || param.dtype() == DType::f16),
        "Optimizer::set_master: ", title(param), ", the master ", master,
        ": expected f32 of the same shape and layout beside bf16 or f16");
  masters_[param.state()] = master;
}

bool Optimizer::is_parameter(const Tensor& param) const {
  return param.defined() && std::any_of(groups_.begin(), groups_.end(), [&](const ParamGroup& group) {
           return std::any_of(group.params.begin(), group.params.end(),
                              [&](const Tensor& p) { return p.is_same(param); });
         });
}

void Optimizer::zero_grad() {
  for (ParamGroup& group : groups_)
    for (Tensor& p : group.params) p.set_grad({});
}

void Optimizer::limit(const Tensor& param, UpdateLimit limit) {
  check(param.defined(), "Optimizer::limit: the parameter is undefined");
  check(is_parameter(param), "Optimizer::limit: ", title(param), " is not a parameter of this optimiser");
  check(std::isfinite(limit.multiplier) && limit.multiplier >= 0, "Optimizer::limit: the multiplier of ", title(param),
        " is ", limit.multiplier, ", expected a finite number from 0 (frozen) up");
  if (limit.mask.defined()) {
    const Tensor& mask = limit.mask;
    check(mask.dtype() == DType::boolean || mask.dtype() == DType::u8, "Optimizer::limit: the mask of ", title(param),
          " is ", mask, ", expected bool or u8");
    check(mask.shape() == param.shape(), "Optimizer::limit: the mask of ", title(param), " is ", mask,
          ", expected the parameter's shape");
    check(mask.device() == param.device(), "Optimizer::limit: the mask of ", title(param), " is ", mask,
          ", expected the parameter's device");
    // A copy of its own: what the caller does to the mask afterwards has no effect on the updates.
    limit.mask = copy_in_order_of(param, mask);
  }
  limits_[param.state()] = std::move(limit);
}

void Optimizer::set_lr(double lr) {
  check_rates(lr, 0);
  for (ParamGroup& group : groups_) group.lr = lr;
}

bool Optimizer::has_state(const Tensor& param) const { return states_.count(param.state()) != 0; }

std::size_t Optimizer::state_bytes() const {
  std::size_t bytes = 0;
  for (const auto& [param, state] : states_)
    for (const Tensor* t : {&state.state0, &state.state1})
      if (t->defined()) bytes += static_cast<std::size_t>(t->numel()) * size_of(t->dtype());
  return bytes;
}

Sgd::Sgd(std::vector<Tensor> params, SgdOptions options)
    : Sgd(one_group(std::move(params), options.lr, options.weight_decay), options) {}

Sgd::Sgd(std::vector<ParamGroup> groups, SgdOptions options) : Optimizer(std::move(groups)), options_(options) {
  check_number("Sgd", "momentum", options.momentum, options.momentum >= 0, "a finite number from 0 up");
  check_number("Sgd", "dampening", options.dampening, true, "a finite number");
  check(!options.nesterov || (options.momentum > 0 && options.dampening == 0), "Sgd: nesterov with momentum ",
        options.momentum, " and dampening ", options.dampening, ", expected momentum above 0 and no dampening");
}

void Sgd::update(const std::vector<kernels::OptimParam>& params, double grad_scale, const kernels::OptimClock& clock,
                 Device device) {
  kernels::SgdArgs args;
  args.params = params.data();
  args.count = static_cast<std::int64_t>(params.size());
  args.momentum = options_.momentum;
  args.dampening = options_.dampening;
  args.nesterov = options_.nesterov;
  args.grad_scale = grad_scale;
  args.clock = clock;
  kernels::run(args, current_stream(device));
}

Adam::Adam(std::vector<Tensor> params, AdamOptions options)
    : Adam(one_group(std::move(params), options.lr, options.weight_decay), options) {}

Adam::Adam(std::vector<ParamGroup> groups, AdamOptions options) : Adam(std::move(groups), options, false) {}

Adam::Adam(std::vector<ParamGroup> groups, AdamOptions options, bool decoupled)
    : Optimizer(std::move(groups)), options_(options), decoupled_(decoupled) {
  const char* name = decoupled ? "AdamW" : "Adam";
  check_number(name, "beta1", options.beta1, options.beta1 >= 0 && options.beta1 < 1, "0 or more and below 1");
  check_number(name, "beta2", options.beta2, options.beta2 >= 0 && options.beta2 < 1, "0 or more and below 1");
  check_number(name, "eps", options.eps, options.eps >= 0, "a finite number from 0 up");
}

void Adam::update(const std::vector<kernels::OptimParam>& params, double grad_scale, const kernels::OptimClock& clock,
                  Device device) {
  kernels::AdamArgs args;
  args.params = params.data();
  args.count = static_cast<std::int64_t>(params.size());
  args.beta1 = options_.beta1;
  args.beta2 = options_.beta2;
  args.eps = options_.eps;
  args.decoupled = decoupled_;
  args.grad_scale = grad_scale;
  args.clock = clock;
  kernels::run(args, current_stream(device));
}

std::vector<double> Adam::corrections(std::int64_t n) const {
  std::vector<double> table;
  table.reserve(static_cast<std::size_t>(2 * n));
  for (std::int64_t t = 1; t <= n; ++t) {
    table.push_back(1 - std::pow(options_.beta1, static_cast<double>(t)));
    table.push_back(1 / std::sqrt(1 - std::pow(options_.beta2, static_cast<double>(t))));
  }
  return table;
}

AdamW::AdamW(std::vector<Tensor> params, AdamOptions options)
    : AdamW(one_group(std::move(params), options.lr, options.weight_decay), options) {}

AdamW::AdamW(std::vector<ParamGroup> groups, AdamOptions options) : Adam(std::move(groups), options, true) {}

Tensor squared_grad_norm(const std::vector<Tensor>& params) {
  std::vector<Tensor> gradients;
  for (const Tensor& p : params) {
    check(p.defined(), "grad_norm: a parameter is undefined");
    if (!takes_part(p)) continue;
    check_same_device("grad_norm", p, params.front().device());
    const Tensor grad = p.grad();
    gradients.push_back(grad.is_dense() ? grad : copy_in_order_of(p, grad));
  }
  if (gradients.empty()) return {};

  std::vector<kernels::TensorRef> refs;
  refs.reserve(gradients.size());
  for (const Tensor& g : gradients) refs.push_back(g.ref());
  const Device device = gradients.front().device();
  const Tensor squared = Tensor::empty({}, DType::f64, device);
  kernels::SquaredNormArgs args;
  args.tensors = refs.data();
  args.count = static_cast<std::int64_t>(refs.size());
  args.y = squared.ref();
  kernels::run(args, current_stream(device));
  return squared;
}

double grad_norm(const std::vector<Tensor>& params) {
  const Tensor squared = squared_grad_norm(params);
  return squared.defined() ? std::sqrt(squared.item()) : 0;
}

double clip_factor(const std::vector<Tensor>& params, double max_norm) {
  check(std::isfinite(max_norm) && max_norm > 0, "clip_factor: max_norm is ", max_norm,
        ", expected a finite number above 0");
  const double norm = grad_norm(params);
  if (!std::isfinite(norm)) {
    // A search only now that something is wrong: which gradient is it?
    for (const Tensor& p : params)
      if (takes_part(p) && !std::isfinite(grad_norm({p})))
        fail("clip_factor: the gradient of ", title(p), " has the norm ", grad_norm({p}),
             ", expected finite gradients (a lower rate or a look at the input may help)");
    fail("clip_factor: the norm of the gradients is ", norm, ", expected a finite number");
  }
  return std::min(1.0, max_norm / (norm + 1e-6));
}

}  // namespace graft::optim
