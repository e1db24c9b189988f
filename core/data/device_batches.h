// Batches of a data set that lies on the device: gathered, shuffled, normalised and augmented there, by one op.
#pragma once

#include <cstdint>

#include <graft/core/data/loader.h>
#include <graft/kernels/api/export.h>

namespace graft::data {

/// The batches that a Loader with the same options (drop_last) gives, made where the data set lies. Which one is read
/// from device memory, so that a captured step makes another one at every replay.
class GRAFT_API DeviceBatches {
 public:
  /// Of the options batch_size, shuffle, seed, normalization, augment, features and device count. `dtype` of the
  /// pictures: f32, bf16 or f16. Pixels or features, and labels, are copied to the device once. Throws Error as Loader
  /// does, and when the batch is larger than the set.
  DeviceBatches(const Dataset& dataset, const LoaderOptions& options, DType dtype = DType::f32);

  /// Whether the set (or its features) takes no more than half of the memory that is free on the device. False on the
  /// CPU, where a Loader with its threads does better.
  static bool fits(const Dataset& dataset, const LoaderOptions& options);

  /// In an epoch.
  std::int64_t batches() const { return labels_.size(0) / batch_size_; }
  /// Batch number *step, counted over all epochs; `step` an i64 scalar on the device. positions are left empty.
  Batch load(const Tensor& step) const;
  /// The pictures from `first` on, `count` of them, in the set's own order, as they are (not augmented). positions are
  /// left empty.
  Batch slice(std::int64_t first, std::int64_t count) const;
  std::int64_t size() const { return labels_.size(0); }

 private:
  Batch make(const Tensor& images, const Tensor& labels, const Tensor& step, std::int64_t count,
             bool as_they_are) const;

  Tensor images_, labels_;  // images_: pixels u8, or features
  Tensor first_step_;       // 0
  std::int64_t batch_size_;
  LoaderOptions options_;
  DType dtype_;
};

}  // namespace graft::data
