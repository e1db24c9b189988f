// Small training runs: pictures, networks, and the bytes that come of them.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <graft/graft.h>

#include "device/device.h"

namespace graft::test {

inline constexpr std::int64_t kClasses = 4;
inline const data::Normalization kNormalization{100, 70};

/// 8x8 pictures: a bright quarter says the class, over noise.
inline data::Dataset pictures(std::int64_t count, std::uint64_t seed) {
  Generator generator(seed);
  data::Dataset set{.images = Tensor::empty({count, 1, 8, 8}, DType::u8),
                    .labels = Tensor::empty({count}, DType::i64),
                    .classes = kClasses,
                    .class_names = {}};
  auto* pixel = set.images.data<std::uint8_t>();
  auto* label = set.labels.data<std::int64_t>();
  for (std::int64_t i = 0; i < count; ++i) {
    label[i] = i % kClasses;
    for (int row = 0; row < 8; ++row)
      for (int column = 0; column < 8; ++column)
        *pixel++ = static_cast<std::uint8_t>(generator.below(140) + (2 * (row / 4) + column / 4 == label[i] ? 100 : 0));
  }
  return set;
}

inline std::shared_ptr<Sequential> small_mlp() {
  return models::mlp({.in_features = 64, .hidden = {24}, .num_classes = kClasses, .dropout = 0.2});
}
inline std::shared_ptr<Sequential> small_strokes_net() {
  return models::strokes_net({.num_classes = kClasses, .image_size = 8});
}

using Bytes = std::vector<std::pair<std::string, std::vector<unsigned char>>>;

inline Bytes bytes_of(const Module& module) {
  Bytes all;
  for (const auto& [name, tensor] : module.state_dict()) {
    const Tensor host = tensor.detach().to(cpu);
    const auto* p = static_cast<const unsigned char*>(host.ref().data);
    all.emplace_back(
        name, std::vector<unsigned char>(p, p + host.numel() * static_cast<std::int64_t>(size_of(host.dtype()))));
  }
  return all;
}

inline void expect_same_bits(const Bytes& a, const Bytes& b, const std::function<bool(const std::string&)>& which) {
  ASSERT_EQ(a.size(), b.size());
  int compared = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!which(a[i].first)) continue;
    ++compared;
    EXPECT_TRUE(a[i].second == b[i].second) << a[i].first;
  }
  EXPECT_GT(compared, 0);
}

inline bool everything(const std::string&) { return true; }

}  // namespace graft::test
