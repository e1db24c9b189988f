// The ops of neural networks. Semantics and defaults are those of torch.nn.functional; images are logical NCHW and lie
// channels-last (an op converts a contiguous input once, at the edge).
#pragma once

#include <array>
#include <optional>

#include <graft/core/random.h>
#include <graft/core/tensor.h>
#include <graft/kernels/api/conv2d.h>
#include <graft/kernels/api/export.h>
#include <graft/kernels/api/pool.h>
#include <graft/kernels/api/softmax.h>

namespace graft {

using kernels::Conv2dGeometry;
using kernels::PoolGeometry;
using kernels::Reduction;

/// (..., M, K) @ (..., K, N), batch dimensions broadcast. Vectors are not promoted: give them a dimension.
GRAFT_API Tensor matmul(const Tensor& a, const Tensor& b);
/// x (..., in) @ weight (out, in)^T + bias (out).
GRAFT_API Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});
/// x (N, C, H, W), weight (K, C/groups, R, S), bias (K) or undefined -> (N, K, P, Q).
GRAFT_API Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                        const Conv2dGeometry& geometry = {});

GRAFT_API Tensor softmax(const Tensor& x, int dim);
GRAFT_API Tensor log_softmax(const Tensor& x, int dim);

struct GRAFT_API CrossEntropyOptions {
  Reduction reduction = Reduction::mean;
  double label_smoothing = 0;
  std::int64_t ignore_index = -100;
  Tensor class_weights{};  // (C) or undefined; gets no gradient, and is refused if it requires one
};
/// logits (N, C), targets (N) i64 -> scalar, or (N) without reduction. f32 for the storage types.
GRAFT_API Tensor cross_entropy(const Tensor& logits, const Tensor& targets, const CrossEntropyOptions& options = {});

/// `relu` fuses max(., 0) behind the pooling: one pass over memory less in each direction.
GRAFT_API Tensor max_pool2d(const Tensor& x, const PoolGeometry& geometry, bool relu = false);
GRAFT_API Tensor avg_pool2d(const Tensor& x, const PoolGeometry& geometry);
GRAFT_API Tensor adaptive_avg_pool2d(const Tensor& x, std::int64_t height, std::int64_t width);

struct GRAFT_API BatchNormOptions {
  double momentum = 0.1;
  double eps = 1e-5;
  bool training = true;
  Tensor num_batches_tracked{};  // i64, one element, or undefined: training adds one in place
};
/// x (N, C), (N, C, L) or (N, C, H, W); gamma, beta (C) or undefined; running statistics (C), changed in place when
/// training, or undefined (then the batch's are used). Training needs more than one value a channel.
GRAFT_API Tensor batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, Tensor running_mean,
                            Tensor running_var, const BatchNormOptions& options = {});
/// Over the last gamma.dim() dimensions, or over the last `dims` when gamma is undefined.
GRAFT_API Tensor layer_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps = 1e-5, int dims = 1);

/// In training x / (1 - p) with probability 1 - p, else 0; outside training x itself.
GRAFT_API Tensor dropout(const Tensor& x, double p, bool training, Generator& generator = default_generator());

/// x (N, C, H, W) warped by theta (N, 2, 3) f32 (kernels/api/affine.h); refuses arguments that require grad.
GRAFT_API Tensor affine_warp(const Tensor& x, const Tensor& theta, double fill = 0);

}  // namespace graft
