// What a thread keeps of the libraries on a device: handles, and the plans that were made and tuned there. Internal.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include <graft/kernels/api/device.h>
#include <graft/kernels/vendor/libraries.h>
#include <graft/kernels/vendor/vendor.h>

namespace graft::kernels::vendor {

/// What a plan was made for: sizes, strides, alignments, settings. Unused places are 0.
using PlanKey = std::array<std::int64_t, 32>;

/// Plans by what they were made for. They are kept for good, also one that a tuned one replaces: a captured graph may
/// still run its kernels.
template <class Plan>
class PlanCache {
 public:
  /// The plan of the key. `make(tune)` makes it where there is none, or only an untuned one though it may be tuned now.
  template <class Make>
  Plan& get(const PlanKey& key, bool may_tune, Make&& make) {
    Entry& entry = plans_[key];
    if (entry.plan == nullptr || (may_tune && !entry.tuned)) {
      std::unique_ptr<Plan> made = make(may_tune);
      if (entry.plan != nullptr) replaced_.push_back(std::move(entry.plan));
      entry.plan = std::move(made);
      entry.tuned = may_tune;
    }
    return *entry.plan;
  }

  std::size_t size() const { return plans_.size(); }

 private:
  struct Entry {
    std::unique_ptr<Plan> plan;
    bool tuned = false;
  };
  std::map<PlanKey, Entry> plans_;
  std::vector<std::unique_ptr<Plan>> replaced_;
};

class MatmulPlan;
class ConvPlan;

struct Context {
  explicit Context(int device);
  ~Context();

  cublasLtHandle_t blas = nullptr;
  cudnnHandle_t dnn = nullptr;
  PlanCache<MatmulPlan> matmuls;
  PlanCache<ConvPlan> convolutions;
};

/// The calling thread's context on the stream's device, its handles set to the stream. No two threads share one. Throws
/// Error where the libraries are missing or do not start.
Context& context(const Stream& stream);

/// The engines that may be chosen now, as enable() was told.
graft::vendor::Engines engines();
void set_engines(graft::vendor::Engines engines);

}  // namespace graft::kernels::vendor
