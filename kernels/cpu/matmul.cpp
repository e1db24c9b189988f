// Matrix products by oneDNN. Operands stay in the caller's layout: packing them gains less than it costs.

#include <algorithm>

#include <graft/kernels/cpu/common.h>
#include <graft/kernels/cpu/dnnl_compat.h>
#include <graft/kernels/cpu/primitive_cache.h>
#include <graft/kernels/cpu/rows.h>
#include <graft/kernels/cpu/table.h>

namespace graft::kernels::cpu {
namespace {

// Multiply-adds below which waking a second thread costs more than it gains (about 40 microseconds of one core's work).
constexpr std::int64_t kSerialWork = std::int64_t{1} << 21;

struct Matrix {
  std::int64_t batch_stride, row, col;
};

// The two matrix strides as oneDNN accepts them: one is 1, and the stride of a dimension of size 1 is made up. The
// batch dimensions must be equidistant. False where they are not.
bool matrix_of(const TensorRef& t, Matrix& m) {
  const int rank = t.shape.rank();
  const std::int64_t rows = t.shape[rank - 2], cols = t.shape[rank - 1];
  m.row = t.strides[rank - 2];
  m.col = t.strides[rank - 1];
  if (rows == 1 && cols == 1) {
    m.row = m.col = 1;
  } else if (rows == 1) {
    if (m.col == 1)
      m.row = cols;
    else
      m.row = 1;
  } else if (cols == 1) {
    if (m.row == 1)
      m.col = rows;
    else
      m.col = 1;
  }
  if ((m.col != 1 || m.row < cols) && (m.row != 1 || m.col < rows)) return false;
  m.batch_stride = 0;
  std::int64_t expected = 0;
  for (int d = rank - 3; d >= 0; --d) {
    if (t.shape[d] == 1) continue;
    if (expected == 0 && m.batch_stride == 0 && t.strides[d] != 0 && d != rank - 3) {
      // an inner dimension may have been broadcast: then this outer stride is not equidistant
      for (int e = d + 1; e < rank - 2; ++e)
        if (t.shape[e] != 1) return false;
    }
    if (expected == 0) {
      m.batch_stride = t.strides[d];
    } else if (t.strides[d] != expected) {
      return false;
    }
    expected = t.strides[d] * t.shape[d];
    if (t.strides[d] == 0) expected = 0;
  }
  return true;
}

// False where the strides are none that oneDNN takes.
bool spec_of(const MatmulArgs& args, MatmulSpec& spec) {
  Matrix a{}, b{};
  if (!matrix_of(args.a, a) || !matrix_of(args.b, b)) return false;
  const int rank = args.y.shape.rank();
  spec = {};
  spec.m = args.y.shape[rank - 2];
  spec.n = args.y.shape[rank - 1];
  spec.k = args.a.shape[rank - 1];
  spec.batch = 1;
  for (int d = 0; d < rank - 2; ++d) spec.batch *= args.y.shape[d];
  if (spec.batch > 1 && b.batch_stride == 0 && a.col == 1 && a.batch_stride == spec.m * a.row) {
    spec.m *= spec.batch;  // one matrix for all: the batch is more rows
    spec.batch = 1;
  }
  spec.a_row = a.row;
  spec.a_col = a.col;
  spec.b_row = b.row;
  spec.b_col = b.col;
  spec.y_row = spec.n;
  if (spec.batch > 1) {
    spec.a_batch = a.batch_stride;
    spec.b_batch = b.batch_stride;
  }
  spec.bias = args.bias.defined();
  spec.dtype = static_cast<std::int64_t>(args.y.dtype);
  spec.threads = spec.batch * spec.m * spec.n * spec.k < kSerialWork ? 1 : planned_threads();
  return true;
}

Primitive* primitive(const MatmulSpec& spec) {
  thread_local PrimitiveCache<MatmulSpec>* mine = nullptr;
  return primitives_of_thread(mine).get(spec, make_matmul);
}

// A piece of a product that one thread computes: some rows or columns of one matrix of the batch.
MatmulSpec piece_spec(MatmulSpec spec, std::int64_t rows, std::int64_t columns) {
  spec.batch = 1;
  spec.a_batch = spec.b_batch = 0;
  spec.m = rows;
  spec.n = columns;
  spec.threads = 1;
  return spec;
}

// The product in pieces that the sizes alone decide, each with its whole sum over k on one thread.
void run_in_pieces(const MatmulArgs& args, const MatmulSpec& spec) {
  constexpr std::int64_t kPieces = 8, kLeast = 16;  // pieces of a matrix at most; rows or columns of one at least
  const bool by_rows = spec.m >= spec.n || spec.m >= kPieces * kLeast;
  const std::int64_t length = by_rows ? spec.m : spec.n;
  const std::int64_t size = std::max(kLeast, (length + kPieces - 1) / kPieces), pieces = (length + size - 1) / size;
  const auto element = static_cast<std::int64_t>(size_of(args.y.dtype));
  parallel_for(spec.batch * pieces, 1, [&](std::int64_t begin, std::int64_t end) {
    const auto at = [&](const void* data, std::int64_t offset) {
      return const_cast<char*>(static_cast<const char*>(data)) + offset * element;
    };
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t matrix = i / pieces, first = i % pieces * size, count = std::min(size, length - first);
      const std::int64_t row = by_rows ? first : 0, column = by_rows ? 0 : first;
      Primitive* piece = primitive(piece_spec(spec, by_rows ? count : spec.m, by_rows ? spec.n : count));
      check(piece != nullptr, "matmul: oneDNN has a product for ", spec.m, " x ", spec.n,
            " and none for a piece of it");
      piece->run(at(args.a.data, matrix * spec.a_batch + row * spec.a_row),
                 at(args.b.data, matrix * spec.b_batch + column * spec.b_col),
                 spec.bias ? at(args.bias.data, column) : nullptr,
                 at(args.y.data, matrix * spec.m * spec.n + row * spec.y_row + column), 0);
    }
  });
}

// The sums of a's rows are a reduction of their own: nothing is gained by doing them beside the product.
ReduceArgs sums_of_a(const MatmulArgs& args) {
  TensorRef sums = args.a_sums;
  sums.shape = {args.a.shape[0], 1};
  sums.strides = {1, 1};
  return {ReduceOp::sum, args.a, sums};
}

Support supports(const MatmulArgs& args) {
  Support support = check_contract(args);
  if (!support.ok) return support;
  if (args.a_sums.defined())
    if (Support sums = table().row<ReduceArgs>().supports(sums_of_a(args)); !sums.ok) return sums;
  if (args.y.dtype == DType::f64 || args.y.dtype == DType::f16)
    return Support::no(cat("runs f32 and bf16, got ", to_string(args.y)));
  if (onednn_has_ended()) return Support::no(kEnded);
  if (args.y.numel() == 0 || args.a.numel() == 0) return Support::no("leaves empty matrices to the reference backend");
  MatmulSpec spec;
  if (!spec_of(args, spec))
    return Support::no(cat("takes batches at equal distances and no overlapping rows, got a with strides ",
                           to_string(args.a.strides), " and b with ", to_string(args.b.strides)));
  if (primitive(spec) == nullptr)
    return Support::no(cat("oneDNN has no fast matmul for a ", to_string(args.a), " and b ", to_string(args.b)));
  return support;
}

void run(const MatmulArgs& args, Stream& stream) {
  MatmulSpec spec;
  check(spec_of(args, spec), "matmul: run without a yes of supports");
  Primitive* whole = primitive(spec);
  // Besides those whose sums the implementation always cuts by the number of threads, oneDNN may cut those with a
  // transposed (a weight's gradient). Pieces cost nothing there; with b transposed they would pack b again each.
  const bool packs_b = spec.a_col == 1 && spec.b_col != 1;
  if (spec.batch * spec.m * spec.n * spec.k >= kSerialWork && (!packs_b || whole->bits_depend_on_threads()))
    run_in_pieces(args, spec);
  else
    whole->run(args.a.data, args.b.data, args.bias.data, args.y.data, args.b_tag);
  if (args.activation == Activation::relu) relu_in_place(args.y);
  if (args.a_sums.defined()) table().row<ReduceArgs>().run(sums_of_a(args), stream);
}

}  // namespace

void add_matmul(BackendTable& table) { table.row<MatmulArgs>() = {supports, run}; }

}  // namespace graft::kernels::cpu
