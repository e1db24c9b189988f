#include <graft/core/optim/step_state.h>

#include <algorithm>
#include <cmath>

#include <graft/core/stream.h>
#include <graft/kernels/api/training.h>
#include <graft/kernels/registry/registry.h>

namespace graft::optim {

StepState::StepState(Options options, Device device) : clip_norm_(options.clip_norm) {
  const auto steps = static_cast<std::int64_t>(options.lr_factor.size());
  check(steps > 0, "StepState: there are no steps");
  check(std::all_of(options.lr_factor.begin(), options.lr_factor.end(),
                    [](double factor) { return std::isfinite(factor) && factor >= 0; }),
        "StepState: a factor on the rate is negative or not finite");
  check(std::isfinite(options.clip_norm) && options.clip_norm >= 0, "StepState: clip_norm is ", options.clip_norm,
        ", expected a finite number from 0");
  check(options.loss_scale == 0 ||
            (options.loss_scale >= kernels::kSmallestLossScale && options.loss_scale <= kernels::kLargestLossScale),
        "StepState: loss_scale is ", options.loss_scale, ", expected 0 (none) or ", kernels::kSmallestLossScale, " to ",
        kernels::kLargestLossScale);
  step_ = Tensor::zeros({}, DType::i64, device);
  updates_ = Tensor::zeros({}, DType::i64, device);
  lr_factor_ = Tensor::from(options.lr_factor, {steps}, device);
  losses_ = Tensor::zeros({steps}, DType::f64, device);
  if (options.loss_scale > 0) {
    loss_scale_ = Tensor::full({}, options.loss_scale, DType::f32, device);
    good_steps_ = Tensor::zeros({}, DType::i64, device);
  }
  if (clip_norm_ > 0 || loss_scale_.defined()) factor_ = Tensor::ones({}, DType::f64, device);
}

StepClock StepState::clock() const { return {step_, lr_factor_, updates_, factor_}; }

std::int64_t StepState::left_out() const { return static_cast<std::int64_t>(step_.item() - updates_.item()); }

void StepState::scale_gradients(const std::vector<Tensor>& params) {
  if (!factor_.defined()) return;
  const Tensor squared = squared_grad_norm(params);
  check(squared.defined(), "StepState::scale_gradients: no parameter has a gradient");
  kernels::GradScaleArgs args{.squared_norm = squared.ref(), .step = step_.ref(), .factor = factor_.ref()};
  if (loss_scale_.defined()) {
    args.loss_scale = loss_scale_.ref();
    args.good_steps = good_steps_.ref();
  }
  args.max_norm = clip_norm_;
  kernels::run(args, current_stream(step_.device()));
}

void StepState::finish(const Tensor& loss) {
  kernels::FinishStepArgs args{
      .loss = loss.ref(), .factor = {}, .losses = losses_.ref(), .step = step_.ref(), .updates = updates_.ref()};
  if (factor_.defined()) args.factor = factor_.ref();
  kernels::run(args, current_stream(step_.device()));
}

}  // namespace graft::optim
