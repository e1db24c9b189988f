// Matrix products by cuBLASLt. Batch dimensions that cannot be told as one stride are gone over here. ReLU is a step of
// its own, by cuDNN, as cuBLASLt's epilogue does not promise that NaN stays NaN; unless the fastest is asked for.
#include <optional>
#include <span>

#include <graft/kernels/runtime/cuda_check.h>
#include <graft/kernels/vendor/descriptors.h>
#include <graft/kernels/vendor/matmul_plan.h>
#include <graft/kernels/vendor/rows.h>
#include <graft/kernels/vendor/tuning.h>

namespace graft::kernels::vendor {
namespace {

// How the last two dimensions lie, or nothing when rows overlap (their stride is less than their length).
std::optional<Stored> stored(const TensorRef& t) {
  const int rank = t.shape.rank();
  const std::int64_t rows = t.shape[rank - 2], columns = t.shape[rank - 1];
  const std::int64_t row_stride = t.strides[rank - 2], column_stride = t.strides[rank - 1];
  if (columns == 1 || column_stride == 1) {
    const std::int64_t leading = rows == 1 ? columns : row_stride;
    if (leading >= columns) return Stored{leading, false};
  }
  if (rows == 1 || row_stride == 1) {
    const std::int64_t leading = columns == 1 ? rows : column_stride;
    if (leading >= rows) return Stored{leading, true};
  }
  return std::nullopt;
}

Support limits(const MatmulArgs& args) {
  if (Support support = check_sizes(args.y); !support.ok) return support;
  if (args.a_sums.defined()) return Support::no("a_sums is defined: only our own kernels sum a's rows beside a product");
  if (args.y.numel() == 0 || args.a.numel() == 0) return Support::yes();
  for (const auto& [name, t] : {std::pair{"a", &args.a}, std::pair{"b", &args.b}})
    if (!stored(*t))
      return Support::no(cat(name, " is ", *t, " with strides ", t->strides,
                             ": its rows overlap, and cuBLASLt expects them to lie apart"));
  return Support::yes();
}

/// One batch dimension: its size and the operands' strides.
struct Batch {
  std::int64_t size = 1, a = 0, b = 0, y = 0;
};

// The batch dimensions, with neighbours that have a common stride as one. y is contiguous.
std::vector<Batch> batches(const MatmulArgs& args) {
  std::vector<Batch> all;
  for (int i = 0; i + 2 < args.y.shape.rank(); ++i) {
    const Batch next{args.y.shape[i], args.a.strides[i], args.b.strides[i], args.y.strides[i]};
    if (next.size == 1) continue;
    if (!all.empty() && all.back().a == next.a * next.size && all.back().b == next.b * next.size)
      all.back() = {all.back().size * next.size, next.a, next.b, next.y};
    else
      all.push_back(next);
  }
  return all;
}

// What the operand's address is a multiple of in every product, up to the 256 bytes that cuBLASLt knows.
std::int64_t alignment(const TensorRef& t, std::span<const Batch> outer, std::int64_t Batch::*stride) {
  auto bits = reinterpret_cast<std::uintptr_t>(t.data) | 256;
  for (const Batch& batch : outer) bits |= static_cast<std::uintptr_t>(batch.*stride) * size_of(t.dtype);
  return static_cast<std::int64_t>(bits & (~bits + 1));
}

void multiply(const MatmulArgs& args, bool relu, Context& context, const Stream& stream) {
  std::vector<Batch> outer = batches(args);
  Batch inner;
  if (!outer.empty()) {
    inner = outer.back();
    outer.pop_back();
  }
  const int rank = args.y.shape.rank();
  MatmulSpec spec;
  spec.dtype = args.y.dtype;
  spec.batch = inner.size;
  spec.m = args.y.shape[rank - 2];
  spec.n = args.y.shape[rank - 1];
  spec.k = args.a.shape[rank - 1];
  spec.a = *stored(args.a);
  spec.b = *stored(args.b);
  spec.a_batch = inner.a;
  spec.b_batch = inner.b;
  spec.y_batch = inner.y;
  spec.a_alignment = alignment(args.a, outer, &Batch::a);
  spec.b_alignment = alignment(args.b, outer, &Batch::b);
  spec.y_alignment = alignment(args.y, outer, &Batch::y);
  if (args.bias.defined()) spec.bias_alignment = alignment(args.bias, {}, &Batch::y);
  spec.relu = relu;
  const void* bias = args.bias.defined() ? args.bias.data : nullptr;

  const MatmulPlan& plan = context.matmuls.get(spec.key(), !runtime::is_capturing(stream), [&](bool tune) {
    auto made = std::make_unique<MatmulPlan>(spec, bias);
    const auto candidates = made->candidates(context, tune ? kCandidates : 1);
    std::size_t best = 0;
    if (tune && candidates.size() > 1)
      best = fastest(candidates.size(), stream, [&](std::size_t i) {
        made->choose(candidates[i]);
        const Workspace workspace(made->workspace_bytes(), stream);
        made->run(context, args.a.data, args.b.data, bias, args.y.data, workspace.data(), stream);
      });
    made->choose(candidates[best]);
    return made;
  });

  const Workspace workspace(plan.workspace_bytes(), stream);
  const std::size_t element = size_of(args.y.dtype);
  std::vector<std::int64_t> at(outer.size(), 0);
  for (;;) {
    std::int64_t a = 0, b = 0, y = 0;
    for (std::size_t i = 0; i < outer.size(); ++i) {
      a += at[i] * outer[i].a;
      b += at[i] * outer[i].b;
      y += at[i] * outer[i].y;
    }
    const auto offset = [&](const TensorRef& t, std::int64_t elements) {
      return t.as<std::byte>() + static_cast<std::size_t>(elements) * element;
    };
    plan.run(context, offset(args.a, a), offset(args.b, b), bias, offset(args.y, y), workspace.data(), stream);
    std::size_t next = 0;
    while (next < outer.size() && ++at[next] == outer[next].size) at[next++] = 0;
    if (next == outer.size()) return;
  }
}

void matmul(const MatmulArgs& args, Context& context, const Stream& stream) {
  if (args.y.numel() == 0) return;
  const bool relu = args.activation == Activation::relu;
  const bool fused = relu && args.bias.defined() && args.a.numel() > 0 && engines() == graft::vendor::Engines::fastest;
  if (args.a.numel() > 0)
    multiply(args, fused, context, stream);
  else if (args.bias.defined())  // K = 0
    fill_rows(args.bias, args.y, context);
  else
    clear(args.y, stream);
  if (relu && !fused) relu_in_place(args.y, context);
}

}  // namespace

void add_matmul(BackendTable& table) { add<MatmulArgs, limits, matmul>(table); }

}  // namespace graft::kernels::vendor
