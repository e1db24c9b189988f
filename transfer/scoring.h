// Evaluation of any forward function over any source of batches. Internal to transfer.
#pragma once

#include <functional>
#include <memory>

#include <graft/core/data/device_batches.h>
#include <graft/transfer/evaluate.h>

namespace graft::transfer {

/// Gives the next batch; false when all have been given.
using BatchSource = std::function<bool(data::Batch& batch)>;

/// A data set in its own order, batch by batch on a device: it is kept there where it fits, else made on the host.
class WholeSet {
 public:
  /// Of the options batch_size, normalization, features and device count.
  WholeSet(const data::Dataset& dataset, data::LoaderOptions options);
  /// From the beginning; valid until the next call, as long as this lives.
  BatchSource batches();

 private:
  std::int64_t batch_size_;
  std::unique_ptr<data::Loader> loader_;
  std::unique_ptr<data::DeviceBatches> resident_;
};

/// Scores the batches of `source`, which are those of the dataset in its own order. Waits for the device once, at the
/// end.
Evaluation score(const std::function<Tensor(const Tensor&)>& forward, const data::Dataset& dataset,
                 const BatchSource& source);

}  // namespace graft::transfer
