// What the tests of core share.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include <graft/core/random.h>
#include <graft/core/tensor.h>

#include "support/errors.h"

namespace graft {

using test::error_of;

/// `text` holds every one of `parts`.
inline void expect_contains(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts)
    EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in: " << text;
}

/// 0, 1, 2, .. in row-major order.
inline Tensor counting(const Shape& shape, DType dtype = DType::f32) {
  return Tensor::arange(shape.numel()).to(dtype).reshape(shape);
}

/// Normal numbers of a fixed generator.
inline Tensor normal(const Shape& shape, std::uint64_t seed, DType dtype = DType::f32) {
  Generator generator(seed);
  return randn(shape, generator, dtype);
}

inline std::vector<double> values(const Tensor& t) { return t.to_vector<double>(); }

/// The element at a position, by the shape's strides: nothing of the library's ops takes part.
inline double at(const Tensor& t, const std::vector<std::int64_t>& position) {
  std::int64_t offset = t.storage_offset();
  for (int i = 0; i < t.dim(); ++i) offset += position[static_cast<std::size_t>(i)] * t.strides()[i];
  const auto* base =
      static_cast<const std::byte*>(t.storage()->data()) + offset * static_cast<std::int64_t>(size_of(t.dtype()));
  return visit_dtype(t.dtype(), [&]<class T>(T) {
    T value;
    std::memcpy(static_cast<void*>(&value), base, sizeof value);
    if constexpr (std::is_same_v<T, bf16> || std::is_same_v<T, f16>)
      return static_cast<double>(static_cast<float>(value));
    else
      return static_cast<double>(value);
  });
}

/// Calls f with every position of the shape, in row-major order.
template <class F>
void each_position(const Shape& shape, F&& f) {
  std::vector<std::int64_t> position(static_cast<std::size_t>(shape.rank()), 0);
  for (std::int64_t n = shape.numel(); n > 0; --n) {
    f(std::as_const(position));
    for (int i = shape.rank() - 1; i >= 0; --i) {
      auto& p = position[static_cast<std::size_t>(i)];
      if (++p < shape[i]) break;
      p = 0;
    }
  }
}

/// The elements in row-major order, found one by one.
inline std::vector<double> walked(const Tensor& t) {
  std::vector<double> all;
  each_position(t.shape(), [&](const std::vector<std::int64_t>& p) { all.push_back(at(t, p)); });
  return all;
}

/// Equal bits, element by element in logical order.
inline bool same_bits(const Tensor& a, const Tensor& b) {
  if (!(a.shape() == b.shape()) || a.dtype() != b.dtype()) return false;
  const Tensor x = a.detach().contiguous(), y = b.detach().contiguous();
  return x.numel() == 0 ||
         std::memcmp(x.ref().data, y.ref().data, static_cast<std::size_t>(x.numel()) * size_of(x.dtype())) == 0;
}

}  // namespace graft
