#include <graft/layers/init.h>
#include <graft/layers/layers.h>

namespace graft {

Linear::Linear(std::int64_t in, std::int64_t out, Options options) {
  check(in >= 1 && out >= 1, "Linear: ", in, " inputs and ", out, " outputs, expected at least 1 of each");
  weight = register_parameter("weight", Tensor::empty({out, in}));
  init::kaiming_uniform_(weight);
  if (options.bias) {
    bias = register_parameter("bias", Tensor::empty({out}));
    init::bias_uniform_(bias, weight);
  }
}

Tensor Linear::forward(const Tensor& x) {
  if (x.dim() < 1 || x.size(-1) != in_features()) [[unlikely]]
    fail(title(), ": x is ", to_string(x), ", expected ", in_features(), " as its last size");
  return linear(x, weight, bias);
}

std::string Linear::describe() const {
  return cat("Linear(", in_features(), ", ", out_features(), bias.defined() ? ")" : ", bias=false)");
}

}  // namespace graft
