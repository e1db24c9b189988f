#include <graft/layers/layers.h>

namespace graft {
namespace {

double checked_probability(double p) {
  check(p >= 0 && p <= 1, "Dropout: p is ", p, ", expected 0 to 1");
  return p;
}

}  // namespace

Dropout::Dropout(double p) : p_(checked_probability(p)) {}

Dropout::Dropout(double p, std::uint64_t seed) : p_(checked_probability(p)), own_generator_(true), generator_(seed) {}

Tensor Dropout::forward(const Tensor& x) {
  return dropout(x, p_, is_training(), own_generator_ ? generator_ : default_generator());
}

std::string Dropout::describe() const { return cat("Dropout(p=", p_, ")"); }

}  // namespace graft
