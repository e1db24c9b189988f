// Ops on tensors without recording: check, allocate, dispatch. What the recorded ops and their backward passes are made
// of.
#pragma once

#include <graft/core/stream.h>
#include <graft/core/tensor.h>
#include <graft/kernels/api/chain.h>
#include <graft/kernels/api/elementwise.h>
#include <graft/kernels/api/reduce.h>
#include <graft/kernels/registry/registry.h>

namespace graft::raw {

/// Runs a kernel on the device of `where`.
template <class Args>
void run(const Args& args, const Tensor& where) {
  kernels::run(args, current_stream(where.device()));
}

void fill(Tensor& y, double value);
/// y = x, converting dtype and layout; shapes equal.
void copy_into(Tensor& y, const Tensor& x);
/// y += alpha x; shapes and dtypes equal.
void axpy(Tensor& y, const Tensor& x, double alpha);
Tensor unary(kernels::UnaryOp op, const Tensor& x);
Tensor unary_backward(kernels::UnaryOp op, const Tensor& saved, const Tensor& gy);
/// Broadcasts. Throws Error naming the op for different dtypes, devices or shapes that do not broadcast.
Tensor binary(kernels::BinaryOp op, const Tensor& a, const Tensor& b);
Tensor binary_scalar(kernels::BinaryOp op, const Tensor& x, double scalar, bool reversed = false);
/// The steps over x, one after the other in one pass; their tensors have x's shape. The result is like x.
Tensor chain(const Tensor& x, const kernels::ChainSteps& steps);
void binary_scalar_into(kernels::BinaryOp op, const Tensor& x, double scalar, Tensor& y);
/// Over the dimensions of `axes` (bit i: dimension i), kept with size 1.
Tensor reduce(kernels::ReduceOp op, const Tensor& x, unsigned axes);
/// A copy with the given dtype in the same layout (row-major when x is not dense).
Tensor cast(const Tensor& x, DType dtype);
/// A copy on another device in the same layout (row-major when x is not dense). To the CPU it waits for x's device.
Tensor transfer(const Tensor& x, Device device);
/// x itself, or a copy that lies so.
Tensor with_format(const Tensor& x, MemoryFormat format);

/// A view with strides of 0 where x broadcasts to `shape`. Throws Error naming the op when it does not.
Tensor expand(const Tensor& x, const Shape& shape, const char* op);
Shape broadcast(const Shape& a, const Shape& b, const char* op);
/// The reverse of a broadcast: sums g down to `shape`.
Tensor sum_to(const Tensor& g, const Shape& shape);
/// A view without dimension `dim`s of size 1 marked in `axes`.
Tensor drop(const Tensor& x, unsigned axes);
/// The same elements under another shape: a view where the strides allow it, else a row-major copy.
Tensor reshape(const Tensor& x, const Shape& shape);

/// dim, counted from the end when negative. Throws Error naming the op when out of range.
int dimension(int dim, int rank, const char* op);
void check_same_device(const char* op, const Tensor& a, const Tensor& b);
void check_floating(const char* op, const char* argument, const Tensor& t);
/// What a packed copy of this weight may be kept under: its contents and how they lie. 0 for a part of a storage.
std::uint64_t weight_tag(const Tensor& weight);

}  // namespace graft::raw
