// cuDNN's descriptors as values, and the small steps that several rows share. Internal.
#pragma once

#include <graft/kernels/api/tensor_ref.h>
#include <graft/kernels/vendor/context.h>

namespace graft::kernels::vendor {

cudnnDataType_t data_type(DType dtype);

/// Sizes and strides of four dimensions, (N, C, H, W) in cuDNN's order.
class TensorDescriptor {
 public:
  TensorDescriptor(DType dtype, const Shape& sizes, const Shape& strides);
  ~TensorDescriptor() { libraries().cudnnDestroyTensorDescriptor(descriptor_); }
  TensorDescriptor(const TensorDescriptor&) = delete;
  TensorDescriptor& operator=(const TensorDescriptor&) = delete;

  /// A channels-last picture. (Strides follow from the shape: those of sizes of 1 may be anything in a TensorRef.)
  static TensorDescriptor picture(const TensorRef& t);
  /// Row-major.
  static TensorDescriptor packed(DType dtype, const Shape& sizes);

  operator cudnnTensorDescriptor_t() const { return descriptor_; }

 private:
  cudnnTensorDescriptor_t descriptor_ = nullptr;
};

/// The factors of cuDNN's "alpha result + beta destination": floats for all dtypes served here.
inline constexpr float kOne = 1, kZero = 0;

/// t = max(t, 0), NaN stays NaN. t is dense.
void relu_in_place(const TensorRef& t, Context& context);

/// Every row of y (dense, rows of row.numel() elements) becomes `row`.
void fill_rows(const TensorRef& row, const TensorRef& y, Context& context);

/// All bytes 0.
void clear(const TensorRef& t, const Stream& stream);

}  // namespace graft::kernels::vendor
