#include <graft/core/step_random.h>

#include <algorithm>

#include <graft/kernels/api/error.h>

namespace graft {
namespace {

thread_local StepRandom* current = nullptr;

void enter(StepRandom* random) {
  check(current == nullptr, "StepGraph: a step was run within another step's");
  current = random;
}

}  // namespace

StepRandom* StepRandom::active() { return current; }

StepRandom::Observing::Observing(StepRandom& random) {
  enter(&random);
  random.uses_.clear();
}
StepRandom::Observing::~Observing() { current = nullptr; }

StepRandom::Capturing::Capturing(StepRandom& random, const std::int64_t* counter, std::int64_t at) {
  enter(&random);
  for (Use& use : random.uses_) use.drawn = 0;
  random.counter_ = counter;
  random.at_ = at;
}
StepRandom::Capturing::~Capturing() {
  current->counter_ = nullptr;
  current = nullptr;
}

void StepRandom::Capturing::step_done() {
  for (Use& use : current->uses_) {
    check(use.drawn == use.calls, "StepGraph: the step drew ", use.drawn, " times from a generator, its first run ",
          use.calls, " times; a captured step does the same work every time");
    use.drawn = 0;
  }
}

kernels::RandomKey StepRandom::key_for(Generator& generator) {
  auto use = std::find_if(uses_.begin(), uses_.end(), [&](const Use& u) { return u.generator == &generator; });
  if (!capturing()) {
    if (use == uses_.end()) use = uses_.insert(uses_.end(), {&generator, generator.offset()});
    ++use->calls;
    const kernels::RandomKey key{generator.seed(), generator.offset()};
    generator.set_offset(key.offset + 1);
    return key;
  }
  check(
      use != uses_.end() && use->drawn < use->calls,
      "StepGraph: the step draws more random numbers than its first run did; a captured step does the same work every "
      "time");
  const std::uint64_t first = use->begin - use->calls * static_cast<std::uint64_t>(at_);
  return {generator.seed(), first + use->drawn++, counter_, use->calls};
}

void StepRandom::advance_to(std::int64_t steps) const {
  for (const Use& use : uses_) use.generator->set_offset(use.begin + use.calls * static_cast<std::uint64_t>(steps));
}

}  // namespace graft
