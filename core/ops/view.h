// Views and rearrangements. Views share storage; a change through one is seen through all.
#pragma once

#include <graft/core/tensor.h>
#include <graft/kernels/api/export.h>

namespace graft {

/// Views.
GRAFT_API Tensor permute(const Tensor& x, const std::vector<int>& order);
GRAFT_API Tensor transpose(const Tensor& x, int a, int b);
/// Elements start, start + step, .. before end along dim; end is clamped to the size, negative values count from the
/// end.
GRAFT_API Tensor slice(const Tensor& x, int dim, std::int64_t start, std::int64_t end, std::int64_t step = 1);
/// Broadcast to a larger shape with strides of 0.
GRAFT_API Tensor expand(const Tensor& x, const Shape& shape);
GRAFT_API Tensor unsqueeze(const Tensor& x, int dim);
GRAFT_API Tensor squeeze(const Tensor& x, int dim);

/// Copies.
GRAFT_API Tensor concat(const std::vector<Tensor>& parts, int dim);
GRAFT_API Tensor index_select(const Tensor& x, int dim, const Tensor& index);
GRAFT_API Tensor gather(const Tensor& x, int dim, const Tensor& index);

}  // namespace graft
