// What one training step must compute and move at least, counted from the layers.
#pragma once

#include <transfer/training.h>

namespace graft::bench {

struct StepCost {
  double flops = 0;  // multiplications and additions of the convolutions' and linear layers' products
  double bytes = 0;  // see step_cost
};

/// For a batch of the task in this precision. Products: forward 2 a multiply-add; the weights' gradient as many again,
/// and the input's gradient as many where something below is trained. What normalisations, pooling, activations, the
/// loss and the optimiser compute is a few operations an element, and not counted.
///
/// Bytes: every layer's forward and backward, the loss, and the optimiser read each of their operands once and write
/// each of their results once; making the batch reads stored pixels (a byte each) or cached features (f32). Nothing is
/// taken for fused across layers but the ReLU behind max-pooling. Caches serve some of this: it is no bound on the
/// traffic of the memory, but on what the step's ops ask for.
///
/// Throws Error for networks that are no chain of the layers that it knows.
StepCost step_cost(const TrainingTask& task, DType precision, std::int64_t batch);

}  // namespace graft::bench
