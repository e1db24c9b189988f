#include <graft/kernels/vendor/descriptors.h>

#include <graft/kernels/runtime/cuda.h>

namespace graft::kernels::vendor {

cudnnDataType_t data_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return CUDNN_DATA_FLOAT;
    case DType::bf16:
      return CUDNN_DATA_BFLOAT16;
    case DType::f16:
      return CUDNN_DATA_HALF;
    default:
      fail("the vendor's libraries are asked for ", name(dtype), ", which this backend refuses");
  }
}

TensorDescriptor::TensorDescriptor(DType dtype, const Shape& sizes, const Shape& strides) {
  GRAFT_VENDOR(cudnnCreateTensorDescriptor, &descriptor_);
  const auto size = [&](int i) { return static_cast<int>(sizes[i]); };
  const auto stride = [&](int i) { return static_cast<int>(strides[i]); };
  try {
    GRAFT_VENDOR(cudnnSetTensor4dDescriptorEx, descriptor_, data_type(dtype), size(0), size(1), size(2), size(3),
                 stride(0), stride(1), stride(2), stride(3));
  } catch (const Error&) {
    libraries().cudnnDestroyTensorDescriptor(descriptor_);
    throw;
  }
}

TensorDescriptor TensorDescriptor::picture(const TensorRef& t) {
  return {t.dtype, t.shape, channels_last_strides(t.shape)};
}

TensorDescriptor TensorDescriptor::packed(DType dtype, const Shape& sizes) {
  return {dtype, sizes, contiguous_strides(sizes)};
}

void relu_in_place(const TensorRef& t, Context& context) {
  struct Activation {
    cudnnActivationDescriptor_t descriptor = nullptr;
    Activation() {
      GRAFT_VENDOR(cudnnCreateActivationDescriptor, &descriptor);
      GRAFT_VENDOR(cudnnSetActivationDescriptor, descriptor, CUDNN_ACTIVATION_RELU, CUDNN_PROPAGATE_NAN, 0.0);
    }
  };
  static const Activation relu;  // for all threads and devices, as long as the process
  const TensorDescriptor all = TensorDescriptor::packed(t.dtype, {1, 1, 1, t.numel()});
  GRAFT_VENDOR(cudnnActivationForward, context.dnn, relu.descriptor, &kOne, all, t.data, &kZero, all, t.data);
}

void fill_rows(const TensorRef& row, const TensorRef& y, Context& context) {
  // As plain matrices: cuDNN adds a bias to pictures that are described as channels-last far more slowly.
  const std::int64_t n = row.numel();
  const TensorDescriptor one = TensorDescriptor::packed(row.dtype, {1, 1, 1, n});
  const TensorDescriptor all = TensorDescriptor::packed(y.dtype, {y.numel() / n, 1, 1, n});
  GRAFT_VENDOR(cudnnAddTensor, context.dnn, &kOne, one, row.data, &kZero, all, y.data);
}

void clear(const TensorRef& t, const Stream& stream) {
  runtime::set_bytes(t.data, 0, static_cast<std::size_t>(t.numel()) * size_of(t.dtype), stream);
}

}  // namespace graft::kernels::vendor
