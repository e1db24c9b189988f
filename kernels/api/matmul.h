// Matrix products.
#pragma once

#include <graft/kernels/api/tensor_ref.h>

namespace graft::kernels {

/// What is applied to a result before it is written. relu: as UnaryOp::relu, NaN stays NaN.
enum class Activation : std::uint8_t { none, relu };

/// y = activation(a @ b + bias).  a (..., M, K), b (..., K, N), bias (N) or undefined, y (..., M, N) row-major.
/// One floating dtype (float accumulation for bf16 and f16); batch dimensions are equal, with stride 0 where broadcast.
/// The two matrix dimensions of a and b each need one unit stride (or size 1): a transposed operand is told by its
/// strides. K = 0 gives the bias (or zero). The backward pass is two products of the same kind.
/// a_sums (M), of the same dtype, where defined: the sums of a's rows, for a and b of rank 2 and N >= 1. In a weight's
/// gradient, gy^T x, that is the bias's.
struct MatmulArgs {
  static constexpr const char* name = "matmul";
  TensorRef a, b, bias, y;
  Activation activation = Activation::none;
  std::uint64_t b_tag =
      0;  // identity and version of b's contents (a weight), so that a packed copy can be kept; 0: none
  TensorRef a_sums{};
};

}  // namespace graft::kernels
