// What the tests of layers and models share.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include <graft/core/autograd/node.h>
#include <graft/layers/layers.h>

#include "support/errors.h"

namespace graft {

using test::error_of;
using test::expect_contains;

template <class Named>
std::vector<std::string> names_of(const std::vector<Named>& entries) {
  std::vector<std::string> names;
  for (const auto& [name, unused] : entries) names.push_back(name);
  return names;
}

using Names = std::vector<std::string>;

/// 0, 1, 2, .. of the given shape, in f32.
inline Tensor counting(const Shape& shape) {
  std::vector<float> values(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  return Tensor::from(values, shape);
}

}  // namespace graft
