// Initialisers, in place. Defaults are PyTorch's.
#pragma once

#include <graft/core/random.h>
#include <graft/kernels/api/export.h>

namespace graft::init {

/// U(-b, b), b = gain sqrt(3 / fan_in) (He et al., 2015), fan_in = size(1) * receptive field. PyTorch's Linear and
/// Conv2d use a = sqrt(5), gain = sqrt(2 / (1 + a^2)), so b = 1 / sqrt(fan_in).
GRAFT_API void kaiming_uniform_(Tensor weight, double a = 2.23606797749979, Generator& generator = default_generator());
/// N(0, 2 / fan), fan_in or fan_out.
enum class Fan { in, out };
GRAFT_API void kaiming_normal_(Tensor weight, Fan fan = Fan::in, Generator& generator = default_generator());
/// U(-b, b), b = sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010).
GRAFT_API void xavier_uniform_(Tensor weight, Generator& generator = default_generator());
/// PyTorch's default for a bias: U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)) with the fan_in of the weight.
GRAFT_API void bias_uniform_(Tensor bias, const Tensor& weight, Generator& generator = default_generator());

}  // namespace graft::init
