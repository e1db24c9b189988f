// The counters, losses and gradient factor of a run of training steps, in memory of the device: nothing in a step waits
// for the host, and one captured step can be replayed.
#pragma once

#include <vector>

#include <graft/core/optim/optimizer.h>
#include <graft/core/tensor.h>
#include <graft/kernels/api/export.h>

namespace graft::optim {

class GRAFT_API StepState {
 public:
  struct Options {
    std::vector<double> lr_factor;  // of each step: their number is that of the steps
    double clip_norm = 0;           // 0: no clipping
    double loss_scale = 0;          // the dynamic loss scale to begin with; 0: none
  };
  /// Throws Error when there are no steps, or a number is negative or not finite.
  StepState(Options options, Device device);

  /// What an optimiser follows.
  StepClock clock() const;
  /// Steps done since the beginning, an i64 scalar on the device.
  const Tensor& step() const { return step_; }
  /// The loss of each step that is done, f64 (steps).
  const Tensor& losses() const { return losses_; }
  /// What backward() starts with: the loss scale (f32 scalar), or undefined where there is none.
  const Tensor& loss_scale() const { return loss_scale_; }
  /// Steps that were left out because a gradient was not finite, which the loss scale answers. Waits for the device.
  std::int64_t left_out() const;

  /// After backward(): sets the factor on these parameters' gradients, where there is one. A norm that is not finite
  /// leaves the step out with a loss scale; without one it is an Error where the work is waited for.
  void scale_gradients(const std::vector<Tensor>& params);
  /// After the optimiser's step(): keeps the loss (a floating scalar) and counts.
  void finish(const Tensor& loss);

 private:
  double clip_norm_;
  Tensor step_, lr_factor_, updates_, losses_, factor_, loss_scale_, good_steps_;
};

}  // namespace graft::optim
