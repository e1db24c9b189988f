// Small datasets for tests.
#pragma once

#include <cstdint>
#include <vector>

#include <graft/core/data/dataset.h>

namespace graft::test {

/// n images (n, channels, side, side); image i is of class i % classes, pixel j is (7 i + j) % 256.
inline data::Dataset small_dataset(std::int64_t n, std::int64_t classes, std::int64_t channels = 1,
                                   std::int64_t side = 4) {
  data::Dataset dataset;
  dataset.images = Tensor::empty({n, channels, side, side}, DType::u8);
  dataset.labels = Tensor::empty({n}, DType::i64);
  dataset.classes = classes;
  const std::int64_t pixels = channels * side * side;
  for (std::int64_t i = 0; i < n; ++i) {
    dataset.labels.data<std::int64_t>()[i] = i % classes;
    for (std::int64_t j = 0; j < pixels; ++j)
      dataset.images.data<std::uint8_t>()[i * pixels + j] = static_cast<std::uint8_t>(7 * i + j);
  }
  return dataset;
}

}  // namespace graft::test
