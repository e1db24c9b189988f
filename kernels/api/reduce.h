// Reductions over any set of axes.
#pragma once

#include <graft/kernels/api/tensor_ref.h>

namespace graft::kernels {

enum class ReduceOp : std::uint8_t { sum, mean, max };

const char* name(ReduceOp op);

/// y = op over the axes where y has size 1 and x has not. x any strides; y of x's rank (reduced axes kept with size 1)
/// and dtype, contiguous. Floating, i64, i32 (mean: floating only). A sum over nothing is 0, a mean over nothing NaN, a
/// max over nothing an error. NaN wins a max. The order of the additions is fixed: the same input gives the same bits.
struct ReduceArgs {
  static constexpr const char* name = "reduce";
  ReduceOp op{};
  TensorRef x, y;
};

/// y = position of the maximum along `axis` (the first of equal values; NaN counts as the greatest). y i64, contiguous,
/// with x's shape except size 1 at axis.
struct ArgmaxArgs {
  static constexpr const char* name = "argmax";
  TensorRef x, y;
  int axis = 0;
};

/// y = sum of squares of all elements of all tensors, a scalar of dtype f64. Floating tensors, dense. For gradient
/// norms.
struct SquaredNormArgs {
  static constexpr const char* name = "squared_norm";
  const TensorRef* tensors = nullptr;
  std::int64_t count = 0;
  TensorRef y;
};

}  // namespace graft::kernels
