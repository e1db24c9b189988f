// Affine warp of image batches, for augmentation.
#pragma once

#include <graft/kernels/api/tensor_ref.h>

namespace graft::kernels {

/// y(n, c, i, j) = bilinear sample of x(n, c) at (u, v) = theta[n] (j - cx, i - cy, 1) + (cx, cy), in pixels, where u
/// runs along W, cx = (W - 1) / 2, cy = (H - 1) / 2; outside the picture the value is `fill`. x, y (N, C, H, W)
/// channels-last floating; theta (N, 2, 3) f32 contiguous: the map from output to input positions.
struct AffineWarpArgs {
  static constexpr const char* name = "affine_warp";
  TensorRef x, theta, y;
  double fill = 0;
};

}  // namespace graft::kernels
