// Max, average and adaptive average pooling over NHWC images.
#pragma once

#include <graft/kernels/api/export.h>
#include <graft/kernels/api/tensor_ref.h>

namespace graft::kernels {

struct GRAFT_API PoolGeometry {
  std::int64_t kernel_h = 2, kernel_w = 2;
  std::int64_t stride_h = 2, stride_w = 2;
  std::int64_t padding_h = 0, padding_w = 0;    // at most half the kernel
  std::int64_t dilation_h = 1, dilation_w = 1;  // max pooling only
  bool count_include_pad = true;                // average pooling only: padding counts in the divisor

  friend bool operator==(const PoolGeometry&, const PoolGeometry&) = default;
};

/// The dtype of the places that max pooling keeps: u8 where every place in a window fits it beside "none", else i32.
constexpr DType max_pool_index_dtype(const PoolGeometry& g) {
  return g.kernel_h <= 255 && g.kernel_w <= 255 && g.kernel_h * g.kernel_w <= 255 ? DType::u8 : DType::i32;
}

/// y = max over each window; padding is -infinity; NaN in a window gives NaN; the first of equal values wins.
/// x (N, C, H, W), y (N, C, P, Q) channels-last, one floating dtype. index (N, C, P, Q) channels-last, of the dtype
/// max_pool_index_dtype: the place r * kernel_w + s of the maximum in its window, or undefined when no backward will
/// follow. A window that holds padding only (dilation can do that) gives -infinity and index "none" (-1, as u8 255),
/// and passes no gradient.
struct MaxPoolArgs {
  static constexpr const char* name = "max_pool";
  TensorRef x, y, index;
  PoolGeometry geometry;
  bool relu = false;  // y = max(maximum, 0); the backward passes no gradient where y is not positive (NaN passes)
};

/// gx: gy summed into the places that index names; everything else zero. If `relu`, y of the forward is given and a
/// gradient flows only where it is greater than zero or NaN.
struct MaxPoolBackwardArgs {
  static constexpr const char* name = "max_pool_backward";
  TensorRef gy, index, y, gx;  // y may be undefined unless relu
  PoolGeometry geometry;
  bool relu = false;
};

/// y = average over each window. Shapes as MaxPoolArgs.
struct AvgPoolArgs {
  static constexpr const char* name = "avg_pool";
  TensorRef x, y;
  PoolGeometry geometry;
};

struct AvgPoolBackwardArgs {
  static constexpr const char* name = "avg_pool_backward";
  TensorRef gy, gx;
  PoolGeometry geometry;
};

/// Output position p averages the inputs floor(p H / P) .. ceil((p + 1) H / P) - 1 (PyTorch's adaptive_avg_pool2d).
struct AdaptiveAvgPoolArgs {
  static constexpr const char* name = "adaptive_avg_pool";
  TensorRef x, y;
};

struct AdaptiveAvgPoolBackwardArgs {
  static constexpr const char* name = "adaptive_avg_pool_backward";
  TensorRef gy, gx;
};

}  // namespace graft::kernels
