// Sums, means and maxima over axes; argmax; the norm of many tensors.

#include <algorithm>
#include <array>
#include <limits>

#include <graft/kernels/cpu/column_reduce.h>
#include <graft/kernels/cpu/common.h>
#include <graft/kernels/cpu/rows.h>

namespace graft::kernels::cpu {
namespace {

// x's dimensions in memory order, sizes of 1 dropped, neighbours merged: kept and reduced ones alternate. Served are
//   kept.. reduced            runs: each output is a run of adjacent elements
//   kept.. reduced kept       columns: each output is a column of a matrix
struct Plan {
  struct Dim {
    std::int64_t size, x, y;  // strides; y is 0 where reduced
    bool reduced;
  };
  std::array<Dim, kMaxRank> dims{};
  int rank = 0;
  std::int64_t length = 1, row_stride = 0, columns = 1;  // of one reduction; columns = 1 for runs
  std::int64_t outer = 1;
  int outer_rank = 0;
  bool ok = false;

  explicit Plan(const ReduceArgs& args) {
    const Shape& shape = args.x.shape;
    const Shape y_strides = contiguous_strides(args.y.shape);
    for (int d = 0; d < shape.rank(); ++d)
      if (shape[d] != 1) {
        const bool reduced = args.y.shape[d] == 1;
        dims[static_cast<std::size_t>(rank++)] = {shape[d], args.x.strides[d], reduced ? 0 : y_strides[d], reduced};
      }
    std::stable_sort(dims.begin(), dims.begin() + rank, [](const Dim& a, const Dim& b) { return a.x > b.x; });
    int merged = 0;
    for (int i = 0; i < rank; ++i) {
      const Dim& d = dims[static_cast<std::size_t>(i)];
      if (merged > 0) {
        Dim& last = dims[static_cast<std::size_t>(merged - 1)];
        if (last.reduced == d.reduced && last.x == d.x * d.size && last.y == d.y * d.size) {
          last = {last.size * d.size, d.x, d.y, d.reduced};
          continue;
        }
      }
      dims[static_cast<std::size_t>(merged++)] = d;
    }
    rank = merged;
    int inner = rank;
    auto at = [&](int i) -> const Dim& { return dims[static_cast<std::size_t>(i)]; };
    if (inner > 0 && !at(inner - 1).reduced && inner > 1 && at(inner - 2).reduced) {
      if (at(inner - 1).x != 1 || at(inner - 1).y != 1) return;
      columns = at(inner - 1).size;
      length = at(inner - 2).size;
      row_stride = at(inner - 2).x;
      inner -= 2;
    } else if (inner > 0 && at(inner - 1).reduced) {
      if (at(inner - 1).x != 1) return;
      length = at(inner - 1).size;
      inner -= 1;
    }
    for (int i = 0; i < inner; ++i) {
      if (at(i).reduced) return;
      outer *= at(i).size;
    }
    outer_rank = inner;
    ok = true;
  }

  // The offsets of outer position i in x and y.
  std::array<std::int64_t, 2> offsets(std::int64_t i) const {
    std::array<std::int64_t, 2> at{};
    for (int d = outer_rank - 1; d >= 0; --d) {
      const Dim& dim = dims[static_cast<std::size_t>(d)];
      at[0] += i % dim.size * dim.x;
      at[1] += i % dim.size * dim.y;
      i /= dim.size;
    }
    return at;
  }
};

Support supports(const ReduceArgs& args) {
  Support support = contract_and_f32(args, {&args.x});
  if (!support.ok) return support;
  if (args.x.numel() == 0) return Support::no("leaves empty tensors to the reference backend");
  if (!Plan(args).ok)
    return Support::no(cat("reduces adjacent runs or columns, got x ", to_string(args.x), " with strides ",
                           to_string(args.x.strides), " reduced to ", to_string(args.y)));
  return support;
}

constexpr std::int64_t kPiece = 16384;  // elements of a long run that are summed as one

// One long run, cut into fixed pieces.
float reduce_run(ReduceOp op, const float* x, std::int64_t n, double scale) {
  const VectorKernels& kernels = vector_kernels();
  const std::int64_t pieces = (n + kPiece - 1) / kPiece;
  const Workspace partial(static_cast<std::size_t>(pieces) * sizeof(double));
  auto* values = partial.as<double>();
  parallel_for(pieces, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t length = std::min(kPiece, n - i * kPiece);
      values[i] = op == ReduceOp::max ? static_cast<double>(kernels.max(x + i * kPiece, length))
                                      : kernels.sum(x + i * kPiece, length);
    }
  });
  double total = values[0];
  for (std::int64_t i = 1; i < pieces; ++i)
    total = op == ReduceOp::max ? (values[i] > total || values[i] != values[i] ? values[i] : total) : total + values[i];
  return static_cast<float>(total * scale);
}

