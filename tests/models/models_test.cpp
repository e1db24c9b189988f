#include <graft/models/models.h>

#include <cmath>

#include <graft/core/ops/nn.h>
#include <graft/core/optim/optimizer.h>

#include "layers/helpers.h"

namespace graft {
namespace {

double loss_of(Module& net, const Tensor& x, const Tensor& targets) {
  const NoGrad no_grad;
  return cross_entropy(net(x), targets).item();
}

/// The loss on one batch before and after `steps` steps of SGD on it.
void expect_learns(Module& net, const Tensor& x, const Tensor& targets, int steps) {
  const double before = loss_of(net, x, targets);
  optim::Sgd optimizer(net.parameters(), {.lr = 0.02, .momentum = 0.5});
  for (int i = 0; i < steps; ++i) {
    optimizer.zero_grad();
    cross_entropy(net(x), targets).backward();
    optimizer.step();
  }
  const double after = loss_of(net, x, targets);
  EXPECT_TRUE(std::isfinite(after));
  EXPECT_LT(after, before);
}

Tensor batch(const Shape& shape) {
  Generator generator(3);
  return randn(shape, generator);
}

const Tensor& labels() {
  static const Tensor targets = Tensor::from<std::int64_t>({0, 1, 2, 3, 4, 5, 6, 7}, {8});
  return targets;
}

class Models : public testing::Test {
 protected:
  void SetUp() override { manual_seed(1); }
};

// From PyTorch 1.13: the keys of state_dict() of an nn.Sequential(OrderedDict(conv1=Conv2d(1, 32, 3, padding=1,
// bias=False), bn1=BatchNorm2d(32), pool1=MaxPool2d(2), .., flatten=Flatten(), fc1=Linear(1152, 256),
// bn4=BatchNorm1d(256), relu4=ReLU(), fc=Linear(256, 1000))).
TEST_F(Models, StrokesNetHasTorchsStateDict) {
  Names expected;
  const auto add = [&](const std::string& layer, const Names& names) {
    for (const std::string& name : names) expected.push_back(layer + "." + name);
  };
  const Names norm = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"};
  for (const char* number : {"1", "2", "3"}) {
    add(cat("conv", number), {"weight"});
    add(cat("bn", number), norm);
  }
  add("fc1", {"weight", "bias"});
  add("bn4", norm);
  add("fc", {"weight", "bias"});
  EXPECT_EQ(names_of(models::strokes_net()->state_dict()), expected);
}

TEST_F(Models, StrokesNetCountsAsTheStudys) {
  const auto net = models::strokes_net({.num_classes = 10});
  const std::int64_t below = net->parameter_count() - net->get(net->head()).parameter_count();
  // The study counts 388,800 with a bias in each convolution, which BatchNorm makes useless: 32 + 64 + 128 of them.
  EXPECT_EQ(below, 388'800 - (32 + 64 + 128));
  EXPECT_EQ(net->get("fc").parameter_count(), 2570);
  EXPECT_EQ(net->parameter("fc1.weight").shape(), (Shape{256, 1152}));
}

TEST_F(Models, StrokesNetShapesAndSizes) {
  EXPECT_EQ((*models::strokes_net())(Tensor::zeros({2, 1, 28, 28})).shape(), (Shape{2, 1000}));
  const auto small = models::strokes_net({.num_classes = 5, .image_size = 8});
  EXPECT_EQ((*small)(Tensor::zeros({2, 1, 8, 8})).shape(), (Shape{2, 5}));
  EXPECT_EQ(small->head(), "fc");
  EXPECT_FALSE(small->is_deterministic());
  small->eval();
  EXPECT_TRUE(small->is_deterministic());
  expect_contains(error_of([] { models::strokes_net({.image_size = 7}); }), "expected at least 8");
  EXPECT_THROW(models::strokes_net({.num_classes = 0}), Error);
}

TEST_F(Models, StrokesNetStartsAsHe) {
  const auto net = models::strokes_net();
  for (const auto& [name, tensor] : net->named_parameters()) {
    if (name.ends_with("bias")) {
      for (const float value : tensor.to_vector<float>()) ASSERT_EQ(value, 0) << name;
    } else if (tensor.dim() > 1) {
      const double fan_in = static_cast<double>(tensor.numel()) / static_cast<double>(tensor.size(0));
      double squares = 0;
      for (const double value : tensor.to_vector<double>()) squares += value * value;
      const double variance = squares / static_cast<double>(tensor.numel());
      // The mean of n squared normals is within five of its standard errors, sqrt(2 / n).
      EXPECT_NEAR(variance * fan_in / 2, 1, 5 * std::sqrt(2.0 / static_cast<double>(tensor.numel()))) << name;
    }
  }
}

TEST_F(Models, StrokesNetLearnsABatch) {
  const auto net = models::strokes_net({.num_classes = 8, .image_size = 16});
  expect_learns(*net, batch({8, 1, 16, 16}), labels(), 1);
}

TEST_F(Models, LeNet5) {
  const auto net = models::lenet5();
  EXPECT_EQ(net->parameter_count(), 61'706);  // the usual count of this variant
  EXPECT_EQ(net->head(), "fc3");
  EXPECT_EQ((*net)(Tensor::zeros({2, 1, 28, 28})).shape(), (Shape{2, 10}));
  EXPECT_TRUE(net->is_deterministic());
  EXPECT_EQ(net->parameter("fc1.weight").shape(), (Shape{120, 400}));
  expect_learns(*net, batch({8, 1, 28, 28}), labels(), 1);
  EXPECT_THROW(models::lenet5({.num_classes = 0}), Error);
}

TEST_F(Models, Mlp) {
  const auto net = models::mlp();
  EXPECT_EQ(net->parameter_count(), 784 * 256 + 256 + 256 * 128 + 128 + 128 * 10 + 10);
  EXPECT_EQ(net->head(), "head");
  EXPECT_EQ((*net)(Tensor::zeros({3, 1, 28, 28})).shape(), (Shape{3, 10}));
  EXPECT_EQ((*net)(Tensor::zeros({3, 784})).shape(), (Shape{3, 10}));
  expect_learns(*net, batch({8, 784}), labels(), 1);
}

TEST_F(Models, MlpWithDropoutAndWithoutHiddenLayers) {
  const auto dropped = models::mlp({.in_features = 4, .hidden = {8}, .num_classes = 2, .dropout = 0.5});
  EXPECT_EQ(names_of(dropped->children()), (Names{"flatten", "fc1", "relu1", "dropout1", "head"}));
  EXPECT_FALSE(dropped->is_deterministic());
  const auto flat = models::mlp({.in_features = 4, .hidden = {}, .num_classes = 2});
  EXPECT_EQ(names_of(flat->children()), (Names{"flatten", "head"}));
  EXPECT_EQ(flat->parameter_count(), 10);
  EXPECT_THROW(models::mlp({.dropout = 1}), Error);
  EXPECT_THROW(models::mlp({.hidden = {0}}), Error);
}

TEST_F(Models, ErrorsNameTheLayerInsideTheNetwork) {
  const auto net = models::strokes_net();
  const std::string error = error_of([&] { (*net)(Tensor::zeros({2, 1, 32, 32})); });
  expect_contains(error, "fc1: Linear(1152, 256): x is f32 (2, 2048)");
}

TEST_F(Models, AFrozenPrefixGetsNoGradients) {
  const auto net = models::strokes_net({.num_classes = 8, .image_size = 16});
  for (auto& [name, tensor] : net->named_parameters()) tensor.requires_grad_(name.starts_with("fc."));
  net->eval();
  cross_entropy((*net)(batch({8, 1, 16, 16})), labels()).backward();
  for (const auto& [name, tensor] : net->named_parameters())
    EXPECT_EQ(tensor.grad().defined(), name.starts_with("fc.")) << name;
}

}  // namespace
}  // namespace graft
