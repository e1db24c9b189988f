// Choosing a backend, refusals, and the counts of calls.
#include <gtest/gtest.h>

#include <algorithm>

#include <graft/kernels/api/contracts.h>
#include <graft/kernels/registry/registry.h>

#include "op_case.h"

namespace graft::test {
namespace {

using namespace kernels;
using testing::Test;

class RegistryTest : public Test {
 protected:
  Maker make{DType::f32, false, {}, 3};
  Stream stream;

  template <class Args>
  std::string refusal(const Args& args) {
    try {
      kernels::run(args, stream);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
};

TEST_F(RegistryTest, ReferenceServesTheCpuLast) {
  const auto cpu = backends(DeviceType::cpu);
  ASSERT_FALSE(cpu.empty());
  EXPECT_EQ(cpu.back()->id, BackendId::reference);
  EXPECT_EQ(find_backend(BackendId::reference), cpu.back());
  for (const BackendTable* table : cpu) EXPECT_EQ(table->device, DeviceType::cpu);
}

TEST_F(RegistryTest, RefusalListsTheReasonOfEveryBackend) {
  const UnaryArgs args{UnaryOp::relu, make.input({2, 3}), make.output("y", {3, 2})};
  const std::string text = refusal(args);
  EXPECT_NE(text.find("unary: no backend on cpu can run this:"), std::string::npos) << text;
  for (const BackendTable* table : backends(DeviceType::cpu))
    EXPECT_NE(text.find(std::string("\n  ") + name(table->id) + ": "), std::string::npos) << text;
  EXPECT_NE(text.find("reference: y is f32 (3, 2): expected shape (2, 3), that of x"), std::string::npos) << text;
}

TEST_F(RegistryTest, DeviceWithoutBackend) {
  stream.device = Device::cuda();
  if (!backends(DeviceType::cuda).empty()) GTEST_SKIP() << "a CUDA backend is built in";
  EXPECT_NE(refusal(FillArgs{0, make.output("y", {3})}).find("no backend of cuda:0 is built in"), std::string::npos);
}

TEST_F(RegistryTest, ScopeAsksForOneBackendOnly) {
  const FillArgs args{2, make.output("y", {3})};
  {
    BackendScope scope(BackendId::reference);
    EXPECT_EQ(refusal(args), "");
    {
      BackendScope inner(BackendId::vendor);
      EXPECT_NE(refusal(args).find("no backend of cpu is built in that BackendScope asks for (vendor)"),
                std::string::npos)
          << refusal(args);
    }
    EXPECT_EQ(refusal(args), "") << "the outer scope is back";
  }
  EXPECT_EQ(refusal(args), "");
  EXPECT_EQ(make.read(args.y), std::vector<double>(3, 2.0));
}

TEST_F(RegistryTest, CountsCallsByName) {
  const FillArgs fill{2, make.output("y", {3})};
  const UnaryArgs bad{UnaryOp::relu, make.input({2, 3}), make.output("y", {3, 2})};
  reset_kernel_counts();
  EXPECT_EQ(kernel_calls(), 0u);
  kernels::run(fill, stream);
  kernels::run(fill, stream);
  refusal(bad);
  EXPECT_EQ(kernel_calls("fill"), 2u);
  EXPECT_EQ(kernel_calls("unary"), 0u) << "a refusal is no call";
  EXPECT_EQ(kernel_calls(), 2u);
  ASSERT_EQ(kernel_counts().size(), 1u);
  EXPECT_EQ(kernel_counts()[0].op, "fill");
  EXPECT_EQ(kernel_counts()[0].calls, 2u);
  EXPECT_THROW(kernel_calls("no_such_op"), Error);
  reset_kernel_counts();
  EXPECT_TRUE(kernel_counts().empty());
}

// What a contract refuses, and in which words.
TEST_F(RegistryTest, ContractsNameTheArgument) {
  auto reason = [](const auto& args) { return check_contract(args).reason; };
  EXPECT_EQ(reason(UnaryArgs{UnaryOp::exp, {}, make.output("y", {2})}), "x is undefined");
  EXPECT_EQ(reason(UnaryArgs{UnaryOp::exp, make.whole(DType::i64, {2}, 0, 1), make.output_of(DType::i64, "y", {2})}),
            "x is i64 (2,): expected a floating dtype (f32, f64, bf16, f16)");
  EXPECT_EQ(reason(UnaryArgs{UnaryOp::exp, make.input({2}), make.input({2}, Layout::expanded({0}))}),
            "y is f32 (2,) with strides (0,): an output must not overlap itself (dimension 0 has stride 0)");
  EXPECT_EQ(reason(BinaryScalarArgs{BinaryOp::add, make.whole(DType::i32, {2}, 0, 1), 0.5, false,
                                    make.output_of(DType::i32, "y", {2})}),
            "scalar is 0.5 and x is i32 (2,): expected a whole number beside integers");
  EXPECT_EQ(reason(BinaryArgs{BinaryOp::lt, make.input({2}), make.input({2}), make.output("y", {2})}),
            "y is f32 (2,): expected dtype bool");

  MatmulArgs matmul;
  matmul.a = make.input({2, 3});
  matmul.b = make.input({4, 5});
  matmul.y = make.output("y", {2, 5});
  EXPECT_EQ(reason(matmul), "b is f32 (4, 5): expected 3 rows, the columns of a f32 (2, 3)");
  matmul.b = make.input({3, 5}, Layout::stepped());
  EXPECT_EQ(reason(matmul),
            "b is f32 (3, 5) with strides (10, 2): expected a unit stride in one of the last two dimensions");
  matmul.b = make.input({3, 5});
  matmul.bias = make.input({4});
  EXPECT_EQ(reason(matmul), "bias is f32 (4,): expected shape (5,), (N) of y");

  Conv2dForwardArgs conv;
  conv.x = make.input({1, 4, 5, 5}, Layout::channels_last());
  conv.w = make.input({6, 3, 3, 3}, Layout::channels_last());
  conv.y = make.output("y", {1, 6, 3, 3}, Layout::channels_last());
  EXPECT_EQ(
      reason(conv),
      "x is f32 (1, 4, 5, 5) and w is f32 (6, 3, 3, 3): expected 3 channels in x (w's dimension 1 times 1 groups)");
  conv.w = make.input({6, 4, 7, 7}, Layout::channels_last());
  EXPECT_EQ(
      reason(conv),
      "w is f32 (6, 4, 7, 7): the kernel does not fit into x f32 (1, 4, 5, 5) with padding (0, 0) and dilation (1, 1)");
  conv.w = make.input({6, 4, 3, 3});
  EXPECT_EQ(reason(conv), "w is f32 (6, 4, 3, 3) with strides (36, 9, 3, 1): expected channels-last (NHWC in memory)");
  EXPECT_EQ(reason(Conv2dBackwardWeightArgs{conv.x, conv.y, {}, {}, {}}),
            "gw and gbias are both undefined: expected one at least");

  MaxPoolArgs pool;
  pool.x = conv.x;
  pool.y = make.output("y", {1, 4, 4, 4}, Layout::channels_last());
  pool.geometry.padding_h = 2;
  EXPECT_EQ(reason(pool), "padding is (2, 0): expected 0 to half the kernel (2, 2)");
  EXPECT_EQ(reason(ReduceArgs{ReduceOp::max, make.input({3, 0}), make.output("y", {3, 1})}),
            "x is f32 (3, 0): a max over nothing has no value");
  EXPECT_EQ(reason(DropoutArgs{make.input({3}), make.output("y", {3}), 1.5, {}}), "p is 1.5: expected 0 to 1");

  OptimParam p;
  p.param = make.input({3});
  p.grad = make.input({2});
  EXPECT_EQ(reason(SgdArgs{&p, 1}),
            "params[0].grad is f32 (2,) with strides (1,): expected the shape and layout of param f32 (3,) with "
            "strides (1,)");
  p.grad = make.input({3});
  EXPECT_EQ(reason(SgdArgs{&p, 1}), "");
  EXPECT_EQ(reason(SgdArgs{&p, 1, 0.9}), "params[0].state0 is undefined");
}

TEST_F(RegistryTest, DenseAndLayout) {
  EXPECT_TRUE(is_dense(make.input({2, 3, 4}, Layout::permuted({2, 0, 1}))));
  EXPECT_TRUE(is_dense(make.input({2, 1, 4, 5}, Layout::channels_last())));
  EXPECT_TRUE(is_dense(make.input({0, 5}, Layout::window())));
  EXPECT_FALSE(is_dense(make.input({2, 3}, Layout::window())));
  EXPECT_FALSE(is_dense(make.input({2, 3}, Layout::expanded({0}))));
  EXPECT_FALSE(is_dense(make.input({3}, Layout::stepped())));
  TensorRef a = make.input({2, 1, 3}), b = a;
  b.strides[1] = 99;
  EXPECT_TRUE(same_layout(a, b)) << "a size of 1 imposes no stride";
  b.strides[0] = 99;
  EXPECT_FALSE(same_layout(a, b));
}

}  // namespace
}  // namespace graft::test
