// Optimiser updates over a list of parameters at once (one launch on a GPU).
#pragma once

#include <graft/kernels/api/export.h>
#include <graft/kernels/api/tensor_ref.h>

namespace graft::kernels {

/// One parameter of a multi-tensor update. param, grad, state and mask lie densely in the same element order.
struct GRAFT_API OptimParam {
  TensorRef param, grad;     // one floating dtype
  TensorRef state0, state1;  // SGD: momentum buffer, -; Adam: first, second moment. f64 for f64 params, else f32
  // undefined for none: f32 beside a bf16 or f16 param (f64 beside f64), the value that is really trained; param is
  // it, rounded
  TensorRef master;
  TensorRef mask;  // u8 or bool, undefined for none: elements with 0 keep their bytes and their state
  double lr = 0;
  double weight_decay = 0;
  double multiplier = 1;  // scales the whole step, decay included, after the optimiser's own normalisation; 0: param
                          // and state keep their bytes, whatever the gradient holds
  std::int64_t step = 1;  // 1 for this parameter's first update
};

/// What an update reads from its device's memory instead of taking from the host, so that a captured update can be
/// replayed: null pointers throughout for none.
struct GRAFT_API OptimClock {
  const std::int64_t* step = nullptr;     // index into lr_factor
  const double* lr_factor = nullptr;      // times each lr
  const std::int64_t* updates = nullptr;  // added to each param's step
  // Adam: for t = 1, 2, .. the pair 1 - beta1^t, 1 / sqrt(1 - beta2^t). A table, since powers differ between devices in
  // their last bit.
  const double* corrections = nullptr;
  const double* grad_scale = nullptr;  // in place of the host's, may be null; 0: nothing is changed

  constexpr bool defined() const { return step != nullptr; }
};

/// torch.optim.SGD: g = grad_scale grad + wd p; if momentum: buf = g at the first step, else momentum buf +
/// (1 - dampening) g; g = nesterov ? g + momentum buf : buf;  p -= multiplier lr g.
struct SgdArgs {
  static constexpr const char* name = "sgd";
  const OptimParam* params = nullptr;
  std::int64_t count = 0;
  double momentum = 0, dampening = 0;
  bool nesterov = false;
  double grad_scale = 1;  // the clip factor
  OptimClock clock{};
};

/// torch.optim.Adam (decoupled = false: g += wd p) and AdamW (decoupled: p -= multiplier lr wd p). Kingma and Ba, 2015;
/// Loshchilov and Hutter, 2019:  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;
/// p -= multiplier lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps).
struct AdamArgs {
  static constexpr const char* name = "adam";
  const OptimParam* params = nullptr;
  std::int64_t count = 0;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  bool decoupled = false;
  double grad_scale = 1;
  OptimClock clock{};
};

}  // namespace graft::kernels
