#include <graft/kernels/cpu/column_reduce.h>

#include <algorithm>

#include <graft/kernels/cpu/common.h>

namespace graft::kernels::cpu {

std::int64_t rows_per_chunk(std::int64_t rows, std::int64_t cols) {
  // About 16 KiB, so that a chunk read twice comes from the first-level cache the second time; but never so many chunks
  // that their sums outgrow the matrix, and few enough rows for float.
  const std::int64_t cached = std::max<std::int64_t>(16, 8192 / std::max<std::int64_t>(cols, 1));
  return std::max<std::int64_t>(1, std::min(rows, cached));
}

void column_sums(const float* x, std::int64_t rows, std::int64_t cols, float* sums, double scale) {
  if (rows == 0 || cols == 0) {
    std::fill_n(sums, cols, 0.0f);
    return;
  }
  const std::int64_t length = rows_per_chunk(rows, cols), chunks = (rows + length - 1) / length;
  const Workspace partial = float_workspace(chunks * cols);
  const auto kernel = vector_kernels().column_sum;
  parallel_for(chunks, grain_of(length * cols), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      kernel(x + i * length * cols, std::min(length, rows - i * length), cols, cols, partial.as<float>() + i * cols);
  });
  parallel_for(cols, grain_of(chunks), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t c = begin; c < end; ++c) {
      double total = 0;
      for (std::int64_t i = 0; i < chunks; ++i) total += static_cast<double>(partial.as<float>()[i * cols + c]);
      sums[c] = static_cast<float>(total * scale);
    }
  });
}

}  // namespace graft::kernels::cpu
