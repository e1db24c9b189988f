// The backward pass over the tape.
#pragma once

#include <graft/core/tensor.h>

namespace graft {

/// What Tensor::backward does.
void run_backward(const Tensor& root, const Tensor& gradient, bool retain_graph);

}  // namespace graft
