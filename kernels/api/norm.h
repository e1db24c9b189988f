// Batch normalisation (Ioffe and Szegedy, 2015) and layer normalisation (Ba et al., 2016).
#pragma once

#include <graft/kernels/api/tensor_ref.h>

namespace graft::kernels {

/// y = gamma (x - mean) / sqrt(var + eps) + beta per channel.
///
/// x, y (M, C) contiguous: M = N for 2-D input, N H W for images (which lie NHWC); one floating dtype. gamma, beta,
/// running_mean, running_var, mean and inv_std are (C), of dtype f64 when x is f64, else f32; gamma and beta may be
/// undefined (1 and 0). training: mean and biased variance of the batch (M >= 1; M = 1 is refused one level up)
/// normalise; mean and
///   inv_std = 1 / sqrt(var + eps) are written for the backward; running statistics, where defined, move by
///   r = (1 - momentum) r + momentum s, with the unbiased variance (M / (M - 1)); batches, an i64 of one element, where
///   defined, counts one more.
/// inference: running statistics normalise, and mean and inv_std are written from them where defined.
struct BatchNormArgs {
  static constexpr const char* name = "batch_norm";
  TensorRef x, gamma, beta, running_mean, running_var;
  TensorRef y, mean, inv_std;
  double momentum = 0.1;
  double eps = 1e-5;
  bool training = true;
  TensorRef batches{};
};

/// ggamma = sum gy xhat, gbeta = sum gy, and
/// training:  gx = gamma inv_std (gy - mean(gy) - xhat mean(gy xhat));   inference: gx = gamma inv_std gy.
/// gx, ggamma and gbeta are each computed only where defined.
struct BatchNormBackwardArgs {
  static constexpr const char* name = "batch_norm_backward";
  TensorRef x, gy, gamma, mean, inv_std;
  TensorRef gx, ggamma, gbeta;
  bool training = true;
};

/// y = gamma (x - mean) / sqrt(var + eps) + beta over each row. x, y (rows, n) contiguous; gamma, beta (n) or
/// undefined, of x's dtype; mean, inv_std (rows), f64 when x is f64, else f32.
struct LayerNormArgs {
  static constexpr const char* name = "layer_norm";
  TensorRef x, gamma, beta, y, mean, inv_std;
  double eps = 1e-5;
};

struct LayerNormBackwardArgs {
  static constexpr const char* name = "layer_norm_backward";
  TensorRef x, gy, gamma, mean, inv_std;
  TensorRef gx, ggamma, gbeta;  // each computed only where defined
};

}  // namespace graft::kernels
