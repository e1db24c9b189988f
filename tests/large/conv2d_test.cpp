// Convolutions, in all three directions: every one of ResNet-50 that differs from the others, the strokes network's,
// depthwise ones.
#include "large/large.h"

#include <algorithm>

namespace graft::test::large {
namespace {

struct Layer {
  std::string name;
  std::int64_t batch, in, height, width, out, kernel, stride;
  std::int64_t groups = 1;

  std::int64_t outputs(std::int64_t size) const {
    return kernels::conv_output_size(size, kernel, stride, kernel / 2, 1);
  }
  Shape x() const { return {batch, in, height, width}; }
  Shape w() const { return {out, in / groups, kernel, kernel}; }
  Shape y() const { return {batch, out, outputs(height), outputs(width)}; }
  kernels::Conv2dGeometry geometry() const {
    return {.stride_h = stride, .stride_w = stride, .padding_h = kernel / 2, .padding_w = kernel / 2, .groups = groups};
  }
};

void add_forward(Cases& cases, const Layer& l, const std::vector<DType>& dtypes, bool vendor) {
  for (const bool bias_relu : {false, true})
    cases.add("conv2d_forward_" + l.name + (bias_relu ? "_bias_relu" : ""), bias_relu ? std::vector{dtypes[0]} : dtypes,
              [=](Tensors& make) {
                const Tensor x = make.images(l.x()), w = make.images(l.w()),
                             y = make.output_images("y", l.y(), make.dot(l.in / l.groups * l.kernel * l.kernel, 1));
                kernels::Conv2dForwardArgs args;
                args.x = x.ref();
                args.w = w.ref();
                args.y = y.ref();
                args.geometry = l.geometry();
                if (bias_relu) {
                  args.bias = make.input({l.out}).ref();
                  args.activation = kernels::Activation::relu;
                }
                return std::vector{step(args)};
              },
              vendor);
}

void add_backward_data(Cases& cases, const Layer& l, const std::vector<DType>& dtypes, bool vendor) {
  cases.add("conv2d_backward_data_" + l.name, dtypes,
            [=](Tensors& make) {
              const Tensor gy = make.images(l.y()), w = make.images(l.w()),
                           gx = make.output_images("gx", l.x(), make.dot(l.out / l.groups * l.kernel * l.kernel));
              kernels::Conv2dBackwardDataArgs args;
              args.gy = gy.ref();
              args.w = w.ref();
              args.gx = gx.ref();
              args.geometry = l.geometry();
              return std::vector{step(args)};
            },
            vendor);
}

void add_backward_weight(Cases& cases, const Layer& l, const std::vector<DType>& dtypes, bool vendor) {
  for (const bool bias : {false, true}) {
    if (bias && l.groups > 1) continue;
    cases.add("conv2d_backward_weight_" + l.name + (bias ? "_bias" : ""), bias ? std::vector{dtypes[0]} : dtypes,
              [=](Tensors& make) {
                const std::int64_t positions = l.batch * l.outputs(l.height) * l.outputs(l.width);
                const Tensor x = make.images(l.x()), gy = make.images(l.y()),
                             gw = make.output_images("gw", l.w(), make.dot(positions));
                kernels::Conv2dBackwardWeightArgs args;
                args.x = x.ref();
                args.gy = gy.ref();
                args.gw = gw.ref();
                args.geometry = l.geometry();
                if (bias) args.gbias = make.output("gbias", {l.out}, make.sum(positions)).ref();
                return std::vector{step(args)};
              },
              vendor);
  }
}

void add(Cases& cases, const Layer& l, const std::vector<DType>& dtypes, bool vendor = true) {
  add_forward(cases, l, dtypes, vendor);
  add_backward_data(cases, l, dtypes, vendor);
  add_backward_weight(cases, l, dtypes, vendor);
}

// Which tile is taken depends on the shape alone (conv2d_tile.cuh: with_tile), large ones from 264 blocks on; pictures
// of one to four channels have kernels of their own. Depths of five steps and more; channels that fill vectors, and
// others.
std::vector<Case> small_cases() {
  Cases cases;
  add_forward(cases, {"large_tiles", 11, 16, 15, 16, 776, 3, 1}, kAll, true);
  add_backward_data(cases, {"large_tiles", 11, 776, 15, 16, 16, 3, 1}, kAll, true);
  add_backward_weight(cases, {"large_tiles", 44, 32, 16, 16, 72, 3, 1}, kAll, true);
  add(cases, {"small_tiles", 2, 16, 9, 10, 24, 3, 1}, kAll);
  add(cases, {"small_tiles_of_odd_channels", 2, 15, 9, 10, 21, 3, 2}, kAll);
  add(cases, {"direct", 9, 3, 21, 20, 40, 7, 2}, kAll);
  add(cases, {"direct_of_one_channel", 40, 1, 14, 14, 32, 3, 1}, kAll);
  add(cases, {"groups", 2, 48, 9, 10, 96, 3, 1, 2}, kAll);
  add(cases, {"depthwise", 2, 40, 13, 12, 40, 3, 1, 40}, kAll);
  return cases;
}

// bench/kernels/conv2d.cpp has the same list. The vendor's engines are looked for at every fifth layer.
std::vector<Case> full_cases() {
  constexpr std::int64_t batch = 64;
  const Layer resnet50[] = {
      {"resnet50_conv1", batch, 3, 224, 224, 64, 7, 2},
      {"resnet50_layer1_0_conv1", batch, 64, 56, 56, 64, 1, 1},
      {"resnet50_layer1_0_conv2", batch, 64, 56, 56, 64, 3, 1},
      {"resnet50_layer1_0_conv3", batch, 64, 56, 56, 256, 1, 1},
      {"resnet50_layer1_1_conv1", batch, 256, 56, 56, 64, 1, 1},
      {"resnet50_layer2_0_conv1", batch, 256, 56, 56, 128, 1, 1},
      {"resnet50_layer2_0_conv2", batch, 128, 56, 56, 128, 3, 2},
      {"resnet50_layer2_0_conv3", batch, 128, 28, 28, 512, 1, 1},
      {"resnet50_layer2_0_downsample", batch, 256, 56, 56, 512, 1, 2},
      {"resnet50_layer2_1_conv1", batch, 512, 28, 28, 128, 1, 1},
      {"resnet50_layer2_1_conv2", batch, 128, 28, 28, 128, 3, 1},
      {"resnet50_layer3_0_conv1", batch, 512, 28, 28, 256, 1, 1},
      {"resnet50_layer3_0_conv2", batch, 256, 28, 28, 256, 3, 2},
      {"resnet50_layer3_0_conv3", batch, 256, 14, 14, 1024, 1, 1},
      {"resnet50_layer3_0_downsample", batch, 512, 28, 28, 1024, 1, 2},
      {"resnet50_layer3_1_conv1", batch, 1024, 14, 14, 256, 1, 1},
      {"resnet50_layer3_1_conv2", batch, 256, 14, 14, 256, 3, 1},
      {"resnet50_layer4_0_conv1", batch, 1024, 14, 14, 512, 1, 1},
      {"resnet50_layer4_0_conv2", batch, 512, 14, 14, 512, 3, 2},
      {"resnet50_layer4_0_conv3", batch, 512, 7, 7, 2048, 1, 1},
      {"resnet50_layer4_0_downsample", batch, 1024, 14, 14, 2048, 1, 2},
      {"resnet50_layer4_1_conv1", batch, 2048, 7, 7, 512, 1, 1},
      {"resnet50_layer4_1_conv2", batch, 512, 7, 7, 512, 3, 1},
  };
  Cases cases;
  std::size_t index = 0;
  for (const Layer& layer : resnet50) {
    const bool fifth = index++ % 5 == 2;
    add(cases, layer, fifth ? kAll : std::vector{DType::bf16, DType::f32}, fifth);
  }
  add(cases, {"strokes_conv1", 128, 1, 28, 28, 32, 3, 1}, kAll);
  add(cases, {"strokes_conv2", 128, 32, 14, 14, 64, 3, 1}, kAll);
  add(cases, {"strokes_conv3", 128, 64, 7, 7, 128, 3, 1}, kAll);
  add(cases, {"groups_of_32", 32, 256, 28, 28, 256, 3, 1, 8}, kAll, false);
  add(cases, {"depthwise", 32, 192, 56, 56, 192, 3, 1, 192}, kAll, false);
  add(cases, {"depthwise_stride_2", 32, 384, 28, 28, 384, 5, 2, 384}, kAll, false);
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Conv2d, Large, testing::ValuesIn(small_sizes() ? small_cases() : full_cases()), case_name);

}  // namespace
}  // namespace graft::test::large
