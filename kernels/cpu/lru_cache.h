// A bounded map from a fixed-size key to something costly to make. Looking up what is there allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>

namespace graft::kernels::cpu {

/// Key: a struct of std::int64_t fields only (so that its bytes are its value). Value may be a null pointer: "there is
/// none" is worth remembering too. Not thread-safe: use one per thread.
template <class Key, class Value>
class LruCache {
 public:
  explicit LruCache(std::size_t capacity) : capacity_(capacity) { entries_.reserve(capacity + 1); }

  template <class Make>
  Value* get(const Key& key, Make&& make) {
    if (const auto found = entries_.find(key); found != entries_.end()) {
      found->second.used = ++clock_;
      return found->second.value.get();
    }
    std::unique_ptr<Value> value = make(key);
    if (entries_.size() >= capacity_) drop_oldest();
    return entries_.emplace(key, Entry{std::move(value), ++clock_}).first->second.value.get();
  }

  std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::unique_ptr<Value> value;
    std::uint64_t used = 0;
  };
  struct Hash {
    std::size_t operator()(const Key& key) const {
      static_assert(sizeof(Key) % sizeof(std::int64_t) == 0);
      const auto* words = reinterpret_cast<const std::int64_t*>(&key);
      std::uint64_t hash = 0x9E3779B97F4A7C15ull;
      for (std::size_t i = 0; i < sizeof(Key) / sizeof(std::int64_t); ++i) {
        hash ^= static_cast<std::uint64_t>(words[i]);
        hash *= 0xff51afd7ed558ccdull;
        hash ^= hash >> 32;
      }
      return static_cast<std::size_t>(hash);
    }
  };

  void drop_oldest() {
    auto oldest = entries_.begin();
    for (auto it = entries_.begin(); it != entries_.end(); ++it)
      if (it->second.used < oldest->second.used) oldest = it;
    entries_.erase(oldest);
  }

  std::size_t capacity_;
  std::uint64_t clock_ = 0;
  std::unordered_map<Key, Entry, Hash> entries_;
};

}  // namespace graft::kernels::cpu
