// How a reduction walks its tensor.
#pragma once

#include <graft/kernels/cuda/common.cuh>

namespace graft::kernels::cuda {

void argmax(const ArgmaxArgs& args, Stream& stream);

/// Some of a tensor's dimensions, the last running fastest: element i of them lies offset(i) from the first.
struct Walk {
  int rank = 0;
  std::int64_t sizes[kMaxRank] = {}, strides[kMaxRank] = {};

  GRAFT_DEVICE std::int64_t offset(std::int64_t i) const {
    if (rank == 1) return i * strides[0];
    std::int64_t at = 0;
    for (int d = rank - 1; d > 0; --d) {
      at += i % sizes[d] * strides[d];
      i /= sizes[d];
    }
    return rank == 0 ? at : at + i * strides[0];
  }

  /// Adds a dimension inside the others; merged with the last where the two are walked as one.
  void push(std::int64_t size, std::int64_t stride) {
    if (size == 1) return;
    if (rank > 0 && strides[rank - 1] == size * stride) {
      sizes[rank - 1] *= size;
      strides[rank - 1] = stride;
      return;
    }
    sizes[rank] = size;
    strides[rank] = stride;
    ++rank;
  }
  std::int64_t inner_size() const { return rank == 0 ? 1 : sizes[rank - 1]; }
  bool contiguous() const { return rank > 0 && strides[rank - 1] == 1; }
};

/// The kept dimensions in y's order, and the reduced ones by falling stride, which makes them as contiguous as can be
/// (the order of the terms is fixed by the shape and the strides). `reduced(d)` tells which dimensions go.
template <class Reduced>
void split_dimensions(const TensorRef& x, const Reduced& reduced, Walk& kept, Walk& terms) {
  int order[kMaxRank], count = 0;
  for (int d = 0; d < x.shape.rank(); ++d)
    if (reduced(d))
      order[count++] = d;
    else
      kept.push(x.shape[d], x.strides[d]);
  std::stable_sort(order, order + count, [&](int a, int b) { return x.strides[a] > x.strides[b]; });
  for (int i = 0; i < count; ++i) terms.push(x.shape[order[i]], x.strides[order[i]]);
}

}  // namespace graft::kernels::cuda
