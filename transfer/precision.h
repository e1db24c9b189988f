// Mixed precision: a network that computes in bf16 or f16 while the values that are trained stay f32. Internal to
// transfer.
#pragma once

#include <vector>

#include <graft/core/optim/optimizer.h>
#include <graft/layers/module.h>

namespace graft::transfer {

/// While it lives, the module's parameters are copies rounded to `dtype` (layers that keep f32 of their own, such as
/// BatchNorm with its statistics, do so). restore(), or the destructor, gives the module its own f32 tensors back:
/// trained ones with what the optimiser made of them, frozen ones with the bytes that they had.
class PrecisionScope {
 public:
  /// f32: does nothing. Throws Error unless dtype is f32, bf16 or f16, and, for the latter two, when a parameter is not
  /// f32.
  PrecisionScope(Module& module, DType dtype);
  ~PrecisionScope();
  PrecisionScope(const PrecisionScope&) = delete;
  PrecisionScope& operator=(const PrecisionScope&) = delete;

  /// Tells the optimiser the f32 tensors behind its parameters.
  void give_masters(optim::Optimizer& optimizer) const;
  /// The f32 tensor behind a parameter, or the tensor itself.
  Tensor master(const Tensor& parameter) const;
  void restore();
  /// Whether the module computes in another dtype now.
  bool active() const { return !pairs_.empty(); }

 private:
  struct Pair {
    Tensor rounded;   // the module's handle
    Tensor original;  // its own f32 elements
  };
  std::vector<Pair> pairs_;
};

}  // namespace graft::transfer
