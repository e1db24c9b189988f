#include <graft/core/autograd/gradcheck.h>

#include <cmath>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/math.h>
#include <graft/core/random.h>

namespace graft {
namespace {

double weighted_sum(const Tensor& y, const std::vector<double>& weights) {
  const std::vector<double> values = y.to_vector<double>();
  double total = 0;
  for (std::size_t i = 0; i < values.size(); ++i) total += values[i] * weights[i];
  return total;
}

}  // namespace

GradcheckResult gradcheck(const std::function<Tensor(const std::vector<Tensor>&)>& f, std::vector<Tensor> inputs,
                          const GradcheckOptions& options) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Tensor& input = inputs[i];
    if (!input.defined() || !input.requires_grad()) continue;
    check(input.dtype() == DType::f64 && input.is_leaf() && input.is_dense(), "gradcheck: input ", i,
          " must be a dense f64 leaf, got ", input);
    inputs[i].set_grad({});
  }
  const Tensor y = f(inputs);
  check(y.defined() && y.requires_grad(), "gradcheck: the function's result does not require grad");
  Generator generator(0x9C4Eull);
  const Tensor direction = randn(y.shape(), generator, DType::f64);
  const std::vector<double> weights = direction.to_vector<double>();
  y.backward(direction.to(y.dtype()).to(y.device()));

  for (std::size_t i = 0; i < inputs.size(); ++i) {
    Tensor& input = inputs[i];
    if (!input.defined() || !input.requires_grad()) continue;
    if (!input.grad().defined()) return {false, cat("input ", i, " got no gradient")};
    // Memory order serves both: the gradient lies as its leaf does. The input is changed on the host and copied over.
    const Tensor gradient = input.grad().to(Device::cpu());
    const double* analytic = gradient.data<double>();
    const Tensor host = input.detach().to(Device::cpu()).clone();
    auto* values = static_cast<double*>(host.ref().data);
    for (std::int64_t k = 0; k < input.numel(); ++k) {
      const double kept = values[k];
      double side[2];
      for (int s = 0; s < 2; ++s) {
        NoGrad no_grad;
        values[k] = s == 0 ? kept + options.step : kept - options.step;
        input.copy_(host);
        side[s] = weighted_sum(f(inputs), weights);
      }
      values[k] = kept;
      const NoGrad no_grad;
      input.copy_(host);
      const double numeric = (side[0] - side[1]) / (2 * options.step);
      if (!(std::abs(numeric - analytic[k]) <= options.atol + options.rtol * std::abs(numeric)))
        return {false,
                cat("input ", i, ", element ", k, " (memory order): analytic ", analytic[k], ", numeric ", numeric)};
    }
  }
  return {};
}

}  // namespace graft
