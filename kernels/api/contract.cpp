#include <graft/kernels/api/contract.h>

namespace graft::kernels {

Contract& Contract::input(const char* name, const TensorRef& t) {
  return require(t.defined(), name, " is undefined")
      .require(t.strides.rank() == t.shape.rank(), name, " is ", t, ": expected as many strides as sizes, got ",
               t.strides)
      .require(t.data != nullptr || t.numel() == 0, name, " is ", t, ": has no memory (null pointer)");
}

Contract& Contract::output(const char* name, const TensorRef& t) {
  input(name, t);
  if (t.numel() > 1)
    for (int i = 0; i < t.shape.rank(); ++i)
      require(t.shape[i] == 1 || t.strides[i] != 0, name, " is ", t, " with strides ", t.strides,
              ": an output must not overlap itself (dimension ", i, " has stride 0)");
  return *this;
}

Contract& Contract::floating(const char* name, const TensorRef& t) {
  return require(is_floating(t.dtype), name, " is ", t, ": expected a floating dtype (f32, f64, bf16, f16)");
}

Contract& Contract::dtype(const char* name, const TensorRef& t, DType expected) {
  return require(t.dtype == expected, name, " is ", t, ": expected dtype ", expected);
}

Contract& Contract::same_dtype(const char* name, const TensorRef& t, const char* other_name, const TensorRef& other) {
  return require(t.dtype == other.dtype, name, " is ", t, ": expected dtype ", other.dtype, ", that of ", other_name);
}

Contract& Contract::wide_dtype(const char* name, const TensorRef& t, const char* other_name, const TensorRef& other) {
  const DType expected = other.dtype == DType::f64 ? DType::f64 : DType::f32;
  return require(t.dtype == expected, name, " is ", t, ": expected dtype ", expected, " beside ", other_name, " of ",
                 other.dtype);
}

Contract& Contract::rank(const char* name, const TensorRef& t, int expected) {
  return require(t.shape.rank() == expected, name, " is ", t, ": expected rank ", expected);
}

Contract& Contract::shape(const char* name, const TensorRef& t, const Shape& expected, const char* meaning) {
  return require(t.shape == expected, name, " is ", t, ": expected shape ", expected, ", ", meaning);
}

Contract& Contract::same_shape(const char* name, const TensorRef& t, const char* other_name, const TensorRef& other) {
  return require(t.shape == other.shape, name, " is ", t, ": expected shape ", other.shape, ", that of ", other_name);
}

Contract& Contract::contiguous(const char* name, const TensorRef& t) {
  return require(is_contiguous(t), name, " is ", t, " with strides ", t.strides, ": expected contiguous (row-major)");
}

Contract& Contract::channels_last(const char* name, const TensorRef& t) {
  return rank(name, t, 4)
      .require(is_channels_last(t), name, " is ", t, " with strides ", t.strides,
               ": expected channels-last (NHWC in memory)");
}

}  // namespace graft::kernels
