// Softmax, log-softmax and cross-entropy over rows.
#pragma once

#include <graft/kernels/api/tensor_ref.h>

namespace graft::kernels {

/// y = softmax(x) or log_softmax(x) over each row. x, y (rows, n) contiguous, one floating dtype.
struct SoftmaxArgs {
  static constexpr const char* name = "softmax";
  TensorRef x, y;
  bool log = false;
};

/// softmax: gx = y (gy - sum(gy y)). log_softmax: gx = gy - exp(y) sum(gy). All (rows, n) contiguous.
struct SoftmaxBackwardArgs {
  static constexpr const char* name = "softmax_backward";
  TensorRef y, gy, gx;
  bool log = false;
};

enum class Reduction : std::uint8_t { none, mean, sum };

/// Cross-entropy of logits and class indices, fused with softmax; semantics of torch.nn.functional.cross_entropy.
///
/// logits (N, C) contiguous floating; targets (N) i64 in [0, C) or equal to ignore_index; class_weights (C) of the
/// logits' dtype or undefined. With p = softmax(logits), s = label_smoothing, w = class_weights (1 if undefined):
///   loss_i = (1 - s) w[t] (-log p[t]) + (s / C) sum_c w[c] (-log p[c]);   0 for an ignored row.
/// loss: (N) for none, a scalar for sum, and for mean the sum over rows divided by the sum of w[t] of the rows not
/// ignored. Outputs kept for the backward: row_max (N), the greatest logit of each row (NaN if one is), and log_sum
/// (N), log(sum(exp(logit - row_max))): -log p[c] = log_sum - (logit[c] - row_max). Their sum as one number would round
/// at the size of the logits, and lose the digits of their differences. Also scale, a scalar that is 1 for none and
/// sum, 1 / sum(w[t]) for mean (infinite when every row is ignored: the mean is NaN, as PyTorch's). loss, row_max,
/// log_sum and scale have dtype f64 when the logits are f64, else f32. Throws Error naming row, target and range where
/// a target is outside.
struct CrossEntropyArgs {
  static constexpr const char* name = "cross_entropy";
  TensorRef logits, targets, class_weights;
  TensorRef loss, row_max, log_sum, scale;
  Reduction reduction = Reduction::mean;
  double label_smoothing = 0;
  std::int64_t ignore_index = -100;
};

/// gx (N, C): gradient with respect to the logits. gy: (N) for none, else a scalar, of loss's dtype; undefined: ones.
struct CrossEntropyBackwardArgs {
  static constexpr const char* name = "cross_entropy_backward";
  TensorRef logits, targets, class_weights, row_max, log_sum, scale, gy, gx;
  Reduction reduction = Reduction::mean;
  double label_smoothing = 0;
  std::int64_t ignore_index = -100;
};

}  // namespace graft::kernels
