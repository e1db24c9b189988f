#include <graft/core/autograd/node.h>
#include <graft/core/ops/nn.h>
#include <graft/core/ops/raw.h>

namespace graft {
namespace {

constexpr auto kImages = MemoryFormat::channels_last;

struct Conv2dNode final : Node {
  Saved x, weight;
  Shape x_shape, w_shape;
  std::uint64_t w_tag;
  Conv2dGeometry geometry;
  Conv2dNode(const Tensor& input, const Tensor& w, bool x_needed, bool w_needed, std::uint64_t tag,
             const Conv2dGeometry& g)
      : x_shape(input.shape()), w_shape(w.shape()), w_tag(tag), geometry(g) {
    if (w_needed) x = Saved(input);
    if (x_needed) weight = Saved(w);
  }
  const char* name() const override { return "conv2d"; }
  void backward(const Tensor& gradient, GradSlots& gx) override {
    const Tensor gy = raw::with_format(gradient, kImages);
    if (gx.needed(0)) {
      Tensor g = Tensor::empty(x_shape, gy.dtype(), gy.device(), kImages);
      if (gy.numel() == 0)
        raw::fill(g, 0);
      else if (g.numel() > 0)
        raw::run(kernels::Conv2dBackwardDataArgs{gy.ref(), weight.get(name()).ref(), g.ref(), geometry, w_tag}, gy);
      gx.put(0, g);
    }
    if (!gx.needed(1) && !gx.needed(2)) return;
    kernels::Conv2dBackwardWeightArgs args;
    Tensor gw, gbias;
    if (gx.needed(1)) gw = Tensor::empty(w_shape, gy.dtype(), gy.device(), kImages);
    if (gx.needed(2)) gbias = Tensor::empty({w_shape[0]}, gy.dtype(), gy.device());
    if (gy.numel() == 0) {
      if (gw.defined()) raw::fill(gw, 0);
      if (gbias.defined()) raw::fill(gbias, 0);
    } else if (gw.defined()) {
      args.x = x.get(name()).ref();
      args.gy = gy.ref();
      args.gw = gw.ref();
      if (gbias.defined()) args.gbias = gbias.ref();
      args.geometry = geometry;
      raw::run(args, gy);
    } else {
      // The bias alone: a sum over images and positions.
      gbias = raw::drop(raw::reduce(kernels::ReduceOp::sum, gy, 0b1101u), 0b1101u);
    }
    if (gw.defined()) gx.put(1, gw);
    if (gbias.defined()) gx.put(2, gbias);
  }
  void release() override { x = weight = {}; }
};

}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dGeometry& g) {
  raw::check_floating("conv2d", "x", x);
  raw::check_floating("conv2d", "weight", weight);
  raw::check_same_device("conv2d", x, weight);
  if (bias.defined()) raw::check_same_device("conv2d", x, bias);
  check(x.dim() == 4, "conv2d: expected x (N, C, H, W), got ", x);
  check(weight.dim() == 4, "conv2d: expected weight (K, C/groups, R, S), got ", weight);
  check(x.dtype() == weight.dtype(), "conv2d: x is ", x, ", weight ", weight, ": dtypes must be equal");
  check(g.groups >= 1 && g.stride_h >= 1 && g.stride_w >= 1 && g.dilation_h >= 1 && g.dilation_w >= 1 &&
            g.padding_h >= 0 && g.padding_w >= 0,
        "conv2d: stride, dilation and groups must be 1 or more, padding 0 or more; got stride (", g.stride_h, ", ",
        g.stride_w, "), dilation (", g.dilation_h, ", ", g.dilation_w, "), padding (", g.padding_h, ", ", g.padding_w,
        "), groups ", g.groups);
  check(x.size(1) == weight.size(1) * g.groups, "conv2d: x has ", x.size(1), " channels, expected ",
        weight.size(1) * g.groups, " (weight ", weight.shape(), ", groups ", g.groups, ")");
  check(weight.size(0) % g.groups == 0, "conv2d: ", weight.size(0), " output channels do not divide into ", g.groups,
        " groups");
  if (bias.defined())
    check(bias.shape() == Shape{weight.size(0)} && bias.dtype() == x.dtype() && bias.device() == x.device(),
          "conv2d: expected bias ", name(x.dtype()), " (", weight.size(0), ",), got ", bias);
  const std::int64_t p = kernels::conv_output_size(x.size(2), weight.size(2), g.stride_h, g.padding_h, g.dilation_h);
  const std::int64_t q = kernels::conv_output_size(x.size(3), weight.size(3), g.stride_w, g.padding_w, g.dilation_w);
  check(p > 0 && q > 0, "conv2d: the kernel ", weight.size(2), " x ", weight.size(3), " (dilation ", g.dilation_h, ", ",
        g.dilation_w, ") does not fit into the picture ", x.size(2), " x ", x.size(3), " with padding (", g.padding_h,
        ", ", g.padding_w, ")");

  const Tensor image = raw::with_format(x, kImages), kernel = raw::with_format(weight, kImages);
  const std::uint64_t tag = any_requires_grad({&weight}) ? 0 : raw::weight_tag(kernel);
  Tensor y = Tensor::empty({x.size(0), weight.size(0), p, q}, x.dtype(), x.device(), kImages);
  if (y.numel() > 0) {
    kernels::Conv2dForwardArgs args{image.ref(), kernel.ref(), {}, y.ref(), g};
    const Tensor dense_bias = bias.defined() ? raw::with_format(bias, MemoryFormat::contiguous) : bias;
    if (bias.defined()) args.bias = dense_bias.ref();
    args.w_tag = tag;
    raw::run(args, x);
  }
  if (!any_requires_grad({&x, &weight, &bias})) return y;
  auto node = std::make_shared<Conv2dNode>(image, kernel, x.requires_grad(), weight.requires_grad(), tag, g);
  return record(y, std::move(node), {x, weight, bias});
}

}  // namespace graft
