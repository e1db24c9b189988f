// Reductions down the columns of a contiguous (rows, n) tensor: statistics and gradients of the norms.
//
// Two launches, so that no block waits for another and the order is fixed: the rows are cut into parts by their number
// alone; a block takes 32 columns of a part, eight rows at a time, and merges its eight lines in order; the second
// launch merges the parts of each column in order and hands the result to `finish`.
//
// A State is trivial and has: static State nothing(); void merge(const State& later).
#pragma once

#include <graft/kernels/cuda/common.cuh>

namespace graft::kernels::cuda {

inline constexpr int kColumnLines = 8;
inline constexpr int kColumnThreads = kWarp * kColumnLines;
inline constexpr std::int64_t kMostParts = 128;
inline constexpr std::int64_t kLeastPartRows = 64;

/// f.add(State&, row, column) takes one element in.
template <class State, class F>
GRAFT_KERNEL(kColumnThreads)
column_parts(F f, std::int64_t rows, std::int64_t n, std::int64_t rows_per_part, State* parts) {
  GRAFT_SHARED(lines, State[kColumnLines][kWarp]);
  const int lane = static_cast<int>(threadIdx.x) % kWarp, line = static_cast<int>(threadIdx.x) / kWarp;
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * kWarp + lane, part = blockIdx.y;
  State state = State::nothing();
  if (column < n) {
    const std::int64_t end = (part + 1) * rows_per_part < rows ? (part + 1) * rows_per_part : rows;
    for (std::int64_t row = part * rows_per_part + line; row < end; row += kColumnLines) f.add(state, row, column);
  }
  lines[line][lane] = state;
  __syncthreads();
  if (line == 0 && column < n) {
    GRAFT_UNROLL
    for (int i = 1; i < kColumnLines; ++i) state.merge(lines[i][lane]);
    parts[part * n + column] = state;
  }
}

/// finish(column, state) for every column.
template <class State, class Finish>
GRAFT_KERNEL(kColumnThreads)
column_finish(Finish finish, std::int64_t n, int parts, const State* state_of) {
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * kColumnThreads + threadIdx.x;
  if (column >= n) return;
  State state = state_of[column];
  for (int part = 1; part < parts; ++part) state.merge(state_of[part * n + column]);
  finish(column, state);
}

/// Adds up all columns (n at least 1) with f and finishes each. `name` and `finish_name` name the two
/// launches.
template <class State, class F, class Finish>
void reduce_columns(const Stream& stream, const char* name, const char* finish_name, std::int64_t rows, std::int64_t n,
                    const F& f, const Finish& finish) {
  const std::int64_t rows_per_part = std::max(kLeastPartRows, ceil_div(rows, kMostParts));
  const std::int64_t parts = std::max<std::int64_t>(ceil_div(rows, rows_per_part), 1);  // no rows: one empty part
  Workspace workspace(static_cast<std::size_t>(parts * n) * sizeof(State), stream);
  auto* states = workspace.as<State>();
  launch(name, column_parts<State, F>,
         {.grid = dim3(blocks_for(n, kWarp), static_cast<unsigned>(parts)), .block = dim3(kColumnThreads)}, stream, f,
         rows, n, rows_per_part, states);
  launch(finish_name, column_finish<State, Finish>,
         {.grid = dim3(blocks_for(n, kColumnThreads)), .block = dim3(kColumnThreads)}, stream, finish, n,
         static_cast<int>(parts), states);
}

/// Two sums: of gy and of gy xhat, where xhat is the normalised input. What both norms' backwards need.
template <class C>
struct GradientSums {
  C gy, gy_xhat;
  GRAFT_DEVICE static GradientSums nothing() { return {0, 0}; }
  GRAFT_DEVICE void merge(const GradientSums& later) {
    gy += later.gy;
    gy_xhat += later.gy_xhat;
  }
};

/// A vector of n values seen as (rows, n): the same for every row.
template <class C>
TensorRef per_column(C* values, std::int64_t rows, std::int64_t n) {
  return {.data = const_cast<std::remove_const_t<C>*>(values),
          .dtype = dtype_of<std::remove_const_t<C>>,
          .shape = {rows, n},
          .strides = {0, 1}};
}

}  // namespace graft::kernels::cuda
