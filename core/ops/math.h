// Element-wise maps, broadcasting arithmetic and reductions. Shapes broadcast as NumPy's; dtypes must match (no hidden
// casts).
#pragma once

#include <graft/core/tensor.h>
#include <graft/kernels/api/export.h>

namespace graft {

GRAFT_API Tensor neg(const Tensor& x);
GRAFT_API Tensor abs(const Tensor& x);
GRAFT_API Tensor exp(const Tensor& x);
GRAFT_API Tensor log(const Tensor& x);
GRAFT_API Tensor sqrt(const Tensor& x);
GRAFT_API Tensor square(const Tensor& x);
GRAFT_API Tensor reciprocal(const Tensor& x);

GRAFT_API Tensor relu(const Tensor& x);
GRAFT_API Tensor relu6(const Tensor& x);
enum class GeluKind : std::uint8_t { exact, tanh };
GRAFT_API Tensor gelu(const Tensor& x, GeluKind kind = GeluKind::exact);
GRAFT_API Tensor sigmoid(const Tensor& x);
GRAFT_API Tensor tanh(const Tensor& x);
GRAFT_API Tensor hardswish(const Tensor& x);
GRAFT_API Tensor silu(const Tensor& x);

GRAFT_API Tensor add(const Tensor& a, const Tensor& b);
GRAFT_API Tensor sub(const Tensor& a, const Tensor& b);
GRAFT_API Tensor mul(const Tensor& a, const Tensor& b);
GRAFT_API Tensor div(const Tensor& a, const Tensor& b);
GRAFT_API Tensor add(const Tensor& a, double b);
GRAFT_API Tensor sub(const Tensor& a, double b);
GRAFT_API Tensor sub(double a, const Tensor& b);
GRAFT_API Tensor mul(const Tensor& a, double b);
GRAFT_API Tensor div(const Tensor& a, double b);
GRAFT_API Tensor div(double a, const Tensor& b);

inline Tensor operator+(const Tensor& a, const Tensor& b) { return add(a, b); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return sub(a, b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return mul(a, b); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return div(a, b); }
inline Tensor operator+(const Tensor& a, double b) { return add(a, b); }
inline Tensor operator+(double a, const Tensor& b) { return add(b, a); }
inline Tensor operator-(const Tensor& a, double b) { return sub(a, b); }
inline Tensor operator-(double a, const Tensor& b) { return sub(a, b); }
inline Tensor operator*(const Tensor& a, double b) { return mul(a, b); }
inline Tensor operator*(double a, const Tensor& b) { return mul(b, a); }
inline Tensor operator/(const Tensor& a, double b) { return div(a, b); }
inline Tensor operator/(double a, const Tensor& b) { return div(a, b); }
inline Tensor operator-(const Tensor& a) { return neg(a); }

/// Comparisons give bool tensors and no gradient.
GRAFT_API Tensor eq(const Tensor& a, const Tensor& b);
GRAFT_API Tensor lt(const Tensor& a, const Tensor& b);
GRAFT_API Tensor gt(const Tensor& a, const Tensor& b);
GRAFT_API Tensor eq(const Tensor& a, double b);
GRAFT_API Tensor lt(const Tensor& a, double b);
GRAFT_API Tensor gt(const Tensor& a, double b);

/// Over all elements (a scalar), or over `dims` (negative count from the end), kept with size 1 if `keepdim`.
GRAFT_API Tensor sum(const Tensor& x);
GRAFT_API Tensor mean(const Tensor& x);
GRAFT_API Tensor sum(const Tensor& x, const std::vector<int>& dims, bool keepdim = false);
GRAFT_API Tensor mean(const Tensor& x, const std::vector<int>& dims, bool keepdim = false);
/// The maximum along one dimension; the gradient goes to the first of equal maxima. Throws Error over an empty
/// dimension.
GRAFT_API Tensor max(const Tensor& x, int dim, bool keepdim = false);
/// Position of the maximum, i64; the first of equal ones; no gradient.
GRAFT_API Tensor argmax(const Tensor& x, int dim, bool keepdim = false);

}  // namespace graft
