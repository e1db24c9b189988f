#include <graft/kernels/api/pool.h>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/nn.h>
#include <graft/core/ops/raw.h>

namespace graft {
namespace {

constexpr auto kImages = MemoryFormat::channels_last;

struct MaxPoolNode final : Node {
  Saved index, y;
  Shape x_shape;
  PoolGeometry geometry;
  bool relu;
  MaxPoolNode(const Tensor& places, const Tensor& output, const Shape& x, const PoolGeometry& g, bool with_relu)
      : index(places), y(with_relu ? Saved(output) : Saved()), x_shape(x), geometry(g), relu(with_relu) {}
  const char* name() const override { return "max_pool2d"; }
  void backward(const Tensor& gradient, GradSlots& gx) override {
    if (!gx.needed(0)) return;
    const Tensor gy = raw::with_format(gradient, kImages), output = y.get(name()), places = index.get(name());
    Tensor g = Tensor::empty(x_shape, gy.dtype(), gy.device(), kImages);
    kernels::MaxPoolBackwardArgs args{gy.ref(), places.ref(), {}, g.ref(), geometry, relu};
    if (relu) args.y = output.ref();
    if (g.numel() > 0) raw::run(args, gy);
    gx.put(0, g);
  }
  void release() override { index = y = {}; }
};

struct AvgPoolNode final : Node {
  Shape x_shape;
  PoolGeometry geometry;
  AvgPoolNode(const Shape& x, const PoolGeometry& g) : x_shape(x), geometry(g) {}
  const char* name() const override { return "avg_pool2d"; }
  void backward(const Tensor& gradient, GradSlots& gx) override {
    if (!gx.needed(0)) return;
    const Tensor gy = raw::with_format(gradient, kImages);
    Tensor g = Tensor::empty(x_shape, gy.dtype(), gy.device(), kImages);
    if (g.numel() > 0) raw::run(kernels::AvgPoolBackwardArgs{gy.ref(), g.ref(), geometry}, gy);
    gx.put(0, g);
  }
  void release() override {}
};

struct AdaptiveAvgPoolNode final : Node {
  Shape x_shape;
  explicit AdaptiveAvgPoolNode(const Shape& x) : x_shape(x) {}
  const char* name() const override { return "adaptive_avg_pool2d"; }
  void backward(const Tensor& gradient, GradSlots& gx) override {
    if (!gx.needed(0)) return;
    const Tensor gy = raw::with_format(gradient, kImages);
    Tensor g = Tensor::empty(x_shape, gy.dtype(), gy.device(), kImages);
    if (g.numel() > 0) raw::run(kernels::AdaptiveAvgPoolBackwardArgs{gy.ref(), g.ref()}, gy);
    gx.put(0, g);
  }
  void release() override {}
};

/// Checks the arguments and returns the output's shape.
Shape pooled_shape(const char* op, const Tensor& x, const PoolGeometry& g) {
  raw::check_floating(op, "x", x);
  check(x.dim() == 4, op, ": expected x (N, C, H, W), got ", x);
  check(g.kernel_h >= 1 && g.kernel_w >= 1 && g.stride_h >= 1 && g.stride_w >= 1 && g.dilation_h >= 1 &&
            g.dilation_w >= 1,
        op, ": kernel, stride and dilation must be 1 or more");
  check(g.padding_h >= 0 && g.padding_w >= 0 && 2 * g.padding_h <= g.kernel_h && 2 * g.padding_w <= g.kernel_w, op,
        ": padding (", g.padding_h, ", ", g.padding_w, ") must lie between 0 and half the kernel (", g.kernel_h, ", ",
        g.kernel_w, ")");
  const std::int64_t p = kernels::conv_output_size(x.size(2), g.kernel_h, g.stride_h, g.padding_h, g.dilation_h);
  const std::int64_t q = kernels::conv_output_size(x.size(3), g.kernel_w, g.stride_w, g.padding_w, g.dilation_w);
  check(p > 0 && q > 0, op, ": the window ", g.kernel_h, " x ", g.kernel_w, " does not fit into the picture ",
        x.size(2), " x ", x.size(3));
  return {x.size(0), x.size(1), p, q};
}

}  // namespace

Tensor max_pool2d(const Tensor& x, const PoolGeometry& geometry, bool relu) {
  const Shape shape = pooled_shape("max_pool2d", x, geometry);
  const Tensor image = raw::with_format(x, kImages);
  Tensor y = Tensor::empty(shape, x.dtype(), x.device(), kImages);
  const bool recorded = any_requires_grad({&x});
  Tensor index =
      recorded ? Tensor::empty(shape, kernels::max_pool_index_dtype(geometry), x.device(), kImages) : Tensor();
  if (y.numel() > 0) {
    kernels::MaxPoolArgs args{image.ref(), y.ref(), {}, geometry, relu};
    if (recorded) args.index = index.ref();
    raw::run(args, x);
  }
  if (!recorded) return y;
  return record(y, std::make_shared<MaxPoolNode>(index, y, x.shape(), geometry, relu), {x});
}

Tensor avg_pool2d(const Tensor& x, const PoolGeometry& geometry) {
  check(geometry.dilation_h == 1 && geometry.dilation_w == 1, "avg_pool2d: dilation is not supported");
  const Shape shape = pooled_shape("avg_pool2d", x, geometry);
  const Tensor image = raw::with_format(x, kImages);
  Tensor y = Tensor::empty(shape, x.dtype(), x.device(), kImages);
  if (y.numel() > 0) raw::run(kernels::AvgPoolArgs{image.ref(), y.ref(), geometry}, x);
  if (!any_requires_grad({&x})) return y;
  return record(y, std::make_shared<AvgPoolNode>(x.shape(), geometry), {x});
}

Tensor adaptive_avg_pool2d(const Tensor& x, std::int64_t height, std::int64_t width) {
  raw::check_floating("adaptive_avg_pool2d", "x", x);
  check(x.dim() == 4 && x.size(2) > 0 && x.size(3) > 0, "adaptive_avg_pool2d: expected x (N, C, H, W), got ", x);
  check(height >= 1 && width >= 1, "adaptive_avg_pool2d: output size must be 1 or more, got ", height, " x ", width);
  const Tensor image = raw::with_format(x, kImages);
  Tensor y = Tensor::empty({x.size(0), x.size(1), height, width}, x.dtype(), x.device(), kImages);
  if (y.numel() > 0) raw::run(kernels::AdaptiveAvgPoolArgs{image.ref(), y.ref()}, x);
  if (!any_requires_grad({&x})) return y;
  return record(y, std::make_shared<AdaptiveAvgPoolNode>(x.shape()), {x});
}

}  // namespace graft
