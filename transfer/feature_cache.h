// What a frozen, deterministic beginning of a network makes of a dataset, computed once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <graft/core/data/dataset.h>
#include <graft/kernels/api/export.h>
#include <graft/layers/module.h>

namespace graft::transfer {

using Chain = std::vector<std::pair<std::string, std::shared_ptr<Module>>>;

/// The parts of a module one after the other, nested chains opened up; empty when the module is not a chain.
GRAFT_API Chain flat_chain(const Module& module);

/// How many parts at the beginning can be cached as the module is set now: no parameter that requires grad,
/// deterministic. At least one part is left. `reason`, if given, says what ended the prefix.
GRAFT_API std::size_t frozen_prefix(const Chain& chain, std::string* reason = nullptr);

/// Applies parts [begin, end) of a chain.
GRAFT_API Tensor apply(const Chain& chain, std::size_t begin, std::size_t end, Tensor x);

/// Features by dataset. Knows what they depend on (the parts' parameters and buffers, the pixels, the normalisation),
/// and computes them anew when any of it has changed.
class GRAFT_API FeatureCache {
 public:
  /// `limit_bytes`: the most a dataset's features may take; beyond it get() returns an undefined tensor.
  explicit FeatureCache(std::size_t limit_bytes = std::size_t{2} << 30) : limit_bytes_(limit_bytes) {}

  /// (N, ..) features of all images, in order, computed in batches under NoGrad on the parts' device, where they stay.
  Tensor get(const Chain& chain, std::size_t prefix, const data::Dataset& dataset,
             const data::Normalization& normalization, std::int64_t batch_size = 256);
  void clear() { entries_.clear(); }
  std::uint64_t hits() const { return hits_; }
  std::uint64_t misses() const { return misses_; }

 private:
  struct Entry {
    std::uint64_t fingerprint = 0;
    Tensor images;  // keep their storages alive, so that no other takes their place
    Tensor features;
  };
  std::size_t limit_bytes_;
  std::vector<Entry> entries_;
  std::uint64_t hits_ = 0, misses_ = 0;
};

}  // namespace graft::transfer
