// oneDNN behind one door: whatever differs between 2.x and 3.x is in dnnl_compat.cpp; the rest of the backend sees a
// prepared primitive that runs on pointers.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include <graft/kernels/api/dtype.h>

namespace graft::kernels::cpu {

/// One convolution's sizes. Plain int64 fields, so that it is its own hash key.
struct ConvSpec {
  std::int64_t n, c, h, w;     // input
  std::int64_t k, r, s, p, q;  // output channels, kernel, output
  std::int64_t stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups;
  std::int64_t bias, dtype;
  std::int64_t threads;  // oneDNN plans for a thread count

  friend bool operator==(const ConvSpec&, const ConvSpec&) = default;
};

/// y = a @ b + bias; the rows of y are y_row elements apart. A batch stride of 0 tells a broadcast operand.
struct MatmulSpec {
  std::int64_t batch, m, n, k;
  std::int64_t a_batch, a_row, a_col, b_batch, b_row, b_col, y_row;  // strides
  std::int64_t bias, dtype, threads;

  friend bool operator==(const MatmulSpec&, const MatmulSpec&) = default;
};

/// The threads that a primitive made now may use: num_threads(), but one within a parallel loop.
int planned_threads();

/// No more oneDNN from now on: the program is ending, and the objects that oneDNN keeps in static storage (kernels of
/// its matrix products, its cache of primitives) are being destroyed. Says so on stderr, once.
bool onednn_has_ended();
inline constexpr const char* kEnded = "needs oneDNN, which has ended with the program";

/// A oneDNN primitive with its memory objects. Operands are told by pointer at each call; the weight operand has the
/// caller's plain layout and is repacked into the layout that oneDNN chose, where that differs. Not thread-safe: one
/// per thread.
class Primitive {
 public:
  virtual ~Primitive() = default;

  /// `weights_tag`: identity and version of the weights' contents; a packed copy of the same tag is used again. 0:
  /// none.
  virtual void run(const void* src, const void* weights, const void* bias, void* dst, std::uint64_t weights_tag) = 0;

  /// oneDNN's name of the implementation ("brgconv:avx512_core", "ref:any").
  virtual const char* implementation() const = 0;
  /// Whether it is made of oneDNN's plain matrix products, which cut their sums by the number of threads: the last bits
  /// of a result change with it. Such a primitive is for one thread.
  virtual bool bits_depend_on_threads() const = 0;
  /// How often weights have been packed.
  virtual std::uint64_t packs() const = 0;
};

/// ReLU is no part of them: oneDNN's makes 0 of NaN.
/// Each returns nullptr where oneDNN has only its slow reference implementation, or none, for the spec.
std::unique_ptr<Primitive> make_conv_forward(const ConvSpec& spec);
/// src: gy, dst: gx.
std::unique_ptr<Primitive> make_conv_backward_data(const ConvSpec& spec);
/// src: x, weights: gy, bias: unused, dst: gw in the caller's plain layout. The bias gradient is not oneDNN's.
std::unique_ptr<Primitive> make_conv_backward_weight(const ConvSpec& spec);
/// src: a, weights: b, dst: y.
std::unique_ptr<Primitive> make_matmul(const MatmulSpec& spec);

}  // namespace graft::kernels::cpu
