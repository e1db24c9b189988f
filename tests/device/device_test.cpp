// Tensors on the CUDA device: making them, copying them, and what is refused.
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include <graft/core/autograd/node.h>
#include <graft/core/cuda.h>
#include <graft/core/io/safetensors.h>
#include <graft/core/ops/math.h>
#include <graft/core/ops/nn.h>
#include <graft/core/ops/view.h>
#include <graft/models/models.h>

#include "core/helpers.h"
#include "device/device.h"
#include "support/temporary_folder.h"

namespace graft {
namespace {

using test::cpu;
using test::DeviceTest;
using test::gpu;

class DeviceTensorTest : public DeviceTest {};

TEST_F(DeviceTensorTest, MadeOnTheDevice) {
  EXPECT_EQ(values(Tensor::zeros({2, 2}, DType::f32, gpu)), std::vector<double>(4, 0));
  EXPECT_EQ(values(Tensor::full({3}, 2.5, DType::f64, gpu)), std::vector<double>(3, 2.5));
  EXPECT_EQ(values(Tensor::ones({2}, DType::i64, gpu)), std::vector<double>(2, 1));
  EXPECT_EQ(values(Tensor::arange(4, gpu)), (std::vector<double>{0, 1, 2, 3}));
  const Tensor t = Tensor::from({1.5f, -2.0f}, {2}, gpu);
  EXPECT_EQ(t.device(), gpu);
  EXPECT_EQ(values(t), (std::vector<double>{1.5, -2}));
  EXPECT_EQ(t.zeros_like().device(), gpu);
  EXPECT_EQ(Tensor::full({}, 7, DType::f32, gpu).item(), 7);
  EXPECT_EQ(to_string(t), "f32 (2,) on cuda:0");
  EXPECT_EQ(Tensor::empty({0, 3}, DType::f32, gpu).to_vector<float>().size(), 0u);
}

TEST_F(DeviceTensorTest, DataRefusesMemoryOfTheDevice) {
  Tensor t = Tensor::zeros({2}, DType::f32, gpu);
  expect_contains(error_of([&] { t.data<float>(); }), {"cuda:0", "to(Device::cpu())"});
  expect_contains(error_of([&] { Tensor::zeros({2}, DType::f32, gpu).item(); }), {"one element"});
}

TEST_F(DeviceTensorTest, RoundTripKeepsValuesLayoutAndDtype) {
  for (const DType dtype :
       {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i64, DType::i32, DType::u8, DType::boolean}) {
    const Tensor host = counting({2, 3, 4, 5}).to(dtype);
    const Tensor there = host.to(gpu);
    EXPECT_EQ(there.device(), gpu);
    EXPECT_EQ(there.dtype(), dtype);
    EXPECT_TRUE(same_bits(there.to(cpu), host)) << name(dtype);
  }
  const Tensor image = counting({2, 3, 4, 5}).contiguous(MemoryFormat::channels_last);
  EXPECT_EQ(image.to(gpu).strides(), image.strides());
  EXPECT_TRUE(same_bits(image.to(gpu).to(cpu), image));
  EXPECT_TRUE(image.to(gpu).to(gpu).is_same(image.to(gpu)) == false);
  const Tensor there = image.to(gpu);
  EXPECT_TRUE(there.to(gpu).is_same(there));
}

TEST_F(DeviceTensorTest, WhatIsNotDenseGoesOverCompact) {
  const Tensor base = counting({4, 6});
  const Tensor part = slice(base, 1, 1, 6, 2), wide = expand(counting({1, 3}), {2, 3});
  for (const Tensor& view : {part, wide, transpose(part, 0, 1)}) {
    const Tensor there = view.to(gpu);
    EXPECT_TRUE(there.is_dense());
    EXPECT_EQ(values(there), walked(view));
  }
  // The same from the device.
  const Tensor back = slice(base.to(gpu), 1, 1, 6, 2).to(cpu);
  EXPECT_TRUE(back.is_dense());
  EXPECT_EQ(values(back), walked(part));
  EXPECT_EQ(values(slice(base.to(gpu), 0, 2, 3)), walked(slice(base, 0, 2, 3)));
}

TEST_F(DeviceTensorTest, TheGradientGoesBackToWhereItCameFrom) {
  Tensor x = counting({3});
  x.requires_grad_();
  const Tensor y = x.to(gpu);
  EXPECT_TRUE(y.requires_grad());
  sum(square(y)).backward();
  EXPECT_EQ(x.grad().device(), cpu);
  EXPECT_EQ(values(x.grad()), (std::vector<double>{0, 2, 4}));
  Tensor z = counting({3}).to(gpu);
  z.requires_grad_();
  sum(square(z.to(cpu))).backward();
  EXPECT_EQ(z.grad().device(), gpu);
  EXPECT_EQ(values(z.grad()), (std::vector<double>{0, 2, 4}));
}

TEST_F(DeviceTensorTest, CopyInPlaceConvertsBroadcastsAndCrosses) {
  Tensor there = Tensor::zeros({2, 3}, DType::f64, gpu);
  there.copy_(counting({3}));
  EXPECT_EQ(values(there), (std::vector<double>{0, 1, 2, 0, 1, 2}));
  Tensor here = Tensor::zeros({2, 3}, DType::i64);
  here.copy_(there);
  EXPECT_EQ(values(here), (std::vector<double>{0, 1, 2, 0, 1, 2}));
  there.fill_(3).mul_(2).add_(Tensor::ones({2, 3}, DType::f64, gpu), -1);
  EXPECT_EQ(values(there), std::vector<double>(6, 5));
}

TEST_F(DeviceTensorTest, MixedDevicesAreRefusedByName) {
  const Tensor a = Tensor::ones({2, 2}), b = Tensor::ones({2, 2}, DType::f32, gpu);
  const auto both = {"different devices", "on cpu", "on cuda:0", "to(device)"};
  expect_contains(error_of([&] { a + b; }), both);
  expect_contains(error_of([&] { b* a; }), both);
  expect_contains(error_of([&] { matmul(a, b); }), both);
  expect_contains(error_of([&] { linear(b, a); }), both);
  expect_contains(error_of([&] { linear(b, b, Tensor::ones({2})); }), both);
  expect_contains(error_of([&] { concat({a, b}, 0); }), both);
  expect_contains(error_of([&] { index_select(b, 0, Tensor::arange(2)); }), both);
  expect_contains(error_of([&] { cross_entropy(b, Tensor::arange(2)); }), both);
  expect_contains(error_of([&] { cross_entropy(b, Tensor::arange(2, gpu), {.class_weights = Tensor::ones({2})}); }),
                  both);
  expect_contains(error_of([&] { layer_norm(b, Tensor::ones({2}), {}); }), both);
  expect_contains(error_of([&] { batch_norm(b, Tensor::ones({2}), {}, {}, {}); }), both);
  expect_contains(error_of([&] { batch_norm(b, {}, {}, Tensor::ones({2}), Tensor::ones({2})); }), both);
  const Tensor image = Tensor::ones({1, 2, 4, 4}, DType::f32, gpu),
               kernel = Tensor::ones({2, 2, 3, 3}, DType::f32, gpu);
  expect_contains(error_of([&] { conv2d(image, kernel.to(cpu)); }), both);
  expect_contains(error_of([&] { conv2d(image, kernel, Tensor::ones({2})); }), both);
  Tensor c = b.clone();
  expect_contains(error_of([&] { c.add_(a); }), both);
  expect_contains(error_of([&] { c.set_grad(a); }), {"set_grad", "on cuda:0", "on cpu"});
  Tensor d = b.clone();
  d.requires_grad_();
  expect_contains(error_of([&] { (d * 2.0).backward(a); }), {"backward", "on cuda:0", "on cpu"});
}

TEST_F(DeviceTensorTest, RandomNumbersAreTheSameOnBothDevices) {
  Generator here(5), there(5);
  const Tensor u = rand({33, 7}, here), v = rand({33, 7}, there, DType::f32, gpu);
  EXPECT_EQ(v.device(), gpu);
  EXPECT_TRUE(same_bits(u, v.to(cpu)));
  // log, sqrt and cos of two libraries: a few units in the last place of numbers up to about 5.
  const auto a = values(randn({1001}, here)), b = values(randn({1001}, there, DType::f32, gpu));
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 4e-6) << i;
  EXPECT_EQ(values(randperm(20, here)), values(randperm(20, there, gpu)));
  EXPECT_EQ(here.offset(), there.offset());
}

TEST_F(DeviceTensorTest, SetDataGivesEveryHandleOtherElements) {
  Tensor t = Tensor::zeros({2, 3}), other = t;
  t.requires_grad_();
  t.set_grad(Tensor::ones({2, 3}));
  t.set_data(Tensor::full({2, 3}, 4, DType::f32, gpu));
  EXPECT_EQ(other.device(), gpu);
  EXPECT_EQ(values(other), std::vector<double>(6, 4));
  EXPECT_FALSE(t.grad().defined()) << "it lies on the other device";
  expect_contains(error_of([&] { t.set_data(Tensor::zeros({3, 2})); }), {"set_data", "(3, 2)", "same shape"});
  expect_contains(error_of([&] { t.set_data(Tensor::zeros({2, 3}, DType::i64)); }), {"floating"});
  expect_contains(error_of([&] { t.set_data(square(t)); }), {"detach()"});
}

// --- modules and files ----------------------------------------------------------------------------------------------

TEST_F(DeviceTensorTest, AModuleMovesThereAndBack) {
  manual_seed(3);
  const auto net = models::strokes_net({.num_classes = 5, .image_size = 8});
  EXPECT_EQ(net->device(), cpu);
  const Tensor weight = net->parameter("conv1.weight");  // a handle from before the move
  const NamedTensors before = [&] {
    NamedTensors copies;
    for (auto& [key, tensor] : net->state_dict()) copies.emplace_back(key, tensor.detach().clone());
    return copies;
  }();
  net->to(gpu);
  EXPECT_EQ(net->device(), gpu);
  EXPECT_EQ(weight.device(), gpu);
  EXPECT_TRUE(weight.requires_grad());
  EXPECT_TRUE(weight.is_channels_last());
  net->to(cpu);
  const NamedTensors after = net->state_dict();
  ASSERT_EQ(after.size(), before.size());
  for (std::size_t i = 0; i < after.size(); ++i)
    EXPECT_TRUE(same_bits(after[i].second, before[i].second)) << after[i].first;

  Tensor stray = net->parameter("fc.bias");
  stray.set_data(stray.detach().to(gpu));
  expect_contains(error_of([&] { net->device(); }), {"different devices", "'fc.bias'", "to(device)"});
}

TEST_F(DeviceTensorTest, StateDictsAndFilesCrossDevices) {
  manual_seed(4);
  const auto there = models::mlp({.in_features = 12, .hidden = {8}, .num_classes = 3});
  there->to(gpu);
  const auto here = models::mlp({.in_features = 12, .hidden = {8}, .num_classes = 3});
  here->load_state_dict(there->state_dict());
  const auto expect_equal = [](const Module& a, const Module& b) {
    const NamedTensors x = a.state_dict(), y = b.state_dict();
    for (std::size_t i = 0; i < x.size(); ++i)
      EXPECT_TRUE(same_bits(x[i].second.to(cpu), y[i].second.to(cpu))) << x[i].first;
  };
  EXPECT_EQ(here->device(), cpu);
  expect_equal(*here, *there);

  const test::TemporaryFolder folder;
  const std::string path = folder / "net.safetensors";
  save_weights(*there, path);
  const auto loaded = models::mlp({.in_features = 12, .hidden = {8}, .num_classes = 3});
  loaded->to(gpu);
  load_weights(*loaded, path);
  EXPECT_EQ(loaded->device(), gpu);
  expect_equal(*loaded, *there);
  for (const auto& [key, tensor] : io::read_safetensors(path).tensors) EXPECT_EQ(tensor.device(), cpu) << key;
}

}  // namespace
}  // namespace graft
