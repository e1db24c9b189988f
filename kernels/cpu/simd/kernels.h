// The vector kernels: one table of plain functions an instruction set, chosen once at run time.
//
// The functions are serial and work on the range they are given; the callers cut ranges and run them in parallel. This
// header is included by files compiled for AVX2 and AVX-512, so it must define nothing that the linker could merge with
// the copy of another file: types and pointers only.
#pragma once

#include <stdint.h>

namespace graft::kernels::cpu {

/// A matrix of rows whose elements lie `row` and `col` elements apart.
struct Step {
  int64_t row, col;
};

/// Shape of one pooling call: NHWC sizes and the window.
struct PoolShape {
  int64_t n, h, w, c, p, q;
  int64_t kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w;
  int32_t relu, count_include_pad;
  int32_t wide_index;  // places in a window are kept as int32_t, else as uint8_t
};

struct AdamStep {
  float beta1, one_minus_beta1, beta2, one_minus_beta2, eps, grad_scale;
  float decay;        // added to the gradient as decay * p
  float keep;         // p is multiplied by it first (decoupled decay)
  float step_size;    // multiplier lr / (1 - beta1^t)
  float inv_sqrt_c2;  // 1 / sqrt(1 - beta2^t)
};

struct SgdStep {
  float grad_scale, decay, momentum, one_minus_dampening, step_size;
  int32_t first, nesterov;
};

/// One step of a chain. The numbers are the enumerators of ChainStep::Kind, UnaryOp or BinaryOp, and ChainReads.
struct ChainOp {
  int32_t kind, op, reversed, reads;
  float scalar;
  const float* tensor;  // null where it is not read
  Step step;
  float* gradient;  // of the tensor, or null; only in the backward
};

/// The backward of a chain (kernels/api/chain.h has the plan). Null: not read, or not wanted. The tensors' gradients
/// lie as gx does.
struct ChainGrad {
  const ChainOp* ops;
  int32_t count, forward, lowest;
  const float *x, *y, *gy;
  float* gx;
  Step x_step, y_step, gy_step, gx_step;
};

struct VectorKernels {
  const char* name;

  // Elementwise; `op` is the enumerator of UnaryOp or BinaryOp.
  void (*unary)(int op, const float* x, Step sx, float* y, Step sy, int64_t rows, int64_t cols);
  void (*unary_backward)(int op, const float* saved, Step ss, const float* gy, Step sg, float* gx, Step sx,
                         int64_t rows, int64_t cols);
  void (*binary)(int op, const float* a, Step sa, const float* b, Step sb, float* y, Step sy, int64_t rows,
                 int64_t cols);
  void (*compare)(int op, const float* a, Step sa, const float* b, Step sb, uint8_t* y, Step sy, int64_t rows,
                  int64_t cols);
  void (*axpy)(float alpha, const float* x, float* y, int64_t n);
  void (*chain)(const ChainOp* ops, int count, const float* x, Step sx, float* y, Step sy, int64_t rows, int64_t cols);
  void (*chain_grad)(const ChainGrad& c, int64_t rows, int64_t cols);

  // Sums. The order within a call depends on n only.
  double (*sum)(const float* x, int64_t n);
  double (*sum_of_squares)(const float* x, int64_t n);
  float (*max)(const float* x, int64_t n);  // NaN wins
  void (*column_sum)(const float* x, int64_t rows, int64_t cols, int64_t row_stride, float* sum);
  void (*column_max)(const float* x, int64_t rows, int64_t cols, int64_t row_stride, float* max);

  // Batch normalisation on (rows, c). Statistics of a chunk of rows: mean and sum of squared deviations.
  void (*column_moments)(const float* x, int64_t rows, int64_t c, float* mean, float* m2);
  void (*column_affine)(const float* x, int64_t rows, int64_t c, const float* center, const float* scale,
                        const float* shift, float* y);
  /// sum gy and sum gy (x - mean) of a chunk.
  void (*column_grad_sums)(const float* x, const float* gy, int64_t rows, int64_t c, const float* mean, float* sum_gy,
                           float* sum_gyx);
  /// gx = a (gy - b) + d (x - mean); d null: gx = a gy.
  void (*column_grad)(const float* x, const float* gy, int64_t rows, int64_t c, const float* mean, const float* a,
                      const float* b, const float* d, float* gx);

  // Layer normalisation, rows of n. gamma and beta may be null.
  void (*layer_norm)(const float* x, const float* gamma, const float* beta, float eps, int64_t rows, int64_t n,
                     float* y, float* mean, float* inv_std);
  void (*layer_norm_grad)(const float* x, const float* gy, const float* gamma, const float* mean, const float* inv_std,
                          int64_t rows, int64_t n, float* gx);
  /// ggamma and gbeta of a chunk of rows (either may be null).
  void (*layer_norm_grad_params)(const float* x, const float* gy, const float* mean, const float* inv_std, int64_t rows,
                                 int64_t n, float* ggamma, float* gbeta);

  // Softmax and cross-entropy, rows of n.
  void (*softmax)(const float* x, int64_t rows, int64_t n, bool log, float* y);
  void (*softmax_grad)(const float* y, const float* gy, int64_t rows, int64_t n, bool log, float* gx);
  /// log(sum exp(x - max)).
  float (*log_sum)(const float* x, float max, int64_t n);
  /// sum_c w[c] (x[c] - max), w null: 1.
  double (*weighted_sum)(const float* w, const float* x, float max, int64_t n);
  /// gx = a exp((x - max) - log_sum) - b w with w null: 1; the caller adds the target's own term.
  void (*cross_entropy_grad)(const float* x, const float* w, int64_t n, float max, float log_sum, float a, float b,
                             float* gx);

  // Pooling, NHWC. Output rows [begin, end) of n * p; the backward works on whole images [begin, end).
  void (*max_pool)(const PoolShape& s, const float* x, float* y, void* index, int64_t begin, int64_t end);
  void (*max_pool_grad)(const PoolShape& s, const float* gy, const void* index, const float* y, float* gx,
                        int64_t begin, int64_t end);
  void (*avg_pool)(const PoolShape& s, const float* x, float* y, int64_t begin, int64_t end);
  void (*avg_pool_grad)(const PoolShape& s, const float* gy, float* gx, int64_t begin, int64_t end);
  void (*adaptive_avg_pool)(const PoolShape& s, const float* x, float* y, int64_t begin, int64_t end);
  void (*adaptive_avg_pool_grad)(const PoolShape& s, const float* gy, float* gx, int64_t begin, int64_t end);

  // Optimisers on n elements; mask null: all.
  void (*sgd)(const SgdStep& s, float* p, const float* g, float* buffer, const uint8_t* mask, int64_t n);
  void (*adam)(const AdamStep& s, float* p, const float* g, float* m, float* v, const uint8_t* mask, int64_t n);

  /// y[i] = x[i] * scale where the uniform word of element `first + i` is at least `threshold` (of 2^24), else 0.
  /// `first` is a multiple of 4.
  void (*dropout)(uint64_t seed, uint64_t offset, uint64_t first, uint32_t threshold, double keep, const float* x,
                  float* y, int64_t n);
};

/// The kernels for this processor, or those that GRAFT_CPU_ISA names (baseline, avx2, avx512). Throws graft::Error when
/// that names none, or one that the processor lacks.
const VectorKernels& vector_kernels();

namespace baseline {
extern const VectorKernels kernels;
}
namespace avx2 {
extern const VectorKernels kernels;
}
namespace avx512 {
extern const VectorKernels kernels;
}

}  // namespace graft::kernels::cpu
