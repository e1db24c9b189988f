// Batches of a data set that lies on the device: order, gathering, normalisation and augmentation in one op.
#pragma once

#include <array>

#include <graft/kernels/api/export.h>
#include <graft/kernels/api/permutation.h>
#include <graft/kernels/api/tensor_ref.h>

namespace graft::kernels {

/// Half widths of the uniform distributions of an affine map; all 0: none.
struct GRAFT_API AffineAmounts {
  double rotation = 0;  // radians
  double scale = 0;     // relative
  double shear = 0;     // x moves by shear y
  double shift = 0;     // pixels, in each direction

  constexpr bool enabled() const { return rotation != 0 || scale != 0 || shear != 0 || shift != 0; }
};

/// Where the draws of a run with this seed come from.
constexpr std::uint64_t order_seed(std::uint64_t seed, std::uint64_t epoch) { return fork_seed(seed, epoch); }
constexpr std::uint64_t augment_seed(std::uint64_t seed, std::uint64_t epoch) {
  return fork_seed(fork_seed(seed, 0x61756767ull), epoch);
}

/// The position in the data set of the picture at place i of an epoch's order.
constexpr std::int64_t shuffled(std::int64_t i, std::int64_t size, std::uint64_t seed, std::uint64_t epoch) {
  return static_cast<std::int64_t>(
      Permutation(static_cast<std::uint64_t>(size), order_seed(seed, epoch))(static_cast<std::uint64_t>(i)));
}

/// The inverse map of the picture at `position`, as the two rows of an affine_warp's theta. The picture goes through
/// p -> A p + shift with A = factor R(angle) (1 shear; 0 1); the warp looks the other way, from the output to the
/// input: q -> A^-1 (q - shift), where A^-1 = (1 -shear; 0 1) R(-angle) / factor. `stream`: augment_seed of the epoch.
/// Sine and cosine are the caller's, since each device has its own.
template <class Cosine, class Sine>
constexpr std::array<float, 6> affine_row(const AffineAmounts& amounts, std::uint64_t stream, std::uint64_t position,
                                          Cosine cosine, Sine sine) {
  const std::uint64_t seed = fork_seed(stream, position);
  double drawn[5] = {};
  const double amount[5] = {amounts.rotation, amounts.scale, amounts.shear, amounts.shift, amounts.shift};
  for (int i = 0; i < 5; ++i)
    drawn[i] = amount[i] * (2 * philox_uniform53(philox4x32(RandomKey{seed, static_cast<std::uint64_t>(i)}, 0)) - 1);
  const double factor = 1 + drawn[1], shear = drawn[2];
  const double c = cosine(drawn[0]) / factor, s = sine(drawn[0]) / factor;
  const double a = c + shear * s, b = s - shear * c;
  return {static_cast<float>(a),  static_cast<float>(b), static_cast<float>(-(a * drawn[3] + b * drawn[4])),
          static_cast<float>(-s), static_cast<float>(c), static_cast<float>(-(-s * drawn[3] + c * drawn[4]))};
}

/// Batch number `step` of training, counted over all epochs: epoch e = step / batches, and in it the rows
/// (step % batches) n .. + n of the epoch's order, batches = N / n of whole batches.
///
/// images (N, C, H, W) u8 contiguous: x (n, C, H, W) channels-last, floating, is
/// (pixel - mean) / deviation, warped by affine_row where `augment` is enabled (bilinear; outside lies a pixel of 0).
/// Or images (N, ..) floating, of x's dtype, contiguous (rows computed beforehand): x (n, ..) has the rows as they are,
/// and there is no augmentation. labels (N) i64, y (n) i64; step a scalar i64, not negative.
struct LoadBatchArgs {
  static constexpr const char* name = "load_batch";
  TensorRef images, labels, step;
  TensorRef x, y;
  bool shuffle = true;
  std::uint64_t seed = 0;
  double mean = 0, deviation = 1;
  AffineAmounts augment{};
};

}  // namespace graft::kernels
