#include <graft/layers/init.h>

#include <cmath>

namespace graft::init {
namespace {

struct Fans {
  std::int64_t in = 0, out = 0;
};

/// weight (out, in, receptive field...).
Fans fans(const char* initialiser, const Tensor& weight) {
  check(weight.defined() && weight.dim() >= 2, initialiser, ": the weight is ",
        weight.defined() ? to_string(weight) : std::string("undefined"),
        ", expected at least the dimensions (out, in)");
  std::int64_t field = 1;
  for (int i = 2; i < weight.dim(); ++i) field *= weight.size(i);
  const Fans result{weight.size(1) * field, weight.size(0) * field};
  check(result.in > 0 && result.out > 0, initialiser, ": the weight is ", weight, ", expected no empty dimension");
  return result;
}

void uniform(Tensor& t, double bound, Generator& generator) { uniform_(t, -bound, bound, generator); }

}  // namespace

void kaiming_uniform_(Tensor weight, double a, Generator& generator) {
  const double gain = std::sqrt(2 / (1 + a * a));
  uniform(weight, gain * std::sqrt(3 / static_cast<double>(fans("kaiming_uniform_", weight).in)), generator);
}

void kaiming_normal_(Tensor weight, Fan fan, Generator& generator) {
  const Fans f = fans("kaiming_normal_", weight);
  const double deviation = std::sqrt(2 / static_cast<double>(fan == Fan::in ? f.in : f.out));
  normal_(weight, 0, deviation, generator);
}

void xavier_uniform_(Tensor weight, Generator& generator) {
  const Fans f = fans("xavier_uniform_", weight);
  uniform(weight, std::sqrt(6 / static_cast<double>(f.in + f.out)), generator);
}

void bias_uniform_(Tensor bias, const Tensor& weight, Generator& generator) {
  uniform(bias, 1 / std::sqrt(static_cast<double>(fans("bias_uniform_", weight).in)), generator);
}

}  // namespace graft::init
