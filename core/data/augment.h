// Random affine augmentation: rotation, scale, shear and shift, drawn per image from (seed, epoch, position).
#pragma once

#include <cstdint>
#include <vector>

#include <graft/core/tensor.h>
#include <graft/kernels/api/batch.h>
#include <graft/kernels/api/export.h>

namespace graft::data {

/// Each amount is the half width of a uniform distribution. All zero: no augmentation.
struct GRAFT_API AffineAugment {
  double rotation = 0;  // radians
  double scale = 0;     // relative, 0.12: 0.88 to 1.12; less than 1
  double shear = 0;     // x moves by shear * y
  double shift = 0;     // pixels, in each direction

  bool enabled() const { return amounts().enabled(); }
  kernels::AffineAmounts amounts() const { return {rotation, scale, shear, shift}; }
  /// Throws Error naming an amount that is negative, not finite or too large.
  void validate() const;

  /// What the strokes study used for MNIST.
  static AffineAugment handwriting() { return {.rotation = 0.2, .scale = 0.12, .shear = 0.2, .shift = 1.5}; }
};

/// theta (n, 2, 3) f32 for affine_warp: the inverse maps. Row i depends on (seed, epoch, positions[i]) only.
GRAFT_API Tensor affine_matrices(const AffineAugment& augment, std::uint64_t seed, std::uint64_t epoch,
                                 const std::vector<std::int64_t>& positions);

}  // namespace graft::data
