#include <graft/core/ops/math.h>
#include <graft/layers/layers.h>

namespace graft {

Tensor ActivationLayer::forward(const Tensor& x) {
  switch (kind_) {
    case ActivationKind::relu:
      return relu(x);
    case ActivationKind::relu6:
      return relu6(x);
    case ActivationKind::gelu:
      return gelu(x);
    case ActivationKind::sigmoid:
      return sigmoid(x);
    case ActivationKind::tanh:
      return tanh(x);
    case ActivationKind::hardswish:
      return hardswish(x);
    case ActivationKind::silu:
      return silu(x);
  }
  fail("ActivationLayer: unknown kind ", static_cast<int>(kind_));
}

std::string ActivationLayer::describe() const {
  switch (kind_) {
    case ActivationKind::relu:
      return "ReLU()";
    case ActivationKind::relu6:
      return "ReLU6()";
    case ActivationKind::gelu:
      return "GELU()";
    case ActivationKind::sigmoid:
      return "Sigmoid()";
    case ActivationKind::tanh:
      return "Tanh()";
    case ActivationKind::hardswish:
      return "Hardswish()";
    case ActivationKind::silu:
      return "SiLU()";
  }
  fail("ActivationLayer: unknown kind ", static_cast<int>(kind_));
}

}  // namespace graft
