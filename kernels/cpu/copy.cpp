// Copy with conversion of dtype and layout.

#include <cstring>

#include <graft/kernels/cpu/loops.h>
#include <graft/kernels/cpu/rows.h>

namespace graft::kernels::cpu {
namespace {

Support supports(const CopyArgs& args) { return check_contract(args); }

template <class To, class From>
To convert(From value) {
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else if constexpr (std::is_same_v<From, bf16> || std::is_same_v<From, f16>) {
    return convert<To>(static_cast<float>(value));
  } else if constexpr (std::is_same_v<To, bool>) {
    return value != From{};
  } else if constexpr (std::is_same_v<To, bf16> || std::is_same_v<To, f16>) {
    return To(static_cast<float>(value));
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    return static_cast<To>(static_cast<std::int64_t>(value));
  } else {
    return static_cast<To>(value);
  }
}

// Rows of y are adjacent in memory, columns of x: cut into tiles, so that the lines of both stay in the first-level
// cache.
template <class To, class From>
void transpose(const From* x, std::int64_t x_col, To* y, std::int64_t y_row, std::int64_t rows, std::int64_t cols) {
  constexpr std::int64_t kTile = 16;
  for (std::int64_t r0 = 0; r0 < rows; r0 += kTile) {
    const std::int64_t r1 = std::min(rows, r0 + kTile);
    for (std::int64_t c0 = 0; c0 < cols; c0 += kTile) {
      const std::int64_t c1 = std::min(cols, c0 + kTile);
      for (std::int64_t r = r0; r < r1; ++r)
        for (std::int64_t c = c0; c < c1; ++c) y[r * y_row + c] = convert<To>(x[r + c * x_col]);
    }
  }
}

template <class To, class From>
void copy_matrix(const From* x, Step sx, To* y, Step sy, std::int64_t rows, std::int64_t cols) {
  if (sy.col == 1 && sx.row == 1 && sx.col != 1 && rows > 1) {
    transpose(x, sx.col, y, sy.row, rows, cols);
    return;
  }
  for (std::int64_t r = 0; r < rows; ++r, x += sx.row, y += sy.row) {
    if (sx.col == 1 && sy.col == 1) {
      if constexpr (std::is_same_v<To, From>)
        std::memcpy(y, x, static_cast<std::size_t>(cols) * sizeof(To));
      else
        for (std::int64_t c = 0; c < cols; ++c) y[c] = convert<To>(x[c]);
    } else {
      for (std::int64_t c = 0; c < cols; ++c) y[c * sy.col] = convert<To>(x[c * sx.col]);
    }
  }
}

void run(const CopyArgs& args, Stream&) {
  const Loops<2> loops({&args.y, &args.x});
  const Step sy = loops.step(0), sx = loops.step(1);
  visit_dtype(args.y.dtype, [&]<class To>(To) {
    visit_dtype(args.x.dtype, [&]<class From>(From) {
      loops.run([&](const auto& at, std::int64_t rows, std::int64_t cols) {
        copy_matrix(args.x.as<From>() + at[1], sx, args.y.as<To>() + at[0], sy, rows, cols);
      });
    });
  });
}

}  // namespace

void add_copy(BackendTable& table) { table.row<CopyArgs>() = {supports, run}; }

}  // namespace graft::kernels::cpu
