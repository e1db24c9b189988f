// The gradient of every differentiable op against central differences in double: one row of gradient_cases, one test.
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <regex>
#include <set>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/math.h>
#include <graft/core/ops/nn.h>
#include <graft/core/ops/view.h>

#include "core/gradient_cases.h"
#include "core/helpers.h"

namespace graft {
namespace {

using Tensors = std::vector<Tensor>;

Tensor in(const Shape& shape, std::uint64_t seed = 1) { return normal(shape, seed, DType::f64).requires_grad_(); }

class Gradients : public testing::TestWithParam<GradCase> {};

// Default tolerances: the central difference of smooth functions of size 1 errs by about 1e-12 f''' + 1e-16 / 1e-6.
TEST_P(Gradients, MatchCentralDifferences) {
  const GradCase& c = GetParam();
  Tensors inputs;
  for (const Tensor& t : c.inputs) inputs.push_back(t.detach().requires_grad_());
  const GradcheckResult result = gradcheck(c.f, inputs, c.options);
  EXPECT_TRUE(result.ok) << result.message;
}

INSTANTIATE_TEST_SUITE_P(Op, Gradients, testing::ValuesIn(gradient_cases()),
                         [](const auto& row) { return row.param.name; });

TEST(GradientTable, HoldsEveryOpOfTheHeaders) {
  std::set<std::string> covered;
  for (const GradCase& c : gradient_cases()) covered.insert(c.name);
  const std::set<std::string> without_gradient = {"eq", "lt", "gt", "argmax", "affine_warp"};
  int found = 0;
  for (const char* header : {"math.h", "nn.h", "view.h"}) {
    std::ifstream file(std::string(GRAFT_SOURCE_DIR "/core/ops/") + header);
    ASSERT_TRUE(file) << header;
    const std::regex declaration(R"(^GRAFT_API Tensor (\w+)\()");
    for (std::string line; std::getline(file, line);) {
      std::smatch match;
      if (!std::regex_search(line, match, declaration)) continue;
      ++found;
      const std::string op = match[1];
      if (without_gradient.contains(op)) continue;
      const auto first = covered.lower_bound(op);
      EXPECT_TRUE(first != covered.end() && first->starts_with(op)) << op << " has no row in the table";
    }
  }
  EXPECT_GT(found, 50);
}

TEST(GradientTable, HoldsEveryStepOfAFusedChain) {
  std::set<std::string> covered;
  for (const GradCase& c : gradient_cases()) covered.insert(c.name);
  std::ifstream file(GRAFT_SOURCE_DIR "/core/ops/fused.h");
  ASSERT_TRUE(file);
  const std::regex declaration(R"(^  Fused& (\w+)\((.*)\) \{)");
  int found = 0;
  for (std::string line; std::getline(file, line);) {
    std::smatch match;
    if (!std::regex_search(line, match, declaration)) continue;
    ++found;
    const std::string arguments = match[2];
    const std::string suffix = arguments.starts_with("double")  ? "_number"
                               : arguments.starts_with("const") ? "_row"
                                                                : "";
    EXPECT_TRUE(covered.contains(cat("fused_", match[1].str(), suffix))) << line;
  }
  EXPECT_EQ(found, 26);
}

// --- gradcheck itself
// -------------------------------------------------------------------------------------------------

/// The square, with a gradient of `factor` times x.
struct ScaledSquare final : Node {
  Saved x;
  double factor;
  ScaledSquare(const Tensor& input, double f) : x(input), factor(f) {}
  const char* name() const override { return "scaled_square"; }
  void backward(const Tensor& gy, GradSlots& gx) override { gx.put(0, mul(mul(gy, x.get(name())), factor)); }
  void release() override { x = {}; }
};

std::function<Tensor(const Tensors&)> square_with(double factor) {
  return [factor](const Tensors& t) {
    const NoGrad no_grad;
    Tensor y = square(t[0]);
    if (!t[0].requires_grad()) return y;
    return record(y, std::make_shared<ScaledSquare>(t[0], factor), {t[0]});
  };
}

TEST(Gradcheck, AcceptsARightBackwardAndCatchesAWrongOne) {
  EXPECT_TRUE(gradcheck(square_with(2), {in({4})}).ok);
  const GradcheckResult wrong = gradcheck(square_with(2.01), {in({4})});
  EXPECT_FALSE(wrong.ok);
  expect_contains(wrong.message, {"input 0", "element 0", "analytic", "numeric"});
}

TEST(Gradcheck, CatchesAMissingGradientAndASignError) {
  EXPECT_FALSE(gradcheck(square_with(-2), {in({4})}).ok);
  const GradcheckResult missing =
      gradcheck([](const Tensors& t) { return add(t[0], t[1].detach()); }, {in({2}), in({2}, 2)});
  EXPECT_FALSE(missing.ok);
  expect_contains(missing.message, {"input 1", "no gradient"});
}

TEST(Gradcheck, CatchesAGradientThatIsNotANumber) { EXPECT_FALSE(gradcheck(square_with(std::nan("")), {in({4})}).ok); }

TEST(Gradcheck, LeavesTheInputsAsTheyWereAndRefusesOthers) {
  const Tensor x = in({3});
  const std::vector<double> before = walked(x);
  gradcheck(square_with(2), {x});
  EXPECT_EQ(walked(x), before);
  expect_contains(error_of([] { gradcheck(square_with(2), {normal({2}, 1).requires_grad_()}); }), {"input 0", "f64"});
  expect_contains(error_of([] { gradcheck([](const Tensors& t) { return t[0].detach(); }, {in({2})}); }),
                  {"does not require grad"});
}

}  // namespace
}  // namespace graft
