// 2-D convolution (cross-correlation, as every framework's), NHWC activations and KRSC weights in memory.
#pragma once

#include <graft/kernels/api/export.h>
#include <graft/kernels/api/matmul.h>

namespace graft::kernels {

struct GRAFT_API Conv2dGeometry {
  std::int64_t stride_h = 1, stride_w = 1;
  std::int64_t padding_h = 0, padding_w = 0;
  std::int64_t dilation_h = 1, dilation_w = 1;
  std::int64_t groups = 1;

  friend bool operator==(const Conv2dGeometry&, const Conv2dGeometry&) = default;
};

/// (in + 2 padding - dilation (kernel - 1) - 1) / stride + 1; 0 or less means that the kernel does not fit.
constexpr std::int64_t conv_output_size(std::int64_t in, std::int64_t kernel, std::int64_t stride, std::int64_t padding,
                                        std::int64_t dilation) {
  const std::int64_t span = in + 2 * padding - dilation * (kernel - 1) - 1;
  return span < 0 ? 0 : span / stride + 1;
}

/// y = activation(conv(x, w) + bias).
/// x (N, C, H, W), w (K, C/groups, R, S), bias (K) or undefined, y (N, K, P, Q); x, w and y channels-last; one floating
/// dtype.
struct Conv2dForwardArgs {
  static constexpr const char* name = "conv2d_forward";
  TensorRef x, w, bias, y;
  Conv2dGeometry geometry;
  Activation activation = Activation::none;
  std::uint64_t w_tag = 0;  // identity and version of w's contents, so that a packed copy can be kept; 0: none
};

/// gx = d loss / d x from gy. Shapes as in the forward; gx is overwritten.
struct Conv2dBackwardDataArgs {
  static constexpr const char* name = "conv2d_backward_data";
  TensorRef gy, w, gx;
  Conv2dGeometry geometry;
  std::uint64_t w_tag = 0;
};

/// gw = d loss / d w, gbias = d loss / d bias (either may be undefined, not both). Both are overwritten.
struct Conv2dBackwardWeightArgs {
  static constexpr const char* name = "conv2d_backward_weight";
  TensorRef x, gy, gw, gbias;
  Conv2dGeometry geometry;
};

}  // namespace graft::kernels
