// Optimisers with PyTorch's semantics. A parameter whose gradient is undefined is skipped entirely: no decay, no
// momentum, no state. So is one that does not require a gradient, even where an earlier backward has left one.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include <graft/core/tensor.h>
#include <graft/kernels/api/export.h>
#include <graft/kernels/api/optim.h>

namespace graft::optim {

/// Parameters that share settings. The rate and the decay may be changed between steps.
struct GRAFT_API ParamGroup {
  std::vector<Tensor> params{};
  double lr = 1e-3;
  double weight_decay = 0;
};

/// What an optimiser reads from its device's memory at each step, so that a captured step can be replayed. All on the
/// parameters' device.
struct GRAFT_API StepClock {
  Tensor step;        // i64 scalar: which entry of lr_factor
  Tensor lr_factor;   // f64 (n): times each group's lr
  Tensor updates;     // i64 scalar: updates made since follow(), counted by whoever ends the step (finish_step)
  Tensor grad_scale;  // f64 scalar or undefined: replaces step()'s argument; 0: the update is left out
};

/// How the update of one parameter is limited.
struct GRAFT_API UpdateLimit {
  double multiplier = 1;  // scales the whole step after the optimiser's own normalisation; 0: the parameter is skipped
  Tensor mask{};          // bool or u8, the parameter's shape; elements with 0 keep their bytes; undefined for none
};

class GRAFT_API Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// One update of every parameter that has a gradient. `grad_scale` multiplies the gradients first (the clip factor).
  void step(double grad_scale = 1);
  /// Drops all gradients.
  void zero_grad();
  /// Throws Error unless `param` is one of the parameters. The mask is copied.
  void limit(const Tensor& param, UpdateLimit limit);

  /// From now on step() takes rates and numbers of updates from the clock, for at most lr_factor.numel() updates, and
  /// counts nothing itself. Throws Error unless the clock is as StepClock says.
  void follow(const StepClock& clock);
  /// step() is as before, after the updates that the clock has counted (each of which every parameter with state has
  /// had). Waits for the device.
  void unfollow();
  /// `param`, bf16 or f16, is the rounded copy of `master` (f32, same shape), which updates from now on are made to.
  /// Throws Error unless `param` is one of the parameters.
  void set_master(const Tensor& param, const Tensor& master);

  std::vector<ParamGroup>& groups() { return groups_; }
  const std::vector<ParamGroup>& groups() const { return groups_; }
  /// Sets the rate of every group.
  void set_lr(double lr);

  /// Whether any state (moments, step count) is held for the parameter.
  bool has_state(const Tensor& param) const;
  std::size_t state_bytes() const;

 protected:
  /// Throws Error when a group is empty, a parameter is undefined, not a dense floating leaf, or given twice.
  explicit Optimizer(std::vector<ParamGroup> groups);

  /// How many state tensors the optimiser keeps for a parameter (0, 1 or 2).
  virtual int state_count() const = 0;
  virtual void update(const std::vector<kernels::OptimParam>& params, double grad_scale,
                      const kernels::OptimClock& clock, Device device) = 0;
  /// OptimClock::corrections for the first n updates; none where the update has no such thing.
  virtual std::vector<double> corrections(std::int64_t n) const {
    (void)n;
    return {};
  }

 private:
  struct State {
    Tensor state0, state1;
    std::int64_t step = 0;
  };
  bool is_parameter(const Tensor& param) const;
  kernels::OptimClock memory_of_clock() const;

  std::vector<ParamGroup> groups_;
  std::unordered_map<TensorState*, State> states_;
  std::unordered_map<TensorState*, UpdateLimit> limits_;
  std::unordered_map<TensorState*, Tensor> masters_;
  StepClock clock_;
  Tensor corrections_;                      // of the clock
  std::vector<kernels::OptimParam> batch_;  // kept between steps so that a step allocates nothing
};

struct GRAFT_API SgdOptions {
  double lr = 1e-3;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
};

class GRAFT_API Sgd final : public Optimizer {
 public:
  Sgd(std::vector<Tensor> params, SgdOptions options);
  /// Groups bring their own lr and weight_decay.
  Sgd(std::vector<ParamGroup> groups, SgdOptions options);

 private:
  int state_count() const override { return options_.momentum != 0 ? 1 : 0; }
  void update(const std::vector<kernels::OptimParam>& params, double grad_scale, const kernels::OptimClock& clock,
              Device device) override;
  SgdOptions options_;
};

struct GRAFT_API AdamOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
};

/// Adam (Kingma and Ba, 2015); weight decay is added to the gradient.
class GRAFT_API Adam : public Optimizer {
 public:
  Adam(std::vector<Tensor> params, AdamOptions options);
  Adam(std::vector<ParamGroup> groups, AdamOptions options);

 protected:
  Adam(std::vector<ParamGroup> groups, AdamOptions options, bool decoupled);

 private:
  int state_count() const override { return 2; }
  void update(const std::vector<kernels::OptimParam>& params, double grad_scale, const kernels::OptimClock& clock,
              Device device) override;
  std::vector<double> corrections(std::int64_t n) const override;
  AdamOptions options_;
  bool decoupled_ = false;
};

/// AdamW (Loshchilov and Hutter, 2019); weight decay shrinks the parameter directly.
class GRAFT_API AdamW final : public Adam {
 public:
  AdamW(std::vector<Tensor> params, AdamOptions options);
  AdamW(std::vector<ParamGroup> groups, AdamOptions options);
};

/// The sum of squares of all gradients, an f64 scalar on their device; undefined when there are none.
GRAFT_API Tensor squared_grad_norm(const std::vector<Tensor>& params);

/// The 2-norm of all gradients together; parameters without a gradient, and frozen ones, have no share.
GRAFT_API double grad_norm(const std::vector<Tensor>& params);

/// The factor min(1, max_norm / (norm + 1e-6)) for Optimizer::step, as torch.nn.utils.clip_grad_norm_. Throws Error,
/// naming the first parameter at fault, when the norm is not finite.
GRAFT_API double clip_factor(const std::vector<Tensor>& params, double max_norm);

}  // namespace graft::optim
