// Random numbers within a step that is run once, captured and replayed. Internal to core.
#pragma once

#include <cstdint>
#include <vector>

#include <graft/core/random.h>

namespace graft {

/// Which generators a step uses and how often, learnt from a run of it; and the keys that they hand out while the step
/// is captured: those of the n-th step after that run, where n is read from device memory when the step is replayed.
class StepRandom {
 public:
  /// What next() of the calling thread's generators asks, or nullptr.
  static StepRandom* active();

  /// While it lives, keys come as always and are counted. Forgets what was learnt before.
  class Observing {
   public:
    explicit Observing(StepRandom& random);
    ~Observing();
    Observing(const Observing&) = delete;
    Observing& operator=(const Observing&) = delete;
  };
  /// While it lives, keys follow `counter`, memory of the device that counts steps; it held `at` when the observed run
  /// began.
  class Capturing {
   public:
    Capturing(StepRandom& random, const std::int64_t* counter, std::int64_t at);
    ~Capturing();
    Capturing(const Capturing&) = delete;
    Capturing& operator=(const Capturing&) = delete;
    /// The end of one of several steps that are captured in a row. Throws Error when the step drew less than the one
    /// that was observed.
    void step_done();
  };

  bool capturing() const { return counter_ != nullptr; }
  kernels::RandomKey key_for(Generator& generator);
  /// Generators stand where `steps` steps since the beginning of the observed run have left them.
  void advance_to(std::int64_t steps) const;

 private:
  struct Use {
    Generator* generator;
    std::uint64_t begin;      // the generator's offset before the observed run
    std::uint64_t calls = 0;  // of one step
    std::uint64_t drawn = 0;  // of the step that is being captured
  };
  std::vector<Use> uses_;
  const std::int64_t* counter_ = nullptr;
  std::int64_t at_ = 0;
};

}  // namespace graft
