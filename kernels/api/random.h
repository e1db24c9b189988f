// Random fills and dropout.
#pragma once

#include <graft/kernels/api/philox.h>
#include <graft/kernels/api/tensor_ref.h>

namespace graft::kernels {

enum class Distribution : std::uint8_t { uniform, normal };

/// Element i (in memory order) takes word i % 4 of philox block i / 4.
/// uniform: a + (b - a) u, u in [0, 1).  normal: a + b z, where z is Box-Muller: the words of a block are taken in
/// pairs, r = sqrt(-2 ln(1 - u0)), t = 2 pi u1, z0 = r cos t, z1 = r sin t. y contiguous, floating.
struct RandomArgs {
  static constexpr const char* name = "random";
  TensorRef y;
  Distribution distribution = Distribution::uniform;
  double a = 0, b = 1;
  RandomKey key;
};

/// y = x / (1 - p) where the element's uniform (word i % 4 of block i / 4, i in memory order of the dense tensor) is at
/// least p, else 0. x and y of equal strides, dense. The backward is the same call on gy with the same key. p in [0,
/// 1]; p = 1 gives 0.
struct DropoutArgs {
  static constexpr const char* name = "dropout";
  TensorRef x, y;
  double p = 0.5;
  RandomKey key;
};

}  // namespace graft::kernels
