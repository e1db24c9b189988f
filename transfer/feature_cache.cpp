#include <graft/transfer/feature_cache.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include <graft/core/autograd/node.h>
#include <graft/kernels/runtime/device_memory.h>
#include <graft/transfer/scoring.h>

namespace graft::transfer {
namespace {

void append(const std::string& prefix, const Module& module, Chain& all) {
  for (const auto& [name, part] : module.chain()) {
    const std::string path = prefix.empty() ? name : prefix + "." + name;
    if (part->chain().empty())
      all.emplace_back(path, part);
    else
      append(path, *part, all);
  }
}

std::uint64_t fingerprint_of(const Chain& chain, std::size_t prefix, const data::Dataset& dataset,
                             const data::Normalization& normalization) {
  std::uint64_t h = prefix;
  const auto mix = [&h](std::uint64_t word) {
    h = (h ^ word) * 0xD1342543DE82EF95ull;
    h ^= h >> 32;
  };
  for (std::size_t i = 0; i < prefix; ++i) {
    mix(reinterpret_cast<std::uintptr_t>(chain[i].second.get()));
    for (const auto& [name, tensor] : chain[i].second->state_dict()) {
      mix(tensor.storage()->content_tag());
      mix(static_cast<std::uint64_t>(tensor.storage_offset()));
    }
  }
  mix(dataset.images.storage()->content_tag());
  mix(static_cast<std::uint64_t>(dataset.images.storage_offset()));
  for (std::int64_t size : dataset.images.shape()) mix(static_cast<std::uint64_t>(size));
  mix(std::bit_cast<std::uint64_t>(normalization.mean));
  mix(std::bit_cast<std::uint64_t>(normalization.deviation));
  return h;
}

/// Where the first part with any tensors lies; parts that lie apart are for the ops to refuse.
Device device_of(const Chain& chain) {
  for (const auto& [name, part] : chain)
    if (!part->state_dict().empty()) return part->device();
  return Device::cpu();
}

}  // namespace

Chain flat_chain(const Module& module) {
  Chain all;
  append("", module, all);
  return all;
}

std::size_t frozen_prefix(const Chain& chain, std::string* reason) {
  const auto end_with = [&](std::string why) {
    if (reason != nullptr) *reason = std::move(why);
  };
  if (chain.empty()) {
    end_with("the module's forward is not a chain of parts");
    return 0;
  }
  for (std::size_t i = 0; i + 1 < chain.size(); ++i) {
    const auto& [name, part] = chain[i];
    const std::vector<Tensor> parameters = part->parameters();
    if (std::any_of(parameters.begin(), parameters.end(), [](const Tensor& t) { return t.requires_grad(); })) {
      end_with(cat("'", name, "' trains"));
      return i;
    }
    if (!part->is_deterministic()) {
      end_with(cat("'", name, "' (", part->describe(), ") is not deterministic as it is set"));
      return i;
    }
  }
  end_with(cat("'", chain.back().first, "' is the last part"));
  return chain.size() - 1;
}

Tensor apply(const Chain& chain, std::size_t begin, std::size_t end, Tensor x) {
  for (std::size_t i = begin; i < end; ++i) x = (*chain[i].second)(x);
  return x;
}

Tensor FeatureCache::get(const Chain& chain, std::size_t prefix, const data::Dataset& dataset,
                         const data::Normalization& normalization, std::int64_t batch_size) {
  check(prefix >= 1 && prefix <= chain.size(), "FeatureCache: prefix ", prefix, " of a chain of ", chain.size());
  const std::uint64_t fingerprint = fingerprint_of(chain, prefix, dataset, normalization);
  const auto entry =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.images.is_same(dataset.images); });
  if (entry != entries_.end()) {
    if (entry->fingerprint == fingerprint) {
      ++hits_;
      return entry->features;
    }
    entries_.erase(entry);
  }
  ++misses_;

  NoGrad no_grad;
  const runtime::AllocationName what("feature cache");
  WholeSet set(dataset, {.batch_size = batch_size, .normalization = normalization, .device = device_of(chain)});
  Tensor features;
  std::int64_t done = 0;
  const BatchSource batches = set.batches();
  for (data::Batch batch; batches(batch);) {
    const Tensor rows = apply(chain, 0, prefix, batch.x);
    check(rows.dim() >= 1 && rows.size(0) == batch.y.numel(), "FeatureCache: the parts up to '",
          chain[prefix - 1].first, "' gave ", rows, " for ", batch.y.numel(), " images");
    if (!features.defined()) {
      Shape shape = rows.shape();
      shape[0] = dataset.size();
      const auto bytes = static_cast<std::size_t>(shape.numel()) * size_of(rows.dtype());
      if (bytes > limit_bytes_) return {};
      if (rows.device().is_cuda() && bytes > runtime::device_memory_available(rows.device().index) / 2) return {};
      features = Tensor::empty(shape, rows.dtype(), rows.device());
    }
    Tensor place = features.as_strided(rows.shape(), features.strides(), done * features.strides()[0]);
    place.copy_(rows);
    done += rows.size(0);
  }
  entries_.push_back({fingerprint, dataset.images, features});
  return features;
}

}  // namespace graft::transfer
