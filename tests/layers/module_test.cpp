// The module tree: names, look-up, modes, moving between dtypes.
#include <graft/core/ops/math.h>
#include <graft/core/ops/nn.h>

#include "layers/helpers.h"

namespace graft {
namespace {

/// Registers what it is told to, so that the checks of registration can be reached.
class Part : public Module {
 public:
  Tensor forward(const Tensor& x) override { return x; }
  std::string describe() const override { return "Part()"; }
  using Module::register_buffer;
  using Module::register_child;
  using Module::register_parameter;
};

std::shared_ptr<Sequential> small_net() {
  auto block = std::make_shared<Sequential>();
  block->append("conv", std::make_shared<Conv2d>(1, 2, 3)).append("bn", std::make_shared<BatchNorm2d>(2));
  auto net = std::make_shared<Sequential>();
  net->append("block", block).append("flatten", std::make_shared<Flatten>());
  net->append("drop", std::make_shared<Dropout>(0.5)).append("fc", std::make_shared<Linear>(8, 3));
  return net;
}

TEST(Module, NamesAreDottedPathsInOrderOfRegistration) {
  const auto net = small_net();
  EXPECT_EQ(names_of(net->named_parameters()), (Names{"block.conv.weight", "block.conv.bias", "block.bn.weight",
                                                      "block.bn.bias", "fc.weight", "fc.bias"}));
  EXPECT_EQ(names_of(net->named_buffers()),
            (Names{"block.bn.running_mean", "block.bn.running_var", "block.bn.num_batches_tracked"}));
  EXPECT_EQ(names_of(net->named_modules()), (Names{"", "block", "block.conv", "block.bn", "flatten", "drop", "fc"}));
  EXPECT_EQ(names_of(net->children()), (Names{"block", "flatten", "drop", "fc"}));
  EXPECT_EQ(names_of(net->chain()), names_of(net->children()));
}

TEST(Module, ParametersComeBeforeThoseOfChildrenWhateverTheOrderOfCalls) {
  Part part;
  part.register_child("child", std::make_shared<Linear>(1, 1, Linear::Options{.bias = false}));
  part.register_parameter("own", Tensor::zeros({1}));
  EXPECT_EQ(names_of(part.named_parameters()), (Names{"own", "child.weight"}));
}

TEST(Module, TensorsKnowTheirDottedNameForErrorMessages) {
  const auto net = small_net();
  for (const auto& [name, tensor] : net->state_dict()) EXPECT_EQ(tensor.name(), name);
  auto outer = std::make_shared<Sequential>();
  outer->append("model", net);
  EXPECT_EQ(net->parameter("fc.weight").name(), "model.fc.weight");
}

TEST(Module, RefusesBadNames) {
  Part part;
  part.register_parameter("a", Tensor::zeros({1}));
  part.register_buffer("b", Tensor::zeros({1}));
  part.register_child("c", std::make_shared<Flatten>());
  expect_contains(error_of([&] { part.register_parameter("", Tensor::zeros({1})); }), "empty");
  expect_contains(error_of([&] { part.register_parameter("x.y", Tensor::zeros({1})); }), "holds a dot");
  for (const char* taken : {"a", "b", "c"}) {
    expect_contains(error_of([&] { part.register_parameter(taken, Tensor::zeros({1})); }), "taken already");
    expect_contains(error_of([&] { part.register_buffer(taken, Tensor::zeros({1})); }), "taken already");
    expect_contains(error_of([&] { part.register_child(taken, std::make_shared<Flatten>()); }), "taken already");
  }
  EXPECT_EQ(part.state_dict().size(), 2U);
  EXPECT_EQ(part.children().size(), 1U);
}

TEST(Module, RefusesBadParts) {
  const auto part = std::make_shared<Part>();
  EXPECT_THROW(part->register_parameter("p", Tensor()), Error);
  expect_contains(error_of([&] { part->register_parameter("p", Tensor::arange(2)); }), "expected a floating dtype");
  const Tensor made = Tensor::zeros({1}).requires_grad_() + 1.0;
  expect_contains(error_of([&] { part->register_parameter("p", made); }), "expected a leaf");
  EXPECT_THROW(part->register_child("c", nullptr), Error);
  expect_contains(error_of([&] { part->register_child("self", part); }), "no cycles");
  const auto outer = std::make_shared<Part>();
  outer->register_child("part", part);
  expect_contains(error_of([&] { part->register_child("outer", outer); }), "no cycles");
}

TEST(Module, RegisteredParametersAreLeavesThatRequireGradAndBuffersAreNot) {
  Part part;
  EXPECT_TRUE(part.register_parameter("p", Tensor::zeros({1})).requires_grad());
  EXPECT_FALSE(part.register_buffer("b", Tensor::zeros({1})).requires_grad());
}

TEST(Module, GetFindsByDottedNameAndListsWhatExists) {
  const auto net = small_net();
  EXPECT_EQ(&net->get(""), net.get());
  EXPECT_EQ(net->get("block.conv").describe(), "Conv2d(1, 2, kernel_size=3)");
  const std::string error = error_of([&] { net->get("block.conv3"); });
  expect_contains(error, "'block.conv3'");
  expect_contains(error, "block has no part 'conv3'");
  expect_contains(error, "'conv', 'bn'");
  expect_contains(error_of([&] { net->get("head"); }), "the root has no part 'head'");
  expect_contains(error_of([&] { net->get("fc.weight"); }), "no parts");
  EXPECT_THROW(net->get("block."), Error);
  EXPECT_THROW(net->get(".block"), Error);
  EXPECT_THROW(net->get("block..conv"), Error);
}

TEST(Module, ParameterGivesTheSameHandle) {
  const auto net = small_net();
  EXPECT_TRUE(net->parameter("fc.bias").is_same(dynamic_cast<Linear&>(net->get("fc")).bias));
  const std::string error = error_of([&] { net->parameter("fc.wieght"); });
  expect_contains(error, "'fc.wieght'");
  expect_contains(error, "'weight', 'bias'");
  expect_contains(error_of([&] { net->parameter("block.bn.running_mean"); }), "no parameter is named");
}

TEST(Module, SharedPartsAreCountedOnceButSavedUnderEachName) {
  const auto shared = std::make_shared<Linear>(4, 4);
  Sequential net;
  net.append("a", shared).append("b", shared);
  EXPECT_EQ(names_of(net.named_parameters()), (Names{"a.weight", "a.bias"}));
  EXPECT_EQ(net.parameter_count(), 20);
  EXPECT_EQ(names_of(net.state_dict()), (Names{"a.weight", "a.bias", "b.weight", "b.bias"}));
  EXPECT_EQ(names_of(net.named_modules()), (Names{"", "a"}));
}

TEST(Module, TrainAndEvalReachEveryPart) {
  const auto net = small_net();
  for (const auto& [name, module] : net->named_modules()) EXPECT_TRUE(module->is_training()) << name;
  net->eval();
  for (const auto& [name, module] : net->named_modules()) EXPECT_FALSE(module->is_training()) << name;
  net->get("block").train();
  EXPECT_TRUE(net->get("block.bn").is_training());
  EXPECT_FALSE(net->get("fc").is_training());
}

TEST(Module, DeterministicUnlessBatchNormOrDropoutTrains) {
  const auto net = small_net();
  EXPECT_FALSE(net->is_deterministic());
  net->eval();
  EXPECT_TRUE(net->is_deterministic());
  net->get("drop").train();
  EXPECT_FALSE(net->is_deterministic());
  net->eval();
  net->get("block.bn").train();
  EXPECT_FALSE(net->get("block").is_deterministic());
  EXPECT_FALSE(net->is_deterministic());
  net->get("block.bn").eval();
  net->get("fc").train();  // a linear layer does the same in both modes
  EXPECT_TRUE(net->is_deterministic());
  EXPECT_TRUE(Dropout(0).is_deterministic());
  EXPECT_FALSE(Dropout(0.1).is_deterministic());
}

TEST(Module, ZeroGradDropsEveryGradient) {
  Linear layer(3, 2);
  Tensor y = layer(counting({2, 3}));
  y.backward(Tensor::ones(y.shape()));
  EXPECT_TRUE(layer.weight.grad().defined());
  layer.zero_grad();
  EXPECT_FALSE(layer.weight.grad().defined());
  EXPECT_FALSE(layer.bias.grad().defined());
}

TEST(Module, HeadMustExist) {
  const auto net = small_net();
  EXPECT_EQ(net->head(), "");
  net->set_head("fc");
  EXPECT_EQ(net->head(), "fc");
  expect_contains(error_of([&] { net->set_head("classifier"); }), "'classifier'");
  EXPECT_EQ(net->head(), "fc");
}

TEST(Module, ToDoubleKeepsHandlesValuesLayoutAndIntegers) {
  const auto net = small_net();
  const Tensor weight = net->parameter("block.conv.weight");
  Tensor grad = net->parameter("fc.bias");
  grad.set_grad(Tensor::ones({3}));
  const std::vector<float> before = weight.to_vector<float>();
  const Shape strides = weight.strides();
  net->to(DType::f64);
  EXPECT_EQ(weight.dtype(), DType::f64);  // a handle taken before sees the change
  EXPECT_EQ(weight.strides(), strides);
  EXPECT_EQ(weight.to_vector<float>(), before);
  EXPECT_TRUE(weight.requires_grad());
  EXPECT_TRUE(weight.is_leaf());
  EXPECT_EQ(grad.grad().dtype(), DType::f64);
  for (const auto& [name, tensor] : net->state_dict())
    EXPECT_EQ(tensor.dtype(), name.ends_with("num_batches_tracked") ? DType::i64 : DType::f64) << name;
  const Tensor y = (*net)(Tensor::zeros({2, 1, 4, 4}, DType::f64));
  EXPECT_EQ(y.dtype(), DType::f64);
  EXPECT_THROW(net->to(DType::i64), Error);
}

TEST(Module, ToHalfLeavesBatchNormInFloat) {
  const auto net = small_net();
  net->to(DType::bf16);
  EXPECT_EQ(net->parameter("fc.weight").dtype(), DType::bf16);
  EXPECT_EQ(net->parameter("block.bn.weight").dtype(), DType::f32);
  net->eval();
  EXPECT_EQ((*net)(Tensor::zeros({2, 1, 4, 4}, DType::bf16)).dtype(), DType::bf16);
}

TEST(Module, PrintsATreeWithParameterCounts) {
  Sequential net;
  net.append("conv", std::make_shared<Conv2d>(1, 32, 3, Conv2dOptions{.padding = 1}));
  net.append("relu", std::make_shared<ActivationLayer>(ActivationKind::relu));
  net.append("fc", std::make_shared<Linear>(1152, 256));
  EXPECT_EQ(to_string(net),
            "Sequential  # 295,488 parameters\n"
            "  conv: Conv2d(1, 32, kernel_size=3, padding=1)  # 320 parameters\n"
            "  relu: ReLU()\n"
            "  fc: Linear(1152, 256)  # 295,168 parameters\n");
}

}  // namespace
}  // namespace graft
