// Elementwise loops over tensors of any strides, reduced to matrices of rows.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include <graft/kernels/cpu/common.h>

namespace graft::kernels::cpu {

/// K operands of one shape, the output first. Dimensions are ordered by the output's strides, sizes of 1 dropped and
/// neighbours merged where every operand allows it; the last two are the rows and columns of the inner matrix.
template <int K>
class Loops {
 public:
  explicit Loops(const std::array<const TensorRef*, K>& operands) {
    const Shape& shape = operands[0]->shape;
    std::array<int, kMaxRank> order{};
    int rank = 0;
    for (int d = 0; d < shape.rank(); ++d) {
      numel_ *= shape[d];
      if (shape[d] != 1) order[static_cast<std::size_t>(rank++)] = d;
    }
    const Shape& strides = operands[0]->strides;
    std::stable_sort(order.begin(), order.begin() + rank, [&](int a, int b) { return strides[a] > strides[b]; });
    for (int i = 0; i < rank; ++i) {
      const int d = order[static_cast<std::size_t>(i)];
      if (rank_ > 0 && merges(operands, d)) {
        size_[last()] *= shape[d];
        for (std::size_t k = 0; k < K; ++k) stride_[k][last()] = operands[k]->strides[d];
        continue;
      }
      ++rank_;
      size_[last()] = shape[d];
      for (std::size_t k = 0; k < K; ++k) stride_[k][last()] = operands[k]->strides[d];
    }
    if (rank_ == 0) {
      rank_ = 1;
      size_[0] = 1;
    }
  }

  /// The distances of operand k within the inner matrix.
  Step step(int k) const {
    const auto& s = stride_[static_cast<std::size_t>(k)];
    return {rank_ > 1 ? s[last() - 1] : 0, s[last()]};
  }

  /// Calls f(offsets, rows, cols) for inner matrices that together cover everything, in parallel.
  template <class F>
  void run(F&& f, std::int64_t grain = kGrain) const {
    using Offsets = std::array<std::int64_t, K>;
    if (numel_ == 0) return;
    const std::int64_t cols = size_[last()];
    if (rank_ == 1) {
      parallel_for(cols, grain, [&](std::int64_t begin, std::int64_t end) {
        Offsets at;
        for (std::size_t k = 0; k < K; ++k) at[k] = begin * stride_[k][0];
        f(at, std::int64_t{1}, end - begin);
      });
      return;
    }
    const std::int64_t rows = size_[last() - 1];
    parallel_for(numel_ / cols, std::max<std::int64_t>(1, grain / cols), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t at_row = begin; at_row < end;) {
        std::int64_t index = at_row / rows;
        const std::int64_t row = at_row % rows, count = std::min(rows - row, end - at_row);
        Offsets at;
        for (std::size_t k = 0; k < K; ++k) at[k] = row * stride_[k][last() - 1];
        for (int d = rank_ - 3; d >= 0; --d) {
          const auto u = static_cast<std::size_t>(d);
          for (std::size_t k = 0; k < K; ++k) at[k] += index % size_[u] * stride_[k][u];
          index /= size_[u];
        }
        f(at, count, cols);
        at_row += count;
      }
    });
  }

 private:
  std::size_t last() const { return static_cast<std::size_t>(rank_ - 1); }
  bool merges(const std::array<const TensorRef*, K>& operands, int d) const {
    for (std::size_t k = 0; k < K; ++k)
      if (stride_[k][last()] != operands[k]->strides[d] * operands[k]->shape[d]) return false;
    return true;
  }

  std::array<std::int64_t, kMaxRank> size_{};
  std::array<std::array<std::int64_t, kMaxRank>, K> stride_{};
  int rank_ = 0;
  std::int64_t numel_ = 1;
};

}  // namespace graft::kernels::cpu
