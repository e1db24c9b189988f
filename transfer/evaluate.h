// Accuracy of a classifier on a labelled set.
#pragma once

#include <vector>

#include <graft/core/data/dataset.h>
#include <graft/kernels/api/export.h>
#include <graft/layers/module.h>

namespace graft::transfer {

struct GRAFT_API Evaluation {
  double accuracy = 0;  // 0 to 1
  double loss = 0;      // mean cross-entropy
  std::int64_t images = 0;
  double seconds = 0;
  std::vector<std::int64_t> predictions;  // one an image
  std::vector<float> confidences;         // softmax probability of the prediction
};

/// Runs the module, on the device it lies on, in inference (and leaves its parts' modes as they were) over the whole
/// set. Throws Error for an empty set, or where the module's output is not (N, classes).
GRAFT_API Evaluation evaluate(Module& module, const data::Dataset& dataset, const data::Normalization& normalization,
                              std::int64_t batch_size = 256);

/// counts[truth * classes + prediction].
GRAFT_API std::vector<std::int64_t> confusion_matrix(const Evaluation& evaluation, const data::Dataset& dataset);

}  // namespace graft::transfer
