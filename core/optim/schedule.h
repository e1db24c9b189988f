// Learning-rate schedules: a factor on the base rate as a function of the step.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include <graft/kernels/api/export.h>

namespace graft::optim {

/// factor(step), step counted from 0. Multiply the base rate with it before the step.
using Schedule = std::function<double(std::int64_t step)>;

GRAFT_API Schedule constant();
/// gamma^(step / every).
GRAFT_API Schedule step_decay(std::int64_t every, double gamma);
/// From 1 to `final_factor` along half a cosine over `total` steps, then flat.
GRAFT_API Schedule cosine(std::int64_t total, double final_factor = 0);
/// Smith's one-cycle policy, cosine-annealed: from 1/div up to 1 over pct_start of the steps, then down to 1 / (div *
/// final_div).
GRAFT_API Schedule one_cycle(std::int64_t total, double pct_start = 0.3, double div = 25, double final_div = 1e4);
/// Linear from 1 / warmup to 1 over the first `warmup` steps, then `next` counted from its own step 0.
GRAFT_API Schedule warm_up(std::int64_t warmup, Schedule next);

}  // namespace graft::optim
