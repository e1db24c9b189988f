// The table of gradient checks: one row serves the CPU and the CUDA device.
#pragma once

#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include <graft/core/autograd/gradcheck.h>

namespace graft {

struct GradCase {
  std::string name;
  std::vector<Tensor> inputs;  // f64 leaves on the CPU
  /// What it needs besides its arguments it makes on their device.
  std::function<Tensor(const std::vector<Tensor>&)> f;
  GradcheckOptions options{};
};

inline void PrintTo(const GradCase& c, std::ostream* out) { *out << c.name; }

/// Every differentiable op, with every option that changes its gradient.
std::vector<GradCase> gradient_cases();

}  // namespace graft
