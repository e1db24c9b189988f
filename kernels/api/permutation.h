// Permutations that are computed element by element instead of stored: an epoch's order costs no memory, and each batch
// of it can be made anywhere, on any device, without the ones before.
#pragma once

#include <array>
#include <cstdint>

#include <graft/kernels/api/export.h>
#include <graft/kernels/api/philox.h>

namespace graft::kernels {

/// A permutation of 0 .. size - 1, chosen by seed: a Feistel network of eight rounds over the least even number of bits
/// that holds size, applied again while the result lies beyond size (cycle walking, Black and Rogaway, 2002; for
/// shuffling on GPUs: Mitchell et al., 2022). size below 2^62.
class GRAFT_API Permutation {
 public:
  constexpr Permutation(std::uint64_t size, std::uint64_t seed) : size_(size) {
    while (half_bits_ < 31 && (std::uint64_t{1} << (2 * half_bits_)) < size) ++half_bits_;
    for (std::uint32_t i = 0; i < kRounds; i += 4) {
      const PhiloxWords words = philox4x32(RandomKey{seed, 0}, i);
      for (std::uint32_t j = 0; j < 4; ++j) keys_[i + j] = words[j];
    }
  }

  /// The element at position i, below size.
  constexpr std::uint64_t operator()(std::uint64_t i) const {
    do {
      i = network(i);
    } while (i >= size_);
    return i;
  }

 private:
  static constexpr std::uint32_t kRounds = 8;

  constexpr std::uint64_t network(std::uint64_t i) const {
    const std::uint32_t mask = (std::uint32_t{1} << half_bits_) - 1;
    auto left = static_cast<std::uint32_t>(i >> half_bits_), right = static_cast<std::uint32_t>(i) & mask;
    for (std::uint32_t round = 0; round < kRounds; ++round) {
      const std::uint32_t next = left ^ (mixed(right ^ keys_[round]) & mask);
      left = right;
      right = next;
    }
    return static_cast<std::uint64_t>(left) << half_bits_ | right;
  }

  /// MurmurHash3's 32-bit finaliser (Appleby): every bit of x reaches every bit of the result.
  static constexpr std::uint32_t mixed(std::uint32_t x) {
    x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
    x = (x ^ (x >> 13)) * 0xC2B2AE35u;
    return x ^ (x >> 16);
  }

  std::uint64_t size_;
  std::uint32_t half_bits_ = 1;
  std::array<std::uint32_t, kRounds> keys_{};
};

}  // namespace graft::kernels
