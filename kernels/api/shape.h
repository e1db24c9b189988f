// Shape: a short list of sizes (or strides) kept inline, up to kMaxRank dimensions.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include <graft/kernels/api/error.h>
#include <graft/kernels/api/export.h>

namespace graft {

inline constexpr int kMaxRank = 8;

class GRAFT_API Shape {
 public:
  constexpr Shape() = default;
  Shape(std::initializer_list<std::int64_t> sizes) : Shape(std::span(sizes.begin(), sizes.size())) {}
  explicit Shape(std::span<const std::int64_t> sizes) {
    check(sizes.size() <= kMaxRank, "Shape: rank ", sizes.size(), " is over the limit of ", kMaxRank);
    for (std::int64_t size : sizes) push_back(size);
  }
  /// `rank` entries, each `value`.
  static Shape filled(int rank, std::int64_t value) {
    check(rank >= 0 && rank <= kMaxRank, "Shape: rank ", rank, " is outside 0..", kMaxRank);
    Shape s;
    for (int i = 0; i < rank; ++i) s.push_back(value);
    return s;
  }

  int rank() const { return rank_; }
  bool empty() const { return rank_ == 0; }
  std::int64_t operator[](int i) const { return sizes_[static_cast<std::size_t>(i)]; }
  std::int64_t& operator[](int i) { return sizes_[static_cast<std::size_t>(i)]; }
  std::int64_t back() const { return sizes_[static_cast<std::size_t>(rank_ - 1)]; }
  const std::int64_t* begin() const { return sizes_.data(); }
  const std::int64_t* end() const { return sizes_.data() + rank_; }
  std::int64_t* begin() { return sizes_.data(); }
  std::int64_t* end() { return sizes_.data() + rank_; }

  void push_back(std::int64_t size) {
    check(rank_ < kMaxRank, "Shape: rank is over the limit of ", kMaxRank);
    sizes_[static_cast<std::size_t>(rank_++)] = size;
  }

  /// The product of the sizes; 1 for rank 0.
  std::int64_t numel() const {
    std::int64_t n = 1;
    for (std::int64_t size : *this) n *= size;
    return n;
  }

  friend bool operator==(const Shape& a, const Shape& b) {
    if (a.rank_ != b.rank_) return false;
    for (int i = 0; i < a.rank_; ++i)
      if (a[i] != b[i]) return false;
    return true;
  }

 private:
  std::array<std::int64_t, kMaxRank> sizes_{};
  int rank_ = 0;
};

/// "(2, 3, 4)".
GRAFT_API std::string to_string(const Shape& shape);

/// Row-major strides, in elements.
GRAFT_API Shape contiguous_strides(const Shape& shape);

/// Strides of a logical NCHW shape that lies NHWC in memory. Requires rank 4.
GRAFT_API Shape channels_last_strides(const Shape& shape);

}  // namespace graft