// The columns of one matrix, one after another chunk of rows.
void reduce_columns(ReduceOp op, const float* x, const Plan& plan, double scale, float* y) {
  const VectorKernels& kernels = vector_kernels();
  if (op == ReduceOp::max) return kernels.column_max(x, plan.length, plan.columns, plan.row_stride, y);
  const std::int64_t rows = rows_per_chunk(plan.length, plan.columns);
  if (plan.length <= rows) {
    kernels.column_sum(x, plan.length, plan.columns, plan.row_stride, y);
    for (std::int64_t c = 0; c < plan.columns; ++c) y[c] = static_cast<float>(static_cast<double>(y[c]) * scale);
    return;
  }
  const Workspace totals(static_cast<std::size_t>(plan.columns) * (sizeof(double) + sizeof(float)));
  auto* total = totals.as<double>();
  auto* part = reinterpret_cast<float*>(total + plan.columns);
  std::fill_n(total, plan.columns, 0.0);
  for (std::int64_t r = 0; r < plan.length; r += rows) {
    kernels.column_sum(x + r * plan.row_stride, std::min(rows, plan.length - r), plan.columns, plan.row_stride, part);
    for (std::int64_t c = 0; c < plan.columns; ++c) total[c] += static_cast<double>(part[c]);
  }
  for (std::int64_t c = 0; c < plan.columns; ++c) y[c] = static_cast<float>(total[c] * scale);
}

void run(const ReduceArgs& args, Stream&) {
  const Plan plan(args);
  const double scale = args.op == ReduceOp::mean ? 1 / static_cast<double>(plan.length) : 1;
  const float* x = args.x.as<float>();
  float* y = args.y.as<float>();
  const VectorKernels& kernels = vector_kernels();
  if (plan.outer == 1 && plan.columns == 1) {
    *y = reduce_run(args.op, x, plan.length, scale);
    return;
  }
  if (plan.outer == 1 && plan.row_stride == plan.columns && args.op != ReduceOp::max) {
    column_sums(x, plan.length, plan.columns, y, scale);
    return;
  }
  parallel_for(plan.outer, grain_of(plan.length * plan.columns), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto [from, to] = plan.offsets(i);
      if (plan.row_stride != 0)
        reduce_columns(args.op, x + from, plan, scale, y + to);
      else
        y[to] = args.op == ReduceOp::max ? kernels.max(x + from, plan.length)
                                         : static_cast<float>(kernels.sum(x + from, plan.length) * scale);
    }
  });
}

Support supports(const ArgmaxArgs& args) { return contract_and_f32(args, {&args.x}); }

void run(const ArgmaxArgs& args, Stream&) {
  const std::int64_t length = args.x.shape[args.axis], stride = args.x.strides[args.axis];
  parallel_for(args.y.numel(), grain_of(4 * length), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      std::int64_t offset = 0, rest = i;
      for (int d = args.y.shape.rank() - 1; d >= 0; --d) {
        offset += rest % args.y.shape[d] * args.x.strides[d];
        rest /= args.y.shape[d];
      }
      const float* x = args.x.as<float>() + offset;
      std::int64_t best = 0;
      for (std::int64_t j = 1; j < length && x[best * stride] == x[best * stride]; ++j)
        if (!(x[j * stride] <= x[best * stride])) best = j;
      args.y.as<std::int64_t>()[i] = best;
    }
  });
}

Support supports(const SquaredNormArgs& args) {
  Support support = check_contract(args);
  for (std::int64_t i = 0; support.ok && i < args.count; ++i) support = f32_only({&args.tensors[i]});
  return support;
}

void run(const SquaredNormArgs& args, Stream&) {
  std::int64_t pieces = 0;
  for (std::int64_t i = 0; i < args.count; ++i) pieces += (args.tensors[i].numel() + kPiece - 1) / kPiece;
  const Workspace partial(static_cast<std::size_t>(pieces) * sizeof(double));
  const auto kernel = vector_kernels().sum_of_squares;
  parallel_for(pieces, 1, [&](std::int64_t begin, std::int64_t end) {
    std::int64_t first = 0;  // piece number of the tensor's start
    for (std::int64_t i = 0; i < args.count && first < end; ++i) {
      const std::int64_t n = args.tensors[i].numel(), count = (n + kPiece - 1) / kPiece;
      for (std::int64_t j = std::max(begin, first); j < std::min(end, first + count); ++j) {
        const std::int64_t at = (j - first) * kPiece;
        partial.as<double>()[j] = kernel(args.tensors[i].as<float>() + at, std::min(kPiece, n - at));
      }
      first += count;
    }
  });
  double total = 0;
  for (std::int64_t i = 0; i < pieces; ++i) total += partial.as<double>()[i];
  *args.y.as<double>() = total;
}

}  // namespace

void add_reduce(BackendTable& table) {
  table.row<ReduceArgs>() = {supports, run};
  table.row<ArgmaxArgs>() = {supports, run};
  table.row<SquaredNormArgs>() = {supports, run};
}

}  // namespace graft::kernels::cpu
