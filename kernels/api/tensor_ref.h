// What a kernel sees of a tensor: a pointer, a dtype, sizes and strides. It owns nothing.
#pragma once

#include <graft/kernels/api/dtype.h>
#include <graft/kernels/api/export.h>
#include <graft/kernels/api/shape.h>

namespace graft::kernels {

struct GRAFT_API TensorRef {
  void* data = nullptr;
  DType dtype = DType::f32;
  Shape shape;
  Shape strides;  // in elements

  bool defined() const { return data != nullptr || shape.rank() > 0; }
  std::int64_t numel() const { return shape.numel(); }
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

/// Row-major with no gaps. Dimensions of size 1 may have any stride; an empty tensor is contiguous.
GRAFT_API bool is_contiguous(const TensorRef& t);

/// Rank 4 and NHWC in memory with no gaps (sizes of 1 may have any stride).
GRAFT_API bool is_channels_last(const TensorRef& t);

/// "f32 (2, 3)" for error messages.
GRAFT_API std::string to_string(const TensorRef& t);

}  // namespace graft::kernels
