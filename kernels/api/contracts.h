// What every backend must check before it says yes: the shapes, dtypes and layouts that the argument structs promise.
//
// A backend's `supports` begins with check_contract and then adds its own limits. A reason names the argument, what
// came and what was expected.
#pragma once

#include <graft/kernels/api/table.h>

namespace graft::kernels {

Support check_contract(const UnaryArgs& args);
Support check_contract(const UnaryBackwardArgs& args);
Support check_contract(const BinaryArgs& args);
Support check_contract(const BinaryScalarArgs& args);
Support check_contract(const AxpyArgs& args);
Support check_contract(const FillArgs& args);
Support check_contract(const CopyArgs& args);
Support check_contract(const MatmulArgs& args);
Support check_contract(const Conv2dForwardArgs& args);
Support check_contract(const Conv2dBackwardDataArgs& args);
Support check_contract(const Conv2dBackwardWeightArgs& args);
Support check_contract(const SoftmaxArgs& args);
Support check_contract(const SoftmaxBackwardArgs& args);
Support check_contract(const CrossEntropyArgs& args);
Support check_contract(const CrossEntropyBackwardArgs& args);
Support check_contract(const MaxPoolArgs& args);
Support check_contract(const MaxPoolBackwardArgs& args);
Support check_contract(const AvgPoolArgs& args);
Support check_contract(const AvgPoolBackwardArgs& args);
Support check_contract(const AdaptiveAvgPoolArgs& args);
Support check_contract(const AdaptiveAvgPoolBackwardArgs& args);
Support check_contract(const BatchNormArgs& args);
Support check_contract(const BatchNormBackwardArgs& args);
Support check_contract(const LayerNormArgs& args);
Support check_contract(const LayerNormBackwardArgs& args);
Support check_contract(const ReduceArgs& args);
Support check_contract(const ArgmaxArgs& args);
Support check_contract(const SquaredNormArgs& args);
Support check_contract(const IndexSelectArgs& args);
Support check_contract(const IndexSelectBackwardArgs& args);
Support check_contract(const GatherArgs& args);
Support check_contract(const GatherBackwardArgs& args);
Support check_contract(const RandomArgs& args);
Support check_contract(const DropoutArgs& args);
Support check_contract(const SgdArgs& args);
Support check_contract(const AdamArgs& args);
Support check_contract(const AffineWarpArgs& args);
Support check_contract(const LoadBatchArgs& args);
Support check_contract(const GradScaleArgs& args);
Support check_contract(const FinishStepArgs& args);
Support check_contract(const ChainArgs& args);
Support check_contract(const ChainBackwardArgs& args);

/// The elements fill one block of memory with no gaps, in some order of the dimensions.
bool is_dense(const TensorRef& t);

/// Equal shapes, and equal strides where a size is not 1: element i of memory is the same element in both.
bool same_layout(const TensorRef& a, const TensorRef& b);

}  // namespace graft::kernels
