#include <graft/core/optim/schedule.h>

#include <cmath>
#include <numbers>
#include <utility>

#include <graft/kernels/api/error.h>

namespace graft::optim {
namespace {

void check_step(std::int64_t step) { check(step >= 0, "schedule: step is ", step, ", expected 0 or more"); }

/// From `start` to `end` along half a cosine as t runs from 0 to 1.
double anneal(double start, double end, double t) {
  return end + (start - end) * 0.5 * (1 + std::cos(std::numbers::pi * t));
}

}  // namespace

Schedule constant() {
  return [](std::int64_t step) {
    check_step(step);
    return 1.0;
  };
}

Schedule step_decay(std::int64_t every, double gamma) {
  check(every >= 1, "step_decay: every is ", every, ", expected at least 1 step");
  check(std::isfinite(gamma) && gamma >= 0, "step_decay: gamma is ", gamma, ", expected a finite number from 0 up");
  return [=](std::int64_t step) {
    check_step(step);
    return std::pow(gamma, static_cast<double>(step / every));
  };
}

Schedule cosine(std::int64_t total, double final_factor) {
  check(total >= 1, "cosine: total is ", total, ", expected at least 1 step");
  check(std::isfinite(final_factor) && final_factor >= 0, "cosine: final_factor is ", final_factor,
        ", expected a finite number from 0 up");
  return [=](std::int64_t step) {
    check_step(step);
    if (step >= total) return final_factor;
    return anneal(1, final_factor, static_cast<double>(step) / static_cast<double>(total));
  };
}

Schedule one_cycle(std::int64_t total, double pct_start, double div, double final_div) {
  check(total >= 2, "one_cycle: total is ", total, ", expected at least 2 steps");
  check(pct_start > 0 && pct_start < 1, "one_cycle: pct_start is ", pct_start, ", expected between 0 and 1");
  check(div >= 1 && final_div >= 1, "one_cycle: div is ", div, " and final_div is ", final_div,
        ", expected both at least 1");
  // The last step of each phase, as torch.optim.lr_scheduler.OneCycleLR counts them: the peak may fall between two
  // steps.
  const double peak = pct_start * static_cast<double>(total) - 1;
  const double last = static_cast<double>(total) - 1;
  const double low = 1 / div, lowest = low / final_div;
  return [=](std::int64_t step) {
    check_step(step);
    const double s = static_cast<double>(step);
    if (s >= last) return lowest;
    if (s <= peak) return peak == 0 ? 1.0 : anneal(low, 1, s / peak);
    return anneal(1, lowest, (s - peak) / (last - peak));
  };
}

Schedule warm_up(std::int64_t warmup, Schedule next) {
  check(warmup >= 0, "warm_up: warmup is ", warmup, ", expected 0 or more steps");
  check(next != nullptr, "warm_up: the schedule to follow is empty; give constant() to stay at 1");
  return [warmup, next = std::move(next)](std::int64_t step) {
    check_step(step);
    if (step < warmup) return static_cast<double>(step + 1) / static_cast<double>(warmup);
    return next(step - warmup);
  };
}

}  // namespace graft::optim
