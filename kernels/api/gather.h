// Reading and writing at positions given by an index tensor.
#pragma once

#include <graft/kernels/api/tensor_ref.h>

namespace graft::kernels {

/// y[.., i, ..] = x[.., index[i], ..] along `axis`: torch.index_select. x and y contiguous, any one dtype; index (n)
/// i64. Throws Error naming position, value and range where an index is outside.
struct IndexSelectArgs {
  static constexpr const char* name = "index_select";
  TensorRef x, index, y;
  int axis = 0;
};

/// gx = 0, then gx[.., index[i], ..] += gy[.., i, ..], in the order of i. Floating.
struct IndexSelectBackwardArgs {
  static constexpr const char* name = "index_select_backward";
  TensorRef gy, index, gx;
  int axis = 0;
};

/// y[i][j][k] = x[i][index[i][j][k]][k] for axis 1, and so on: torch.gather. index i64, y of index's shape; all
/// contiguous; the index is no larger than x except along axis.
struct GatherArgs {
  static constexpr const char* name = "gather";
  TensorRef x, index, y;
  int axis = 0;
};

/// gx = 0, then gx at the gathered positions += gy, in memory order of gy. Floating.
struct GatherBackwardArgs {
  static constexpr const char* name = "gather_backward";
  TensorRef gy, index, gx;
  int axis = 0;
};

}  // namespace graft::kernels
