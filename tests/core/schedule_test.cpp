#include <graft/core/optim/schedule.h>

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include <graft/kernels/api/error.h>

#include "core/optim_goldens.h"

namespace graft::optim {
namespace {

// The same formulas evaluated twice in double; only the order of a handful of operations may differ.
constexpr double kTolerance = 1e-12;

TEST(Schedule, ConstantStaysAtOne) {
  const Schedule s = constant();
  EXPECT_EQ(s(0), 1);
  EXPECT_EQ(s(1'000'000), 1);
}

TEST(Schedule, StepDecayFallsAtMultiplesOfEvery) {
  const Schedule s = step_decay(3, 0.5);
  EXPECT_EQ(s(0), 1);
  EXPECT_EQ(s(2), 1);
  EXPECT_EQ(s(3), 0.5);
  EXPECT_EQ(s(5), 0.5);
  EXPECT_EQ(s(9), 0.125);
}

TEST(Schedule, CosineFallsFromOneToTheFinalFactorAndStaysThere) {
  const Schedule s = cosine(10, 0.2);
  EXPECT_NEAR(s(0), 1, kTolerance);
  EXPECT_NEAR(s(5), 0.6, kTolerance);
  EXPECT_NEAR(s(3), 0.2 + 0.8 * 0.5 * (1 + std::cos(0.3 * std::numbers::pi)), kTolerance);
  EXPECT_EQ(s(10), 0.2);
  EXPECT_EQ(s(500), 0.2);
  EXPECT_EQ(cosine(4)(4), 0);
}

TEST(Schedule, OneCycleIsPyTorchs) {
  const Schedule ten = one_cycle(10), seven = one_cycle(7, 0.45, 10, 100);
  for (std::size_t i = 0; i < goldens::one_cycle_10.size(); ++i)
    EXPECT_NEAR(ten(static_cast<std::int64_t>(i)), goldens::one_cycle_10[i], kTolerance) << "step " << i;
  for (std::size_t i = 0; i < goldens::one_cycle_7.size(); ++i)
    EXPECT_NEAR(seven(static_cast<std::int64_t>(i)), goldens::one_cycle_7[i], kTolerance) << "step " << i;
  EXPECT_EQ(ten(99), ten(9));  // where PyTorch throws, it stays at the end
}

TEST(Schedule, WarmUpRisesLinearlyThenStartsTheNextAtItsStepZero) {
  const Schedule s = warm_up(4, step_decay(2, 0.1));
  EXPECT_EQ(s(0), 0.25);
  EXPECT_EQ(s(1), 0.5);
  EXPECT_EQ(s(3), 1);
  EXPECT_EQ(s(4), 1);
  EXPECT_EQ(s(5), 1);
  EXPECT_EQ(s(6), 0.1);
  EXPECT_EQ(warm_up(0, constant())(0), 1);
}

TEST(Schedule, RefusesWhatMakesNoSense) {
  EXPECT_THROW(step_decay(0, 0.5), Error);
  EXPECT_THROW(cosine(0), Error);
  EXPECT_THROW(one_cycle(1), Error);
  EXPECT_THROW(one_cycle(10, 1.5), Error);
  EXPECT_THROW(warm_up(-1, constant()), Error);
  EXPECT_THROW(warm_up(1, Schedule()), Error);
  EXPECT_THROW(cosine(10)(-1), Error);
}

}  // namespace
}  // namespace graft::optim
