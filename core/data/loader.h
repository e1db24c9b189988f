// Batches in a reproducible order, made ahead of time on threads.
#pragma once

#include <cstdint>
#include <memory>

#include <graft/core/data/augment.h>
#include <graft/core/data/dataset.h>
#include <graft/kernels/api/export.h>

namespace graft::data {

struct GRAFT_API LoaderOptions {
  std::int64_t batch_size = 128;
  bool shuffle = true;
  bool drop_last = false;  // leave out a last, smaller batch
  std::uint64_t seed = 0;  // the order of an epoch and its augmentation depend on (seed, epoch) only
  Normalization normalization = {};
  AffineAugment augment = {};
  // (N, ..) rows computed from the images beforehand, which then replace the pixels; excludes augmentation. They may
  // lie on any device.
  Tensor features = {};
  Device device = Device::cpu();  // of the batches: what is made on the host is copied without waiting for the device
  int threads = 1;   // that make batches ahead; 0: in the calling thread. The batches are the same whatever the number
  int prefetch = 3;  // batches ready or being made at most

  /// Throws Error for an empty or malformed dataset, or options out of range.
  void validate(const Dataset& dataset) const;
};

class GRAFT_API Loader {
 public:
  /// Throws Error for an empty or malformed dataset or options out of range.
  Loader(Dataset dataset, LoaderOptions options);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  std::int64_t batches() const;  // in an epoch
  const Dataset& dataset() const;

  /// Begins epoch `epoch`; what was left of another one is dropped.
  void start(std::uint64_t epoch);
  /// The next batch, copied on the calling thread's current stream; false at the end of the epoch. An error of a worker
  /// thread is thrown here, and again on each call until start(). Throws Error before the first start().
  bool next(Batch& batch);

 private:
  struct GRAFT_LOCAL Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace graft::data
