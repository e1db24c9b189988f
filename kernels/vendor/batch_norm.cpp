// Batch normalisation by cuDNN: training and its backward, and inference that keeps nothing.
#include <graft/kernels/vendor/descriptors.h>
#include <graft/kernels/vendor/rows.h>
#include <graft/kernels/vendor/tuning.h>

namespace graft::kernels::vendor {
namespace {

// (M, C) as one picture of M x 1 positions: cuDNN limits the number of pictures more tightly than that of positions.
TensorDescriptor picture(const TensorRef& x) {
  const Shape sizes{1, x.shape[1], x.shape[0], 1};
  return {x.dtype, sizes, channels_last_strides(sizes)};
}

TensorDescriptor statistics(const TensorRef& x) { return TensorDescriptor::packed(DType::f32, {1, x.shape[1], 1, 1}); }

// The persistent kernels are the fast ones, and restrict the range of the data.
cudnnBatchNormMode_t mode() {
  return engines() == graft::vendor::Engines::fastest ? CUDNN_BATCHNORM_SPATIAL_PERSISTENT : CUDNN_BATCHNORM_SPATIAL;
}

Support limits(const BatchNormArgs& args) {
  if (Support support = check_sizes(args.x); !support.ok) return support;
  if (!args.gamma.defined() || !args.beta.defined())
    return Support::no("gamma or beta is undefined: cuDNN's batch norm needs both");
  if (args.training) {
    if (args.batches.defined()) return Support::no("batches is defined: cuDNN counts none");
    if (args.running_mean.defined() != args.running_var.defined())
      return Support::no("only one of running_mean and running_var is defined: cuDNN moves both or none");
    if (args.running_var.defined() && args.x.shape[0] == 1)
      return Support::no("x has one row: its unbiased variance is not defined the same way in cuDNN");
  } else if (args.mean.defined() || args.inv_std.defined()) {
    return Support::no("mean or inv_std is asked for: cuDNN's inference keeps nothing");
  }
  return Support::yes();
}

void batch_norm(const BatchNormArgs& args, Context& context, const Stream& stream) {
  if (args.x.numel() == 0) return;
  const TensorDescriptor x = picture(args.x), channels = statistics(args.x);
  if (!args.training) {
    GRAFT_VENDOR(cudnnBatchNormalizationForwardInference, context.dnn, CUDNN_BATCHNORM_SPATIAL, &kOne, &kZero, x,
                 args.x.data, x, args.y.data, channels, args.gamma.data, args.beta.data, args.running_mean.data,
                 args.running_var.data, args.eps);
    return;
  }
  constexpr cudnnBatchNormOps_t only_norm = CUDNN_BATCHNORM_OPS_BN;
  std::size_t bytes = 0, reserved = 0;
  GRAFT_VENDOR(cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize, context.dnn, mode(), only_norm, x, nullptr, x,
               channels, nullptr, &bytes);
  GRAFT_VENDOR(cudnnGetBatchNormalizationTrainingExReserveSpaceSize, context.dnn, mode(), only_norm, nullptr, x,
               &reserved);
  const Workspace workspace(bytes, stream), reserve(reserved, stream);
  GRAFT_VENDOR(cudnnBatchNormalizationForwardTrainingEx, context.dnn, mode(), only_norm, &kOne, &kZero, x, args.x.data,
               nullptr, nullptr, x, args.y.data, channels, args.gamma.data, args.beta.data, args.momentum,
               args.running_mean.data, args.running_var.data, args.eps, args.mean.data, args.inv_std.data, nullptr,
               workspace.data(), bytes, reserve.data(), reserved);
}

Support backward_limits(const BatchNormBackwardArgs& args) {
  if (Support support = check_sizes(args.x); !support.ok) return support;
  if (!args.training) return Support::no("training is false: cuDNN has no backward of inference");
  if (!args.gamma.defined()) return Support::no("gamma is undefined: cuDNN's batch norm needs it");
  if (!args.gx.defined() || !args.ggamma.defined() || !args.gbeta.defined())
    return Support::no("one of gx, ggamma and gbeta is undefined: cuDNN computes all three or none");
  return Support::yes();
}

void backward(const BatchNormBackwardArgs& args, Context& context, const Stream& stream) {
  if (args.x.numel() == 0) {
    if (args.ggamma.numel() == 0) return;
    clear(args.ggamma, stream);
    clear(args.gbeta, stream);
    return;
  }
  const TensorDescriptor x = picture(args.x), channels = statistics(args.x);
  constexpr cudnnBatchNormOps_t only_norm = CUDNN_BATCHNORM_OPS_BN;
  constexpr double eps = 1e-5;  // means nothing where inv_std is given
  std::size_t reserved = 0;
  GRAFT_VENDOR(cudnnGetBatchNormalizationTrainingExReserveSpaceSize, context.dnn, mode(), only_norm, nullptr, x,
               &reserved);
  if (reserved > 0) {  // would want memory that the forward has filled, which no argument of ours carries
    GRAFT_VENDOR(cudnnBatchNormalizationBackward, context.dnn, mode(), &kOne, &kZero, &kOne, &kZero, x, args.x.data, x,
                 args.gy.data, x, args.gx.data, channels, args.gamma.data, args.ggamma.data, args.gbeta.data, eps,
                 args.mean.data, args.inv_std.data);
    return;
  }
  std::size_t bytes = 0;
  GRAFT_VENDOR(cudnnGetBatchNormalizationBackwardExWorkspaceSize, context.dnn, mode(), only_norm, x, nullptr, x,
               nullptr, x, channels, nullptr, &bytes);
  const Workspace workspace(bytes, stream);
  GRAFT_VENDOR(cudnnBatchNormalizationBackwardEx, context.dnn, mode(), only_norm, &kOne, &kZero, &kOne, &kZero, x,
               args.x.data, nullptr, nullptr, x, args.gy.data, nullptr, nullptr, x, args.gx.data, channels,
               args.gamma.data, nullptr, args.ggamma.data, args.gbeta.data, eps, args.mean.data, args.inv_std.data,
               nullptr, workspace.data(), bytes, nullptr, 0);
}

}  // namespace

void add_batch_norm(BackendTable& table) {
  add<BatchNormArgs, limits, batch_norm>(table);
  add<BatchNormBackwardArgs, backward_limits, backward>(table);
}

}  // namespace graft::kernels::vendor
