// Philox4x32-10, the counter-based generator of Salmon et al. (SC 2011): four random words from a key and a counter.
//
// A draw depends on (seed, offset, element) only, never on threads or on order, so every backend gives the same bits.
#pragma once

#include <array>
#include <cstdint>

#include <graft/kernels/api/export.h>

namespace graft::kernels {

/// Which random numbers an op uses: word j of element block i is philox(seed, offset, i)[j].
struct GRAFT_API RandomKey {
  std::uint64_t seed = 0;
  std::uint64_t offset = 0;  // one per op call; handed out by the generator in core
  // For an op that is captured once and replayed: memory of the op's device that counts the replays, each of which
  // moves the offset by `stride`.
  const std::int64_t* step = nullptr;
  std::uint64_t stride = 0;
};

/// The key as it is now. Where the op runs: `step` is memory of its device.
constexpr RandomKey resolved(RandomKey key) {
  if (key.step != nullptr) key.offset += key.stride * static_cast<std::uint64_t>(*key.step);
  return {key.seed, key.offset};
}

using PhiloxWords = std::array<std::uint32_t, 4>;

/// Ten rounds. Key: seed. Counter: (block low, block high, offset low, offset high).
constexpr PhiloxWords philox4x32(const RandomKey& key, std::uint64_t block) {
  std::uint32_t k0 = static_cast<std::uint32_t>(key.seed), k1 = static_cast<std::uint32_t>(key.seed >> 32);
  PhiloxWords c = {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
                   static_cast<std::uint32_t>(key.offset), static_cast<std::uint32_t>(key.offset >> 32)};
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = 0xD2511F53ull * c[0], p1 = 0xCD9E8D57ull * c[2];
    c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<std::uint32_t>(p1),
         static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<std::uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

/// A float in [0, 1) from the upper 24 bits.
constexpr float philox_uniform(std::uint32_t word) { return static_cast<float>(word >> 8) * (1.0f / 16777216.0f); }

/// A double in [0, 1) from 53 bits of the first two words.
constexpr double philox_uniform53(const PhiloxWords& words) {
  const std::uint64_t bits = (static_cast<std::uint64_t>(words[0]) | static_cast<std::uint64_t>(words[1]) << 32) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

/// A seed whose numbers have nothing to do with those of `seed`: a function of (seed, stream) only. It takes a counter
/// that no draw uses: draws have block 0 and up, forks have the top bit of the block set.
constexpr std::uint64_t fork_seed(std::uint64_t seed, std::uint64_t stream) {
  const PhiloxWords words = philox4x32(RandomKey{seed, stream}, 1ull << 63);
  return static_cast<std::uint64_t>(words[0]) | static_cast<std::uint64_t>(words[1]) << 32;
}

}  // namespace graft::kernels
