// Pooling by cuDNN, where its meaning is ours. Its maximum pooling keeps no positions and its
// backward looks for them in x again: it serves the forward of inference only, and has no row for the backward.
// Adaptive pooling is average pooling where all bins have one size.
#include <graft/kernels/vendor/descriptors.h>
#include <graft/kernels/vendor/rows.h>

namespace graft::kernels::vendor {
namespace {

class Pooling {
 public:
  Pooling(cudnnPoolingMode_t mode, const PoolGeometry& g) {
    GRAFT_VENDOR(cudnnCreatePoolingDescriptor, &descriptor_);
    try {
      const auto whole = [](std::int64_t value) { return static_cast<int>(value); };
      GRAFT_VENDOR(cudnnSetPooling2dDescriptor, descriptor_, mode, CUDNN_PROPAGATE_NAN, whole(g.kernel_h),
                   whole(g.kernel_w), whole(g.padding_h), whole(g.padding_w), whole(g.stride_h), whole(g.stride_w));
    } catch (const Error&) {
      libraries().cudnnDestroyPoolingDescriptor(descriptor_);
      throw;
    }
  }
  ~Pooling() { libraries().cudnnDestroyPoolingDescriptor(descriptor_); }
  Pooling(const Pooling&) = delete;
  Pooling& operator=(const Pooling&) = delete;

  operator cudnnPoolingDescriptor_t() const { return descriptor_; }

 private:
  cudnnPoolingDescriptor_t descriptor_ = nullptr;
};

void pool(cudnnPoolingMode_t mode, const PoolGeometry& geometry, const TensorRef& x, const TensorRef& y,
          Context& context) {
  if (y.numel() == 0) return;
  const Pooling pooling(mode, geometry);
  const TensorDescriptor from = TensorDescriptor::picture(x), to = TensorDescriptor::picture(y);
  GRAFT_VENDOR(cudnnPoolingForward, context.dnn, pooling, &kOne, from, x.data, &kZero, to, y.data);
}

// cuDNN asks for x and y too; their values mean nothing to an average.
void average_backward(cudnnPoolingMode_t mode, const PoolGeometry& geometry, const TensorRef& gy, const TensorRef& gx,
                      Context& context) {
  if (gx.numel() == 0) return;
  const Pooling pooling(mode, geometry);
  const TensorDescriptor from = TensorDescriptor::picture(gy), to = TensorDescriptor::picture(gx);
  GRAFT_VENDOR(cudnnPoolingBackward, context.dnn, pooling, &kOne, from, gy.data, from, gy.data, to, gx.data, &kZero, to,
               gx.data);
}

Support max_limits(const MaxPoolArgs& args) {
  if (Support support = check_sizes(args.x); !support.ok) return support;
  if (args.index.defined())
    return Support::no("cuDNN's maximum pooling keeps no positions: expected no index (inference)");
  const PoolGeometry& g = args.geometry;
  if (g.dilation_h != 1 || g.dilation_w != 1)
    return Support::no(
        cat("dilation is (", g.dilation_h, ", ", g.dilation_w, "): cuDNN's pooling has none, expected 1"));
  return Support::yes();
}

void max_pool(const MaxPoolArgs& args, Context& context, const Stream&) {
  pool(CUDNN_POOLING_MAX, args.geometry, args.x, args.y, context);
  if (args.relu && args.y.numel() > 0) relu_in_place(args.y, context);
}

cudnnPoolingMode_t average(const PoolGeometry& g) {
  return g.count_include_pad ? CUDNN_POOLING_AVERAGE_COUNT_INCLUDE_PADDING
                             : CUDNN_POOLING_AVERAGE_COUNT_EXCLUDE_PADDING;
}

Support avg_limits(const AvgPoolArgs& args) { return check_sizes(args.x); }
Support avg_backward_limits(const AvgPoolBackwardArgs& args) { return check_sizes(args.gx); }

void avg_pool(const AvgPoolArgs& args, Context& context, const Stream&) {
  pool(average(args.geometry), args.geometry, args.x, args.y, context);
}
void avg_pool_backward(const AvgPoolBackwardArgs& args, Context& context, const Stream&) {
  average_backward(average(args.geometry), args.geometry, args.gy, args.gx, context);
}

Support check_bins(const TensorRef& x, const TensorRef& y) {
  if (Support support = check_sizes(x); !support.ok) return support;
  if (x.shape[2] % y.shape[2] != 0 || x.shape[3] % y.shape[3] != 0)
    return Support::no(cat("bins of ", x, " are of several sizes for ", y,
                           ": cuDNN has windows of one size, expected sizes that divide"));
  return Support::yes();
}

PoolGeometry bins(const TensorRef& x, const TensorRef& y) {
  const std::int64_t h = x.shape[2] / y.shape[2], w = x.shape[3] / y.shape[3];
  return {.kernel_h = h, .kernel_w = w, .stride_h = h, .stride_w = w};
}

Support adaptive_limits(const AdaptiveAvgPoolArgs& args) { return check_bins(args.x, args.y); }
Support adaptive_backward_limits(const AdaptiveAvgPoolBackwardArgs& args) { return check_bins(args.gx, args.gy); }

void adaptive(const AdaptiveAvgPoolArgs& args, Context& context, const Stream&) {
  const PoolGeometry geometry = bins(args.x, args.y);
  pool(average(geometry), geometry, args.x, args.y, context);
}
void adaptive_backward(const AdaptiveAvgPoolBackwardArgs& args, Context& context, const Stream&) {
  const PoolGeometry geometry = bins(args.gx, args.gy);
  average_backward(average(geometry), geometry, args.gy, args.gx, context);
}

}  // namespace

void add_pool(BackendTable& table) {
  add<MaxPoolArgs, max_limits, max_pool>(table);
  add<AvgPoolArgs, avg_limits, avg_pool>(table);
  add<AvgPoolBackwardArgs, avg_backward_limits, avg_pool_backward>(table);
  add<AdaptiveAvgPoolArgs, adaptive_limits, adaptive>(table);
  add<AdaptiveAvgPoolBackwardArgs, adaptive_backward_limits, adaptive_backward>(table);
}

}  // namespace graft::kernels::vendor
