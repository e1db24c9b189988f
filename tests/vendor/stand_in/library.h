// What the parts of the stand-in for libcudnn share.
#pragma once

#include <cudnn.h>

#include <array>

#include "stand_in.h"

namespace graft::stand_in {

/// A handle.
struct Library {
  cudaStream_t stream = nullptr;
};

/// Four sizes and strides.
struct Tensor {
  Element element{};
  std::array<std::int64_t, 4> size{}, stride{};

  std::int64_t at(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) const {
    return n * stride[0] + c * stride[1] + h * stride[2] + w * stride[3];
  }
  std::int64_t numel() const { return size[0] * size[1] * size[2] * size[3]; }
};

bool element_of(cudnnDataType_t type, Element& element);

/// Why the last call failed, for cudnnGetLastErrorString.
cudnnStatus_t refuse(cudnnStatus_t status, const char* why);

template <class T, class Handle>
T& of(Handle handle) {
  return *const_cast<T*>(reinterpret_cast<const T*>(handle));
}

/// Calls f(n, c, h, w) for every element.
template <class F>
void for_each(const Tensor& t, F&& f) {
  for (std::int64_t n = 0; n < t.size[0]; ++n)
    for (std::int64_t c = 0; c < t.size[1]; ++c)
      for (std::int64_t h = 0; h < t.size[2]; ++h)
        for (std::int64_t w = 0; w < t.size[3]; ++w) f(n, c, h, w);
}

/// y = alpha value + beta y, where a beta of 0 does not read y.
inline void blend(void* y, const Tensor& t, std::int64_t i, double alpha, double value, double beta) {
  store(y, t.element, i, alpha * value + (beta == 0 ? 0 : beta * load(y, t.element, i)));
}

}  // namespace graft::stand_in
