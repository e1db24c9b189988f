// Analytic gradients against central differences in double.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <graft/core/tensor.h>
#include <graft/kernels/api/export.h>

namespace graft {

struct GRAFT_API GradcheckOptions {
  double step = 1e-6;  // central difference; error about step^2 f''' + 1e-16 / step
  double rtol = 1e-5;
  double atol = 1e-7;
};

struct GRAFT_API GradcheckResult {
  bool ok = true;
  std::string message;  // the first mismatch: input, element, analytic and numeric value
  explicit operator bool() const { return ok; }
};

/// Compares backward of sum(f(inputs) * v), v a fixed random tensor, with (F(x + h) - F(x - h)) / 2h for every element
/// of every input that requires grad. The inputs must be f64 leaves. f must be deterministic.
GRAFT_API GradcheckResult gradcheck(const std::function<Tensor(const std::vector<Tensor>&)>& f,
                                    std::vector<Tensor> inputs, const GradcheckOptions& options = {});

}  // namespace graft
