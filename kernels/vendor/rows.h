// What each file of this folder adds to the backend's table, and how a row is made. Internal.
#pragma once

#include <graft/kernels/api/contracts.h>
#include <graft/kernels/api/table.h>
#include <graft/kernels/runtime/cuda_check.h>
#include <graft/kernels/runtime/cuda_launch.h>
#include <graft/kernels/vendor/context.h>

namespace graft::kernels::vendor {

void add_matmul(BackendTable& table);
void add_conv2d(BackendTable& table);
void add_softmax(BackendTable& table);
void add_pool(BackendTable& table);
void add_batch_norm(BackendTable& table);

/// "x f32 (2, 3), y f32 (2, 3)": the tensors of a call, for its errors.
std::string describe(const MatmulArgs& args);
std::string describe(const Conv2dForwardArgs& args);
std::string describe(const Conv2dBackwardDataArgs& args);
std::string describe(const Conv2dBackwardWeightArgs& args);
std::string describe(const SoftmaxArgs& args);
std::string describe(const SoftmaxBackwardArgs& args);
std::string describe(const MaxPoolArgs& args);
std::string describe(const AvgPoolArgs& args);
std::string describe(const AvgPoolBackwardArgs& args);
std::string describe(const AdaptiveAvgPoolArgs& args);
std::string describe(const AdaptiveAvgPoolBackwardArgs& args);
std::string describe(const BatchNormArgs& args);
std::string describe(const BatchNormBackwardArgs& args);

/// The dtypes that the libraries serve here, and sizes that fit their descriptors.
Support check_sizes(const TensorRef& t);

/// Adds a row: `limits` says what the libraries cannot do of what the contract allows; `work` does the rest. Errors
/// name the op and its tensors.
template <class Args, Support (*limits)(const Args&), void (*work)(const Args&, Context&, const Stream&)>
void add(BackendTable& table) {
  Row<Args>& row = table.row<Args>();
  row.supports = [](const Args& args) {
    Support support = check_contract(args);
    return support.ok ? limits(args) : support;
  };
  row.run = [](const Args& args, Stream& stream) {
    try {
      // Into a capture go their kernels; loading code and choosing an algorithm are no part of it.
      const runtime::OutsideCapture outside;
      runtime::LaunchScope scope(Args::name, stream);
      work(args, context(stream), stream);
      scope.finish(0, {}, {}, 0);
    } catch (const Error& error) {
      fail(Args::name, " on ", stream.device, " by the vendor's libraries: ", error.what(), "; with ", describe(args));
    }
  };
}

}  // namespace graft::kernels::vendor
