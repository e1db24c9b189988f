// What the vendor backend refuses, and in which words: `supports` needs neither the libraries nor a GPU.
#include <gtest/gtest.h>

#include <graft/kernels/vendor/table.h>

namespace graft::test {
namespace {

using namespace kernels;

// Never read.
float memory[4];

TensorRef tensor(const Shape& shape, DType dtype = DType::f32) {
  return {memory, dtype, shape, contiguous_strides(shape)};
}
TensorRef picture(const Shape& shape, DType dtype = DType::f32) {
  return {memory, dtype, shape, channels_last_strides(shape)};
}

template <class Args>
std::string reason(const Args& args) {
  const Row<Args>& row = vendor::table().row<Args>();
  return row.supports == nullptr ? "has no such op" : row.supports(args).reason;
}

TEST(VendorRefusals, ContractsComeFirst) {
  EXPECT_EQ(reason(MatmulArgs{tensor({2, 3}), tensor({4, 5}), {}, tensor({2, 5})}),
            "b is f32 (4, 5): expected 3 rows, the columns of a f32 (2, 3)");
  EXPECT_EQ(reason(SoftmaxArgs{}), "x is undefined");
}

TEST(VendorRefusals, OpsThatTheLibrariesDoNotHave) {
  EXPECT_EQ(vendor::table().device, DeviceType::cuda);
  EXPECT_EQ(vendor::table().id, BackendId::vendor);
  EXPECT_EQ(reason(UnaryArgs{}), "has no such op");
  EXPECT_EQ(reason(LayerNormArgs{}), "has no such op");
  EXPECT_EQ(reason(MaxPoolBackwardArgs{}), "has no such op") << "cuDNN wants x, which our backward does not get";
}

TEST(VendorRefusals, DoublesAndSizesBeyondTheDescriptors) {
  const std::string doubles = "serves f32, bf16 and f16: f64 is there for gradient checks, which our own kernels do";
  EXPECT_EQ(reason(MatmulArgs{tensor({2, 3}, DType::f64), tensor({3, 5}, DType::f64), {}, tensor({2, 5}, DType::f64)}),
            doubles);
  EXPECT_EQ(reason(SoftmaxArgs{tensor({2, 3}, DType::f64), tensor({2, 3}, DType::f64)}), doubles);
  const Shape large{std::int64_t{1} << 20, std::int64_t{1} << 12};
  EXPECT_EQ(
      reason(SoftmaxArgs{tensor(large, DType::f16), tensor(large, DType::f16)}),
      "a tensor is f16 (1048576, 4096): expected no more than 2^31 - 1 elements, which cuDNN's descriptors count");
}

TEST(VendorRefusals, MatmulServesEveryTransposeButNoOverlap) {
  const auto product = [](const Shape& a_strides, const Shape& b_strides) {
    MatmulArgs args{tensor({4, 3}), tensor({3, 5}), {}, tensor({4, 5})};
    args.a.strides = a_strides;
    args.b.strides = b_strides;
    return reason(args);
  };
  EXPECT_EQ(product({3, 1}, {5, 1}), "");
  MatmulArgs sums{tensor({4, 3}), tensor({3, 5}), {}, tensor({4, 5})};
  sums.a_sums = tensor({4});
  EXPECT_EQ(reason(sums), "a_sums is defined: only our own kernels sum a's rows beside a product");
  EXPECT_EQ(product({1, 4}, {5, 1}), "");
  EXPECT_EQ(product({3, 1}, {1, 3}), "");
  EXPECT_EQ(product({9, 1}, {1, 8}), "") << "windows";
  EXPECT_EQ(product({2, 1}, {5, 1}),
            "a is f32 (4, 3) with strides (2, 1): its rows overlap, and cuBLASLt expects them to lie apart");
  EXPECT_EQ(product({3, 1}, {0, 1}),
            "b is f32 (3, 5) with strides (0, 1): its rows overlap, and cuBLASLt expects them to lie apart");
  // A batch that shares an operand, and no columns at all.
  MatmulArgs batch{tensor({2, 4, 3}), tensor({2, 3, 5}), {}, tensor({2, 4, 5})};
  batch.b.strides = {0, 5, 1};
  EXPECT_EQ(reason(batch), "");
  EXPECT_EQ(reason(MatmulArgs{tensor({4, 0}), tensor({0, 5}), tensor({5}), tensor({4, 5})}), "");
}

TEST(VendorRefusals, ConvolutionNeedsChannelsAndFilters) {
  Conv2dForwardArgs args;
  args.x = picture({2, 6, 5, 5});
  args.w = picture({4, 3, 3, 3});
  args.y = picture({2, 4, 3, 3});
  args.geometry.groups = 2;
  EXPECT_EQ(reason(args), "");
  args.geometry.groups = 1;
  args.x = picture({2, 0, 5, 5});
  args.w = picture({4, 0, 3, 3});
  EXPECT_EQ(reason(args), "the weights are f32 (4, 0, 3, 3): cuDNN has no convolution without channels or filters");
  EXPECT_EQ(reason(Conv2dBackwardWeightArgs{picture({2, 6, 5, 5}), picture({2, 4, 3, 3}), {}, tensor({4}), {}}), "");
}

TEST(VendorRefusals, PoolingKeepsNoPositions) {
  MaxPoolArgs args;
  args.x = picture({2, 3, 8, 8});
  args.y = picture({2, 3, 4, 4});
  EXPECT_EQ(reason(args), "");
  args.index = picture({2, 3, 4, 4}, DType::i32);
  EXPECT_EQ(reason(args), "cuDNN's maximum pooling keeps no positions: expected no index (inference)");
  args.index = {};
  args.geometry.dilation_h = 2;
  args.geometry.stride_h = 1;
  args.y = picture({2, 3, 6, 4});
  EXPECT_EQ(reason(args), "dilation is (2, 1): cuDNN's pooling has none, expected 1");
  EXPECT_EQ(reason(AvgPoolArgs{picture({2, 3, 8, 8}), picture({2, 3, 4, 4}), {}}), "");
  EXPECT_EQ(reason(AdaptiveAvgPoolArgs{picture({2, 3, 8, 6}), picture({2, 3, 4, 2})}), "");
  EXPECT_EQ(
      reason(AdaptiveAvgPoolArgs{picture({2, 3, 8, 6}), picture({2, 3, 3, 2})}),
      "bins of f32 (2, 3, 8, 6) are of several sizes for f32 (2, 3, 3, 2): cuDNN has windows of one size, expected "
      "sizes that divide");
  EXPECT_EQ(reason(AdaptiveAvgPoolBackwardArgs{picture({2, 3, 1, 1}), picture({2, 3, 7, 7})}), "");
  EXPECT_NE(reason(AdaptiveAvgPoolBackwardArgs{picture({2, 3, 7, 7}), picture({2, 3, 3, 3})}), "")
      << "more out than in";
}

TEST(VendorRefusals, BatchNormWhereTheMeaningDiffers) {
  const TensorRef c = tensor({3});
  BatchNormArgs args;
  args.x = args.y = tensor({8, 3});
  args.mean = args.inv_std = c;
  EXPECT_EQ(reason(args), "gamma or beta is undefined: cuDNN's batch norm needs both");
  args.gamma = args.beta = c;
  EXPECT_EQ(reason(args), "");
  args.running_mean = c;
  EXPECT_EQ(reason(args), "only one of running_mean and running_var is defined: cuDNN moves both or none");
  args.running_var = c;
  EXPECT_EQ(reason(args), "");
  args.batches = tensor({}, DType::i64);
  EXPECT_EQ(reason(args), "batches is defined: cuDNN counts none");
  args.batches = {};
  args.x = args.y = tensor({1, 3});
  EXPECT_EQ(reason(args), "x has one row: its unbiased variance is not defined the same way in cuDNN");
  args.x = args.y = tensor({8, 3});
  args.training = false;
  EXPECT_EQ(reason(args), "mean or inv_std is asked for: cuDNN's inference keeps nothing");
  args.mean = args.inv_std = {};
  EXPECT_EQ(reason(args), "");

  BatchNormBackwardArgs back;
  back.x = back.gy = back.gx = tensor({8, 3});
  back.mean = back.inv_std = back.gamma = back.ggamma = c;
  EXPECT_EQ(reason(back), "one of gx, ggamma and gbeta is undefined: cuDNN computes all three or none");
  back.gbeta = c;
  EXPECT_EQ(reason(back), "");
  back.training = false;
  EXPECT_EQ(reason(back), "training is false: cuDNN has no backward of inference");
  back.training = true;
  back.gamma = {};
  EXPECT_EQ(reason(back), "gamma is undefined: cuDNN's batch norm needs it");
}

}  // namespace
}  // namespace graft::test
