// Labelled images in memory, subsets of them, and batches.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <graft/core/random.h>
#include <graft/core/tensor.h>
#include <graft/kernels/api/export.h>

namespace graft::data {

/// How stored pixels become network input: (pixel - mean) / deviation, per dataset, in pixel units (0..255).
struct GRAFT_API Normalization {
  double mean = 0;
  double deviation = 1;
  friend bool operator==(const Normalization&, const Normalization&) = default;
  /// The network input that stands for this pixel value.
  double operator()(double pixel) const { return (pixel - mean) / deviation; }
  /// Throws Error unless both are finite and the deviation is above 0.
  void validate() const;
};

/// images (N, C, H, W) u8 contiguous, labels (N) i64 in [0, classes). Cheap to copy: the tensors are handles.
struct GRAFT_API Dataset {
  Tensor images;
  Tensor labels;
  std::int64_t classes = 0;
  std::vector<std::string> class_names;  // empty, or one a class

  std::int64_t size() const { return labels.defined() ? labels.numel() : 0; }
  /// Throws Error that names what is wrong: ranks, dtypes, counts that differ, a label outside the classes.
  void validate() const;
};

/// The images at these positions, copied, in this order. Throws Error naming a position outside.
GRAFT_API Dataset subset(const Dataset& dataset, const std::vector<std::int64_t>& positions);

/// The positions of exactly k images of every class, chosen by seed: a prefix-stable choice (those for k = 1 are among
/// those for k = 10). Sorted by class, then by rank. Throws Error when a class has fewer than k.
GRAFT_API std::vector<std::int64_t> stratified_positions(const Dataset& dataset, std::int64_t k, std::uint64_t seed);
GRAFT_API Dataset stratified_subset(const Dataset& dataset, std::int64_t k, std::uint64_t seed);

struct GRAFT_API Batch {
  Tensor x;  // (n, C, H, W) f32 channels-last, normalised
  Tensor y;  // (n) i64
  std::vector<std::int64_t> positions;
};

/// Pixels (N, C, H, W) u8 at `positions` (all when empty) as normalised f32, channels-last. Throws Error naming a
/// position outside.
GRAFT_API Tensor normalized(const Tensor& images, const Normalization& normalization,
                            const std::vector<std::int64_t>& positions = {});

}  // namespace graft::data
