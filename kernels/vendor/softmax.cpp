// Softmax and log-softmax by cuDNN.
#include <graft/kernels/vendor/descriptors.h>
#include <graft/kernels/vendor/rows.h>

namespace graft::kernels::vendor {
namespace {

Support forward_limits(const SoftmaxArgs& args) { return check_sizes(args.x); }
Support backward_limits(const SoftmaxBackwardArgs& args) { return check_sizes(args.y); }

cudnnSoftmaxAlgorithm_t algorithm(bool log) { return log ? CUDNN_SOFTMAX_LOG : CUDNN_SOFTMAX_ACCURATE; }

// A row is a picture of n channels.
TensorDescriptor rows_of(const TensorRef& t) {
  return TensorDescriptor::packed(t.dtype, {t.shape[0], t.shape[1], 1, 1});
}

void forward(const SoftmaxArgs& args, Context& context, const Stream&) {
  if (args.x.numel() == 0) return;
  const TensorDescriptor rows = rows_of(args.x);
  GRAFT_VENDOR(cudnnSoftmaxForward, context.dnn, algorithm(args.log), CUDNN_SOFTMAX_MODE_INSTANCE, &kOne, rows,
               args.x.data, &kZero, rows, args.y.data);
}

void backward(const SoftmaxBackwardArgs& args, Context& context, const Stream&) {
  if (args.y.numel() == 0) return;
  const TensorDescriptor rows = rows_of(args.y);
  GRAFT_VENDOR(cudnnSoftmaxBackward, context.dnn, algorithm(args.log), CUDNN_SOFTMAX_MODE_INSTANCE, &kOne, rows,
               args.y.data, rows, args.gy.data, &kZero, rows, args.gx.data);
}

}  // namespace

void add_softmax(BackendTable& table) {
  add<SoftmaxArgs, forward_limits, forward>(table);
  add<SoftmaxBackwardArgs, backward_limits, backward>(table);
}

}  // namespace graft::kernels::vendor
