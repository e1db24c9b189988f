// Convolution, forward and both backward ops, on every backend.
#include <limits>

#include "op_case.h"

namespace graft::test {
namespace {

using namespace kernels;

struct Conv {
  std::string variant;
  std::int64_t n, c, h, w;  // input
  std::int64_t k, r, s;     // filters
  Conv2dGeometry geometry = {};
  bool bias = false;
  Activation activation = Activation::none;
  bool aligned = true;  // else each tensor begins one element after an aligned address
  std::vector<DType> dtypes = kFloats;

  Layout layout() const {
    Layout channels_last = Layout::channels_last();
    channels_last.offset = aligned ? 0 : 1;
    return channels_last;
  }
  Shape x_shape() const { return {n, c, h, w}; }
  Shape w_shape() const { return {k, c / geometry.groups, r, s}; }
  Shape y_shape() const {
    const Conv2dGeometry& g = geometry;
    return {n, k, conv_output_size(h, r, g.stride_h, g.padding_h, g.dilation_h),
            conv_output_size(w, s, g.stride_w, g.padding_w, g.dilation_w)};
  }
};

Conv2dGeometry geometry(std::int64_t stride, std::int64_t padding, std::int64_t dilation = 1, std::int64_t groups = 1) {
  return {stride, stride, padding, padding, dilation, dilation, groups};
}

constexpr Activation none = Activation::none, relu = Activation::relu;

// The groups of "many_groups" and "many_weights": each has a block of the CUDA kernels' large tile, which is taken from
// 264 blocks on.
constexpr std::int64_t kMany = 264;

std::vector<Conv> convolutions() {
  return {
      {"1x1_pixel", 1, 1, 1, 1, 1, 1, 1},
      {"1x1", 2, 17, 5, 7, 9, 1, 1, geometry(1, 0), true},
      {"1x1_stride2", 2, 16, 7, 7, 33, 1, 1, geometry(2, 0), true, relu},
      {"3x3", 2, 3, 9, 7, 8, 3, 3, geometry(1, 1), true, relu},
      {"3x3_awkward_channels", 1, 7, 6, 5, 33, 3, 3, geometry(1, 1)},
      {"3x3_stride2", 2, 5, 9, 8, 7, 3, 3, geometry(2, 1), true},
      {"3x3_no_padding", 3, 4, 5, 6, 5, 3, 3, geometry(1, 0)},
      {"3x3_dilation2", 2, 3, 9, 9, 4, 3, 3, geometry(1, 2, 2), true},
      {"3x3_stride2_dilation3", 1, 3, 13, 11, 4, 3, 3, geometry(2, 3, 3)},
      {"5x5_lenet", 2, 1, 12, 12, 6, 5, 5, geometry(1, 0), true, relu},
      {"7x7_stride2_stem", 1, 3, 15, 13, 16, 7, 7, geometry(2, 3)},
      {"even_kernel", 2, 3, 7, 8, 5, 2, 4, geometry(1, 1), true},
      {"even_kernel_stride2", 1, 4, 8, 9, 3, 4, 2, geometry(2, 1)},
      {"kernel_larger_than_input", 2, 3, 3, 2, 4, 5, 5, geometry(1, 2), true},
      {"kernel_covers_input", 3, 5, 4, 4, 7, 4, 4, geometry(1, 0), true},
      {"uneven_geometry", 2, 3, 8, 11, 4, 3, 2, {2, 1, 1, 2, 1, 2, 1}, true},
      {"stride_over_kernel", 1, 3, 9, 9, 4, 2, 2, geometry(3, 0)},
      {"wide_padding", 1, 2, 3, 3, 3, 3, 3, geometry(1, 4)},
      {"groups2", 2, 6, 5, 5, 8, 3, 3, geometry(1, 1, 1, 2), true},
      {"groups3_1x1", 1, 9, 4, 5, 6, 1, 1, geometry(1, 0, 1, 3)},
      {"depthwise", 2, 9, 7, 6, 9, 3, 3, geometry(1, 1, 1, 9), true, relu},
      {"depthwise_stride2", 1, 16, 8, 8, 16, 3, 3, geometry(2, 1, 1, 16)},
      {"depthwise_multiplier", 1, 4, 5, 5, 8, 3, 3, geometry(1, 1, 1, 4), true},
      {"empty_batch", 0, 3, 5, 5, 4, 3, 3, geometry(1, 1), true},
      {"single_row", 2, 4, 1, 17, 3, 1, 3, {1, 1, 0, 1, 1, 1, 1}, true},
      {"one_channel", 2, 1, 9, 8, 10, 5, 5, geometry(1, 2), true},
      {"one_filter", 1, 33, 6, 5, 1, 3, 3, geometry(1, 1), true},
      {"three_channels_33_filters", 1, 3, 8, 8, 33, 3, 3, geometry(1, 1), true, relu},
      {"seven_channels_64_filters", 1, 7, 8, 8, 64, 3, 3, geometry(2, 1)},
      {"vectors_of_channels", 2, 8, 8, 8, 64, 3, 3, geometry(1, 1), true, relu},
      {"vectors_of_channels_stride2", 1, 64, 8, 8, 32, 3, 3, geometry(2, 1), true},
      {"vectors_of_channels_uneven", 2, 8, 11, 14, 16, 3, 5, {2, 3, 1, 4, 2, 1, 1}, true},
      {"vectors_of_channels_1x1", 1, 32, 7, 7, 40, 1, 1, geometry(1, 0), true},
      {"channels_over_a_tile", 1, 33, 5, 5, 70, 2, 3, {1, 2, 1, 0, 1, 1, 1}, true},
      {"unaligned", 1, 16, 6, 6, 16, 3, 3, geometry(1, 1), true, relu, false},
      {"groups2_vectors", 1, 16, 6, 6, 32, 3, 3, geometry(1, 1, 1, 2), true},
      {"groups4_stride2_dilation2", 1, 8, 9, 9, 12, 3, 3, geometry(2, 2, 2, 4)},
      {"positions_in_parts", 3, 3, 20, 20, 5, 3, 3, geometry(1, 1), true},
      {"positions_in_parts_vectors", 2, 8, 20, 20, 16, 3, 3, geometry(1, 1)},
      {"depthwise_multiplier3_uneven", 2, 5, 9, 8, 15, 3, 2, {2, 1, 0, 1, 1, 2, 5}, true, relu},
      {"depthwise_40_channels", 1, 40, 5, 6, 40, 5, 5, geometry(1, 2, 1, 40)},
      {"depthwise_positions_in_parts", 1, 6, 20, 20, 6, 3, 3, geometry(1, 1, 1, 6)},
      {"depthwise_unaligned", 1, 8, 5, 5, 8, 3, 3, geometry(1, 1, 1, 8), true, relu, false},
      // Pictures of one to four channels: CUDA's direct kernels.
      {"one_channel_32_filters", 3, 1, 14, 14, 32, 3, 3, geometry(1, 1), false, relu},
      {"one_channel_72_filters", 1, 1, 9, 11, 72, 3, 3, geometry(1, 1), true},
      {"two_channels_9_filters_dilated", 2, 2, 11, 13, 9, 3, 3, {1, 2, 3, 1, 2, 3, 1}, true, relu},
      {"two_channels_wide_picture", 1, 2, 2, 150, 3, 1, 3, {1, 1, 0, 1, 1, 1, 1}, true},
      {"two_channels_strides_2_3", 2, 2, 11, 14, 8, 4, 5, {2, 3, 1, 2, 1, 1, 1}, true},
      {"three_channels_64_filters_stem", 2, 3, 21, 19, 64, 7, 7, geometry(2, 3), true, relu},
      {"three_channels_stride_over_kernel", 1, 3, 12, 10, 16, 2, 2, geometry(4, 1)},
      {"three_channels_stride5", 1, 3, 16, 11, 8, 3, 3, geometry(5, 0), true},
      {"four_channels", 2, 4, 10, 9, 24, 3, 3, geometry(1, 1), true},
      {"four_channels_stride2_dilation2", 1, 4, 13, 12, 16, 3, 3, geometry(2, 2, 2), true, relu},
      {"four_channels_unaligned", 2, 4, 7, 6, 16, 3, 3, geometry(1, 1), true, relu, false},
      {"four_channels_7x7", 1, 4, 12, 11, 40, 7, 7, geometry(1, 3), true},
      {"one_channel_large_batch", 1100, 1, 3, 3, 2, 2, 2, geometry(1, 0), true, relu},
      {"large_window", 1, 4, 34, 33, 2, 33, 33, geometry(1, 0)},
  };
}

// A Maker's tensors with NaN and Inf in one of them; the other's elements are positive, so that Inf keeps its sign.
TensorRef with_nan_and_inf(Maker& make, const Shape& shape) {
  const TensorRef t = make.input(shape, Layout::channels_last());
  make.sprinkle(t, 97, std::numeric_limits<double>::quiet_NaN());
  make.sprinkle(t, 173, std::numeric_limits<double>::infinity());
  return t;
}
TensorRef positive(Maker& make, const Shape& shape) { return make.input(shape, Layout::channels_last(), 0.25, 1); }

std::vector<OpCase> forward_cases() {
  std::vector<OpCase> cases;
  std::vector<Conv> convs = convolutions();
  convs.push_back(
      {"many_groups", 1, kMany * 4, 5, 13, kMany * 33, 1, 1, geometry(1, 0, 1, kMany), true, relu, true, kF32});
  convs.push_back({"many_groups_bf16", 1, kMany * 8, 5, 13, kMany * 40, 1, 1, geometry(1, 0, 1, kMany), true, relu,
                   true, {DType::bf16}});
  for (const Conv& conv : convs)
    cases.push_back(op_case(conv.variant, conv.dtypes, sum_of(conv.w_shape().numel() / conv.k), [conv](Maker& make) {
      Conv2dForwardArgs args;
      args.x = make.input(conv.x_shape(), conv.layout());
      args.w = make.input(conv.w_shape(), conv.layout());
      if (conv.bias) args.bias = make.input({conv.k});
      args.y = make.output("y", conv.y_shape(), conv.layout());
      args.geometry = conv.geometry;
      args.activation = conv.activation;
      return args;
    }));
  for (Activation activation : {none, relu})
    cases.push_back(
        op_case(activation == relu ? "nan_and_inf_relu" : "nan_and_inf", kFloats, sum_of(27), [=](Maker& make) {
          Conv2dForwardArgs args;
          args.x = with_nan_and_inf(make, {2, 3, 6, 6});
          args.w = positive(make, {4, 3, 3, 3});
          args.y = make.output("y", {2, 4, 4, 4}, Layout::channels_last());
          args.activation = activation;
          return args;
        }));
  cases.push_back(op_case("tagged_weight", kF32, sum_of(45), [](Maker& make) {
    Conv2dForwardArgs args;
    args.x = make.input({1, 5, 6, 6}, Layout::channels_last());
    args.w = make.input({7, 5, 3, 3}, Layout::channels_last());
    args.y = make.output("y", {1, 7, 4, 4}, Layout::channels_last());
    args.w_tag = 0x7e57000000000002ull;
    return args;
  }));
  return cases;
}

std::vector<OpCase> backward_data_cases() {
  std::vector<OpCase> cases;
  std::vector<Conv> convs = convolutions();
  convs.push_back(
      {"many_groups", 1, kMany * 36, 5, 13, kMany * 4, 1, 1, geometry(1, 0, 1, kMany), false, none, true, kF32});
  convs.push_back({"many_groups_bf16", 1, kMany * 40, 5, 13, kMany * 8, 1, 1, geometry(1, 0, 1, kMany), false, none,
                   true, {DType::bf16}});
  for (const Conv& conv : convs) {
    // An element of gx sums over the filters of its group and the kernel.
    const std::int64_t data_terms = conv.k / conv.geometry.groups * conv.r * conv.s;
    cases.push_back(op_case(conv.variant, conv.dtypes, sum_of(data_terms), [conv](Maker& make) {
      Conv2dBackwardDataArgs args;
      args.gy = make.input(conv.y_shape(), conv.layout());
      args.w = make.input(conv.w_shape(), conv.layout());
      args.gx = make.output("gx", conv.x_shape(), conv.layout());
      args.geometry = conv.geometry;
      return args;
    }));
  }
  for (const std::int64_t channels : {3, 8})
    cases.push_back(op_case("nan_and_inf_" + std::to_string(channels), kFloats, sum_of(72), [=](Maker& make) {
      Conv2dBackwardDataArgs args;
      args.gy = with_nan_and_inf(make, {1, channels, 7, 7});
      args.w = positive(make, {channels, 8, 3, 3});
      args.gx = make.output("gx", {1, 8, 14, 14}, Layout::channels_last());
      args.geometry = geometry(2, 1);
      return args;
    }));
  return cases;
}

std::vector<OpCase> backward_weight_cases() {
  std::vector<OpCase> cases;
  std::vector<Conv> convs = convolutions();
  convs.push_back({"tiles_of_weights", 1, 120, 5, 5, 40, 3, 3, geometry(1, 1)});
  convs.push_back(
      {"many_weights", 1, kMany * 68, 2, 2, kMany * 36, 1, 1, geometry(1, 0, 1, kMany), false, none, true, kF32});
  convs.push_back({"many_weights_bf16", 1, kMany * 72, 2, 2, kMany * 40, 1, 1, geometry(1, 0, 1, kMany), false, none,
                   true, {DType::bf16}});
  // More parts than CUDA's blocks add in one step, the last group of parts being smaller: 9 and 20 of 256 positions.
  convs.push_back({"nine_parts", 1, 5, 48, 48, 3, 1, 1, geometry(1, 0), true});
  convs.push_back({"twenty_parts_vectors", 2, 8, 40, 64, 8, 1, 1, geometry(1, 0), true});
  convs.push_back({"ten_parts_of_tiles", 1, 12, 40, 64, 36, 2, 3, {1, 1, 0, 1, 1, 1, 1}, false, none, true, kF32});
  // The direct kernel's: 68 parts of 9 x 32 and of 3 x 5 weights, 9 of tiles of 160 terms, and more than one block adds.
  convs.push_back({"one_channel_68_parts", 4, 1, 66, 66, 32, 3, 3, geometry(1, 1)});
  convs.push_back({"three_channels_many_parts", 70, 3, 16, 16, 5, 1, 1, geometry(1, 0)});
  convs.push_back({"four_channels_9_parts_of_tiles", 9, 4, 16, 16, 40, 7, 7, geometry(1, 3), false, none, true, kF32});
  convs.push_back({"three_channels_9_large_parts", 9, 3, 16, 16, 64, 7, 7, geometry(1, 3), false, none, true, kF32});
  for (const Conv& conv : convs) {
    // An element of gw, and of gbias, sums over the pictures and positions.
    const Shape y = conv.y_shape();
    cases.push_back(op_case(conv.variant, conv.dtypes, sum_of(y[0] * y[2] * y[3]), [conv](Maker& make) {
      Conv2dBackwardWeightArgs args;
      args.x = make.input(conv.x_shape(), conv.layout());
      args.gy = make.input(conv.y_shape(), conv.layout());
      args.gw = make.output("gw", conv.w_shape(), conv.layout());
      if (conv.bias) args.gbias = make.output("gbias", {conv.k});
      args.geometry = conv.geometry;
      return args;
    }));
  }
  cases.push_back(op_case("bias_only", kFloats, sum_of(50), [](Maker& make) {
    Conv2dBackwardWeightArgs args;
    args.x = make.input({2, 3, 5, 5}, Layout::channels_last());
    args.gy = make.input({2, 7, 5, 5}, Layout::channels_last());
    args.gbias = make.output("gbias", {7});
    args.geometry = geometry(1, 1);
    return args;
  }));
  for (const std::int64_t channels : {3, 8}) {
    cases.push_back(op_case("nan_and_inf_x_" + std::to_string(channels), kFloats, sum_of(50), [=](Maker& make) {
      Conv2dBackwardWeightArgs args;
      args.x = with_nan_and_inf(make, {2, channels, 5, 5});
      args.gy = positive(make, {2, 8, 5, 5});
      args.gw = make.output("gw", {8, channels, 3, 3}, Layout::channels_last());
      args.gbias = make.output("gbias", {8});
      args.geometry = geometry(1, 1);
      return args;
    }));
    cases.push_back(op_case("nan_and_inf_gy_" + std::to_string(channels), kFloats, sum_of(50), [=](Maker& make) {
      Conv2dBackwardWeightArgs args;
      args.x = positive(make, {2, channels, 7, 7});
      args.gy = with_nan_and_inf(make, {2, 8, 5, 5});
      args.gw = make.output("gw", {8, channels, 3, 3}, Layout::channels_last());
      args.gbias = make.output("gbias", {8});
      return args;
    }));
  }
  return cases;
}

GRAFT_OP_CASES(Conv2dForward, forward_cases());
GRAFT_OP_CASES(Conv2dBackwardData, backward_data_cases());
GRAFT_OP_CASES(Conv2dBackwardWeight, backward_weight_cases());

}  // namespace
}  // namespace graft::test
