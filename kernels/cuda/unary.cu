// y = op(x), and gx = gy op'(saved).
#include <graft/kernels/cuda/rows.h>
#include <graft/kernels/cuda/elementwise.cuh>
#include <graft/kernels/cuda/unary.cuh>

namespace graft::kernels::cuda {
namespace {

/// Integers wrap around: computed without sign.
template <>
struct Unary<std::uint64_t> {
  UnaryOp op;

  template <class Body>
  GRAFT_DEVICE void select(const Body& body) const {
    switch (op) {
      case UnaryOp::neg:
        return body([](std::int64_t x) { return 0 - static_cast<std::uint64_t>(x); });
      case UnaryOp::abs:
        return body(
            [](std::int64_t x) { return x < 0 ? 0 - static_cast<std::uint64_t>(x) : static_cast<std::uint64_t>(x); });
      default:
        return body([](std::int64_t x) { return static_cast<std::uint64_t>(x) * static_cast<std::uint64_t>(x); });
    }
  }
};

void run_unary(const UnaryArgs& args, Stream& stream) {
  if (args.x.dtype == DType::i64)
    return elementwise(stream, "unary", Unary<std::uint64_t>{args.op},
                       Elements<std::int64_t, std::int64_t>{args.y, {args.x}});
  if (args.x.dtype == DType::i32)
    return elementwise(stream, "unary", Unary<std::uint64_t>{args.op},
                       Elements<std::int32_t, std::int32_t>{args.y, {args.x}});
  visit_floating(args.x.dtype, [&]<class T>(T) {
    elementwise(stream, "unary", Unary<Compute<T>>{args.op}, Elements<T, T>{args.y, {args.x}});
  });
}

void run_unary_backward(const UnaryBackwardArgs& args, Stream& stream) {
  visit_floating(args.saved.dtype, [&]<class T>(T) {
    elementwise(stream, "unary_backward", UnaryBackward<Compute<T>>{args.op},
                Elements<T, T, T>{args.gx, {args.saved, args.gy}});
  });
}

}  // namespace

void add_unary(BackendTable& table) {
  table.row<UnaryArgs>() = row(run_unary);
  table.row<UnaryBackwardArgs>() = row(run_unary_backward);
}

}  // namespace graft::kernels::cuda
