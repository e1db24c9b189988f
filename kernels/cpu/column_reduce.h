// Sums over the rows of a (rows, cols) matrix, in an order that does not depend on the thread count.
#pragma once

#include <cstdint>

namespace graft::kernels::cpu {

/// Rows that are added up in float before the partial sums meet in double.
std::int64_t rows_per_chunk(std::int64_t rows, std::int64_t cols);

/// sums[c] = scale * sum over rows of x[r, c]; x dense.
void column_sums(const float* x, std::int64_t rows, std::int64_t cols, float* sums, double scale = 1);

}  // namespace graft::kernels::cpu
