// State dicts: torch's order, strict and partial loading, files.
#include <filesystem>

#include <unistd.h>

#include <graft/core/io/safetensors.h>

#include "layers/helpers.h"

namespace graft {
namespace {

class Scaled final : public Module {
 public:
  Scaled() {
    add("inner", std::make_shared<Linear>(2, 2));
    register_buffer("offset", Tensor::zeros({2}));
    register_parameter("scale", Tensor::ones({2}));
    register_buffer("count", Tensor::zeros({}, DType::i64));
    add("norm", std::make_shared<BatchNorm1d>(2));
  }
  Tensor forward(const Tensor& x) override { return x; }
  std::string describe() const override { return "Scaled()"; }
};

std::shared_ptr<Sequential> net(std::int64_t classes, std::uint64_t seed = 1) {
  manual_seed(seed);
  auto n = std::make_shared<Sequential>();
  n->append("conv", std::make_shared<Conv2d>(2, 3, 3, Conv2dOptions{.bias = false}));
  n->append("bn", std::make_shared<BatchNorm2d>(3));
  n->append("flatten", std::make_shared<Flatten>());
  n->append("fc", std::make_shared<Linear>(12, classes));
  return n;
}

/// Name and values of everything.
std::vector<std::pair<std::string, std::vector<double>>> contents(const Module& module) {
  std::vector<std::pair<std::string, std::vector<double>>> all;
  for (const auto& [name, tensor] : module.state_dict()) all.emplace_back(name, tensor.to_vector<double>());
  return all;
}

std::string temporary(const std::string& name) {
  return (std::filesystem::temp_directory_path() / cat("graft_", ::getpid(), "_", name)).string();
}

// From PyTorch 1.13: a Module whose __init__ makes inner = Linear(2, 2), buffer offset, parameter scale, buffer count,
// norm = BatchNorm1d(2), in this order; list(m.state_dict()).
TEST(StateDict, HasTorchsNamesAndOrder) {
  EXPECT_EQ(names_of(Scaled().state_dict()),
            (Names{"scale", "offset", "count", "inner.weight", "inner.bias", "norm.weight", "norm.bias",
                   "norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}));
}

TEST(StateDict, GivesHandlesNotCopies) {
  const auto n = net(3);
  EXPECT_TRUE(n->state_dict().back().second.is_same(n->parameter("fc.bias")));
}

TEST(StateDict, StrictLoadCopiesEverythingIntoTheExistingTensors) {
  const auto source = net(3, 1), target = net(3, 2);
  ASSERT_NE(contents(*source), contents(*target));
  const Tensor weight = target->parameter("conv.weight");
  const Shape strides = weight.strides();
  const LoadReport report = target->load_state_dict(source->state_dict());
  EXPECT_TRUE(report.complete());
  EXPECT_EQ(report.loaded, names_of(source->state_dict()));
  EXPECT_EQ(contents(*source), contents(*target));
  EXPECT_TRUE(weight.is_same(target->parameter("conv.weight")));
  EXPECT_EQ(weight.strides(), strides);
  EXPECT_TRUE(weight.is_channels_last());
  EXPECT_TRUE(weight.requires_grad());
}

TEST(StateDict, RowMajorValuesLandInChannelsLastWeights) {
  Conv2d layer(2, 3, 2);
  layer.load_state_dict({{"weight", counting({3, 2, 2, 2})}, {"bias", counting({3})}});
  EXPECT_TRUE(layer.weight.is_channels_last());
  EXPECT_EQ(layer.weight.to_vector<float>(), counting({3, 2, 2, 2}).to_vector<float>());
}

TEST(StateDict, StrictLoadNamesEverythingThatIsWrongAndChangesNothing) {
  const auto target = net(3, 2);
  NamedTensors state = net(5, 1)->state_dict();
  state.erase(state.begin() + 1);  // bn.weight
  state.emplace_back("classifier.weight", Tensor::zeros({1}));
  const auto before = contents(*target);
  const std::string error = error_of([&] { target->load_state_dict(state); });
  EXPECT_EQ(contents(*target), before);
  expect_contains(error, "does not fit Sequential, nothing was loaded");
  expect_contains(error, "5 loaded, 1 missing, 1 unexpected, 2 of another shape");
  expect_contains(error, "missing: in the module, not in the state (1): bn.weight");
  expect_contains(error, "unexpected: in the state, not in the module (1): classifier.weight");
  expect_contains(error, "fc.weight (module (3, 12), state (5, 12))");
  expect_contains(error, "fc.bias (module (3,), state (5,))");
}

TEST(StateDict, PartialLoadTakesWhatFitsAndReportsTheRest) {
  const auto source = net(5, 1), target = net(3, 2);
  NamedTensors state = source->state_dict();
  state.erase(state.begin() + 1);  // bn.weight
  state.emplace_back("classifier.weight", Tensor::zeros({1}));
  const std::vector<double> head = target->parameter("fc.weight").to_vector<double>();
  const LoadReport report = target->load_state_dict(state, false);
  EXPECT_FALSE(report.complete());
  EXPECT_EQ(report.loaded,
            (Names{"conv.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked"}));
  EXPECT_EQ(report.missing, (Names{"bn.weight"}));
  EXPECT_EQ(report.unexpected, (Names{"classifier.weight"}));
  ASSERT_EQ(report.mismatched.size(), 2U);
  EXPECT_EQ(report.mismatched[0].name, "fc.weight");
  EXPECT_EQ(report.mismatched[0].module_shape, (Shape{3, 12}));
  EXPECT_EQ(report.mismatched[0].state_shape, (Shape{5, 12}));
  EXPECT_EQ(target->parameter("conv.weight").to_vector<float>(), source->parameter("conv.weight").to_vector<float>());
  EXPECT_EQ(target->parameter("fc.weight").to_vector<double>(), head);
}

TEST(StateDict, LongReportsAreCutShort) {
  LoadReport report;
  for (int i = 0; i < 30; ++i) report.missing.push_back(cat("layer", i));
  expect_contains(report.summary(), "layer19 and 10 more");
  EXPECT_EQ(report.summary().find("layer20"), std::string::npos);
}

TEST(StateDict, ConvertsBetweenFloatingDtypesOnly) {
  Linear layer(2, 1);
  layer.load_state_dict(
      {{"weight", Tensor::from<double>({0.5, 2}, {1, 2})}, {"bias", Tensor::zeros({1}, DType::bf16)}});
  EXPECT_EQ(layer.weight.dtype(), DType::f32);
  EXPECT_EQ(layer.weight.to_vector<float>(), (std::vector<float>{0.5F, 2}));
  const NamedTensors integers = {{"weight", Tensor::zeros({1, 2}, DType::i64)}, {"bias", Tensor::ones({1})}};
  for (const bool strict : {true, false})
    expect_contains(error_of([&] { layer.load_state_dict(integers, strict); }), "'weight' is i64");
  EXPECT_EQ(layer.bias.item(), 0);
}

TEST(StateDict, RefusesDuplicateAndUndefinedEntries) {
  Linear layer(2, 1);
  const Tensor w = Tensor::zeros({1, 2});
  expect_contains(error_of([&] { layer.load_state_dict({{"weight", w}, {"weight", w}}, false); }), "given twice");
  expect_contains(error_of([&] { layer.load_state_dict({{"weight", Tensor()}}, false); }), "undefined");
}

TEST(StateDict, LoadingBumpsVersionsSoThatAStaleGraphIsFound) {
  Linear layer(2, 1);
  Tensor x = counting({1, 2}).requires_grad_();
  const Tensor y = layer(x);
  layer.load_state_dict(layer.state_dict());
  EXPECT_THROW(y.backward(Tensor::ones(y.shape())), Error);
}

TEST(StateDict, FilesRoundTripInTorchsRowMajorOrder) {
  const std::string path = temporary("round_trip.safetensors");
  const auto source = net(3, 1), target = net(3, 2);
  (*source)(counting({2, 2, 4, 4}));  // moves the running statistics and the count
  save_weights(*source, path);
  const LoadReport report = load_weights(*target, path);
  EXPECT_TRUE(report.complete());
  EXPECT_EQ(contents(*source), contents(*target));
  EXPECT_TRUE(target->parameter("conv.weight").is_channels_last());
  // The file holds the logical order, as PyTorch writes it, not the channels-last memory.
  const io::SafetensorsFile file = io::read_safetensors(path);
  EXPECT_TRUE(file.at("conv.weight").is_contiguous());
  EXPECT_EQ(file.at("conv.weight").to_vector<float>(), source->parameter("conv.weight").to_vector<float>());
  EXPECT_EQ(file.at("bn.num_batches_tracked").dtype(), DType::i64);
  EXPECT_EQ(file.at("bn.num_batches_tracked").item(), 1);
  std::filesystem::remove(path);
}

TEST(StateDict, ErrorsOfFilesNameTheFile) {
  const std::string path = temporary("other.safetensors");
  save_weights(*net(3), path);
  const auto target = net(4);
  const std::string error = error_of([&] { load_weights(*target, path); });
  expect_contains(error, path);
  expect_contains(error, "fc.weight (module (4, 12), state (3, 12))");
  EXPECT_EQ(load_weights(*target, path, false).mismatched.size(), 2U);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace graft
