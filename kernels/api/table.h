// The table that a backend fills: one row an op, each with the question "can you?" and the work itself.
#pragma once

#include <tuple>

#include <graft/kernels/api/affine.h>
#include <graft/kernels/api/batch.h>
#include <graft/kernels/api/chain.h>
#include <graft/kernels/api/conv2d.h>
#include <graft/kernels/api/device.h>
#include <graft/kernels/api/elementwise.h>
#include <graft/kernels/api/gather.h>
#include <graft/kernels/api/matmul.h>
#include <graft/kernels/api/norm.h>
#include <graft/kernels/api/optim.h>
#include <graft/kernels/api/pool.h>
#include <graft/kernels/api/random.h>
#include <graft/kernels/api/reduce.h>
#include <graft/kernels/api/softmax.h>
#include <graft/kernels/api/support.h>
#include <graft/kernels/api/training.h>

namespace graft::kernels {

/// A backend's entry for one op. Empty (null pointers) where the backend has no such op.
template <class Args>
struct Row {
  Support (*supports)(const Args&) = nullptr;
  void (*run)(const Args&, Stream&) = nullptr;
};

template <class... Args>
struct OpList {
  using Rows = std::tuple<Row<Args>...>;
};

/// Every op of the engine.
using AllOps =
    OpList<UnaryArgs, UnaryBackwardArgs, BinaryArgs, BinaryScalarArgs, AxpyArgs, FillArgs, CopyArgs, MatmulArgs,
           Conv2dForwardArgs, Conv2dBackwardDataArgs, Conv2dBackwardWeightArgs, SoftmaxArgs, SoftmaxBackwardArgs,
           CrossEntropyArgs, CrossEntropyBackwardArgs, MaxPoolArgs, MaxPoolBackwardArgs, AvgPoolArgs,
           AvgPoolBackwardArgs, AdaptiveAvgPoolArgs, AdaptiveAvgPoolBackwardArgs, BatchNormArgs, BatchNormBackwardArgs,
           LayerNormArgs, LayerNormBackwardArgs, ReduceArgs, ArgmaxArgs, SquaredNormArgs, IndexSelectArgs,
           IndexSelectBackwardArgs, GatherArgs, GatherBackwardArgs, RandomArgs, DropoutArgs, SgdArgs, AdamArgs,
           AffineWarpArgs, LoadBatchArgs, GradScaleArgs, FinishStepArgs, ChainArgs, ChainBackwardArgs>;

struct BackendTable {
  BackendId id{};
  DeviceType device{};
  AllOps::Rows rows;

  template <class Args>
  Row<Args>& row() {
    return std::get<Row<Args>>(rows);
  }
  template <class Args>
  const Row<Args>& row() const {
    return std::get<Row<Args>>(rows);
  }
};

}  // namespace graft::kernels
