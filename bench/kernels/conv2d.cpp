// conv2d_{forward,backward_data,backward_weight}/<layer>/<batch>: the layers of the strokes network and of ResNet, and
// LeNet-5's first; on GPUs also conv2d_bias_relu.
#include <support.h>

#include <iterator>

#include <graft/core/ops/raw.h>
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
    {"lenet5_conv1", 128, 1, 28, 6, 5, 1},
};

// Every convolution of torchvision's ResNet-50 that differs from the others, at 224 x 224.
constexpr std::int64_t kBatch = 64;
constexpr Layer kResnet50[] = {
    {"resnet50_conv1", kBatch, 3, 224, 64, 7, 2},
    {"resnet50_layer1.0.conv1", kBatch, 64, 56, 64, 1, 1},
    {"resnet50_layer1.0.conv2", kBatch, 64, 56, 64, 3, 1},
    {"resnet50_layer1.0.conv3", kBatch, 64, 56, 256, 1, 1},  // and its downsample
    {"resnet50_layer1.1.conv1", kBatch, 256, 56, 64, 1, 1},
    {"resnet50_layer2.0.conv1", kBatch, 256, 56, 128, 1, 1},
    {"resnet50_layer2.0.conv2", kBatch, 128, 56, 128, 3, 2},
    {"resnet50_layer2.0.conv3", kBatch, 128, 28, 512, 1, 1},
    {"resnet50_layer2.0.downsample", kBatch, 256, 56, 512, 1, 2},
    {"resnet50_layer2.1.conv1", kBatch, 512, 28, 128, 1, 1},
    {"resnet50_layer2.1.conv2", kBatch, 128, 28, 128, 3, 1},
    {"resnet50_layer3.0.conv1", kBatch, 512, 28, 256, 1, 1},
    {"resnet50_layer3.0.conv2", kBatch, 256, 28, 256, 3, 2},
    {"resnet50_layer3.0.conv3", kBatch, 256, 14, 1024, 1, 1},
    {"resnet50_layer3.0.downsample", kBatch, 512, 28, 1024, 1, 2},
    {"resnet50_layer3.1.conv1", kBatch, 1024, 14, 256, 1, 1},
    {"resnet50_layer3.1.conv2", kBatch, 256, 14, 256, 3, 1},
    {"resnet50_layer4.0.conv1", kBatch, 1024, 14, 512, 1, 1},
    {"resnet50_layer4.0.conv2", kBatch, 512, 14, 512, 3, 2},
    {"resnet50_layer4.0.conv3", kBatch, 512, 7, 2048, 1, 1},
    {"resnet50_layer4.0.downsample", kBatch, 1024, 14, 2048, 1, 2},
    {"resnet50_layer4.1.conv1", kBatch, 2048, 7, 512, 1, 1},
    {"resnet50_layer4.1.conv2", kBatch, 512, 7, 512, 3, 1},
};

void add_layer(const Place& place, const Layer& l) {
  const std::int64_t padding = l.kernel / 2;
  const std::int64_t out_size = kernels::conv_output_size(l.size, l.kernel, l.stride, padding, 1);
  const kernels::Conv2dGeometry geometry{
      .stride_h = l.stride, .stride_w = l.stride, .padding_h = padding, .padding_w = padding};
  const Shape x_shape{l.batch, l.in, l.size, l.size}, w_shape{l.out, l.in, l.kernel, l.kernel},
      y_shape{l.batch, l.out, out_size, out_size};
  const Work work{.items = static_cast<double>(l.batch),
                  .bytes = place.element() * static_cast<double>(x_shape.numel() + w_shape.numel() + y_shape.numel()),
                  .flops = 2.0 * static_cast<double>(y_shape.numel() * l.in * l.kernel * l.kernel)};
  const std::string layer = cat(l.name, "/", l.batch);
  add(place, place.name("conv2d_forward", layer), work, [=] {
    const Tensor x = place.random_images(x_shape), w = place.random_images(w_shape), y = place.empty_images(y_shape);
    return [=] { raw::run(kernels::Conv2dForwardArgs{x.ref(), w.ref(), {}, y.ref(), geometry}, y); };
  });
  if (place.backend)
    add(place, place.name("conv2d_bias_relu", layer), work, [=] {
      const Tensor x = place.random_images(x_shape), w = place.random_images(w_shape), bias = place.randn({l.out}),
                   y = place.empty_images(y_shape);
      return [=] {
        raw::run(kernels::Conv2dForwardArgs{x.ref(), w.ref(), bias.ref(), y.ref(), geometry, kernels::Activation::relu},
                 y);
      };
    });
  add(place, place.name("conv2d_backward_data", layer), work, [=] {
    const Tensor gy = place.random_images(y_shape), w = place.random_images(w_shape), gx = place.empty_images(x_shape);
    return [=] { raw::run(kernels::Conv2dBackwardDataArgs{gy.ref(), w.ref(), gx.ref(), geometry}, gy); };
  });
  add(place, place.name("conv2d_backward_weight", layer), work, [=] {
    const Tensor x = place.random_images(x_shape), gy = place.random_images(y_shape), gw = place.empty_images(w_shape);
    return [=] { raw::run(kernels::Conv2dBackwardWeightArgs{x.ref(), gy.ref(), gw.ref(), {}, geometry}, gy); };
  });
}

}  // namespace

void add_conv2d() {
  for (const Layer& layer : kLayers) add_layer(kCpu, layer);
  for (const Place& place : gpu_places()) {
    if (emulated()) add_layer(place, {"small", 2, 8, 5, 16, 3, 1});
    for (const Layer& layer : kResnet50) add_layer(place, layer);
    for (const Layer& layer : {kLayers[0], kLayers[1], kLayers[2]}) add_layer(place, layer);  // the strokes network
    add_layer(place, *std::rbegin(kLayers));                                                  // LeNet-5
  }
}

}  // namespace graft::bench
