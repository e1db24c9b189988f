// What a training step keeps in device memory, so that no step waits for the host and one captured step can be
// replayed: its counters, its losses, and the factor on its gradients.
#pragma once

#include <graft/kernels/api/tensor_ref.h>

namespace graft::kernels {

/// The factor on a step's gradients: the clip factor min(1, max_norm / (norm + 1e-6)) of torch's clip_grad_norm_,
/// divided by the loss scale; and the dynamic loss scale's own next value (Micikevicius et al., 2018: halved when a
/// gradient is not finite, doubled after 2,000 steps without).
///
/// squared_norm (f64 scalar): of the gradients as they are. factor (f64 scalar, written): 0 tells the optimiser to
/// leave the step out, where the norm is not finite. loss_scale (f32 scalar, read and written) and good_steps (i64
/// scalar): of the dynamic scale; both undefined for none, and then a norm that is not finite is an error, thrown where
/// the work is waited for. step (i64 scalar): for that error.
struct GradScaleArgs {
  static constexpr const char* name = "grad_scale";
  TensorRef squared_norm, step, factor;
  TensorRef loss_scale{}, good_steps{};
  double max_norm = 0;  // of the unscaled gradients; 0: no clipping
};

inline constexpr std::int64_t kLossScaleGrowth = 2000;  // good steps after which the scale doubles
inline constexpr double kLargestLossScale = 16777216;   // 2^24
inline constexpr double kSmallestLossScale = 1;

/// The end of a step: losses[step] = loss; step += 1; updates += 1 unless *factor is 0.
///
/// loss: a floating scalar. losses (n) f64 contiguous: nothing is kept of a step beyond n. step, updates: i64 scalars,
/// read and written. factor: f64 scalar, or undefined.
struct FinishStepArgs {
  static constexpr const char* name = "finish_step";
  TensorRef loss, factor, losses, step, updates;
};

}  // namespace graft::kernels
