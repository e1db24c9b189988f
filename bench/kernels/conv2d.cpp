// conv2d_{forward,backward_data,backward_weight}/<layer>/<batch>: the layers of the strokes network and of ResNet.
#include <support.h>

#include <graft/core/ops/raw.h>
#include <graft/core/random.h>
#include <graft/kernels/api/conv2d.h>

namespace graft::bench {
namespace {

struct Layer {
  const char* name;
  std::int64_t batch, in, size, out, kernel, stride;
};

constexpr Layer kLayers[] = {
    {"strokes_conv1", 128, 1, 28, 32, 3, 1},      {"strokes_conv2", 128, 32, 14, 64, 3, 1},
    {"strokes_conv3", 128, 64, 7, 128, 3, 1},     {"resnet_stem", 8, 3, 224, 64, 7, 2},
    {"resnet_layer1_3x3", 8, 64, 56, 64, 3, 1},   {"resnet_layer1_1x1", 8, 64, 56, 256, 1, 1},
    {"resnet_layer2_down", 8, 64, 56, 128, 3, 2}, {"resnet_layer2_3x3", 8, 128, 28, 128, 3, 1},
    {"resnet_layer3_3x3", 8, 256, 14, 256, 3, 1}, {"resnet_layer4_3x3", 8, 512, 7, 512, 3, 1},
};

Tensor images(const Shape& shape) { return randn(shape).contiguous(MemoryFormat::channels_last); }

void add_layer(const Layer& l) {
  const std::int64_t padding = l.kernel / 2;
  const std::int64_t out_size = kernels::conv_output_size(l.size, l.kernel, l.stride, padding, 1);
  const kernels::Conv2dGeometry geometry{
      .stride_h = l.stride, .stride_w = l.stride, .padding_h = padding, .padding_w = padding};
  const Shape x_shape{l.batch, l.in, l.size, l.size}, w_shape{l.out, l.in, l.kernel, l.kernel},
      y_shape{l.batch, l.out, out_size, out_size};
  const Work work{.items = static_cast<double>(l.batch),
                  .flops = 2.0 * static_cast<double>(y_shape.numel() * l.in * l.kernel * l.kernel)};
  const std::string layer = cat("/", l.name, "/", l.batch);
  add("conv2d_forward" + layer, work, [=] {
    const Tensor x = images(x_shape), w = images(w_shape), y = images(y_shape);
    return [=] { raw::run(kernels::Conv2dForwardArgs{x.ref(), w.ref(), {}, y.ref(), geometry}, y); };
  });
  add("conv2d_backward_data" + layer, work, [=] {
    const Tensor gy = images(y_shape), w = images(w_shape), gx = images(x_shape);
    return [=] { raw::run(kernels::Conv2dBackwardDataArgs{gy.ref(), w.ref(), gx.ref(), geometry}, gy); };
  });
  add("conv2d_backward_weight" + layer, work, [=] {
    const Tensor x = images(x_shape), gy = images(y_shape), gw = images(w_shape);
    return [=] { raw::run(kernels::Conv2dBackwardWeightArgs{x.ref(), gy.ref(), gw.ref(), {}, geometry}, gy); };
  });
}

}  // namespace

void add_conv2d() {
  for (const Layer& layer : kLayers) add_layer(layer);
}

}  // namespace graft::bench
