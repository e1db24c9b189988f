// Views and rearrangements. Views share storage; a change through one is seen through all.
#pragma once

#include <graft/core/tensor.h>

namespace graft {

/// Views.
Tensor permute(const Tensor& x, const std::vector<int>& order);
Tensor transpose(const Tensor& x, int a, int b);
/// Elements start, start + step, .. before end along dim; end is clamped to the size, negative values count from the
/// end.
Tensor slice(const Tensor& x, int dim, std::int64_t start, std::int64_t end, std::int64_t step = 1);
/// Broadcast to a larger shape with strides of 0.
Tensor expand(const Tensor& x, const Shape& shape);
Tensor unsqueeze(const Tensor& x, int dim);
Tensor squeeze(const Tensor& x, int dim);

/// Copies.
Tensor concat(const std::vector<Tensor>& parts, int dim);
Tensor index_select(const Tensor& x, int dim, const Tensor& index);
Tensor gather(const Tensor& x, int dim, const Tensor& index);

}  // namespace graft
