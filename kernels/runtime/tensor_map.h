// Tensor maps: how the bulk copies of Hopper (TMA) find a box of a tensor. Made on the host, passed to a kernel by
// value. No CUDA header.
#pragma once

#include <array>
#include <cstdint>

#include <graft/kernels/api/dtype.h>

namespace graft::runtime {

/// A CUtensorMap, whose content only the driver knows. A kernel takes it as a `const __grid_constant__` parameter.
struct alignas(64) TensorMap {
  unsigned char opaque[128];
};

/// How a box's 16-byte chunks are permuted in shared memory, so that reading down a column meets all banks: within
/// rows of so many bytes.
enum class Swizzle { none, bytes32, bytes64, bytes128 };

/// A tensor in device memory. All arrays begin with the innermost dimension, whose elements are neighbours.
struct TensorLayout {
  const void* data = nullptr;             // 16-byte aligned
  DType dtype = DType::f32;               // any but boolean
  int rank = 0;                           // 1 to 5
  std::array<std::int64_t, 5> sizes{};    // elements, 1 to 2^32
  std::array<std::int64_t, 5> strides{};  // bytes, a multiple of 16 below 2^40; strides[0] is not looked at
};

/// The map for boxes of box[d] elements (1 to 256). A row of a box, box[0] elements, is a multiple of 16 bytes, under a
/// swizzle exactly as many as it has in its name. In shared memory the box lies densely, 128-byte aligned; elements
/// outside the tensor are 0 there. steps[d] (1 to 8, steps[0] is 1): every so many elements one is taken, and the box
/// has ceil(box[d] / steps[d]) of them.
///
/// Throws Error that names what is wrong, or why this device has no tensor maps (compute capability below 9.0).
TensorMap make_tensor_map(const TensorLayout& tensor, const std::array<int, 5>& box, Swizzle swizzle = Swizzle::none,
                          const std::array<int, 5>& steps = {1, 1, 1, 1, 1});

/// What a load of rows of an im2col matrix takes, for a tensor (channels, columns, rows, images) or of rank 3 (no rows)
/// or 5 (another dimension before the images).
struct Im2col {
  int channels = 0;  // elements of each pixel, 1 to 256; as a row of make_tensor_map's box
  int pixels = 0;    // one after another, 1 to 1024
  // The pixels are those of a bounding box, [lower, size - 1 + upper], by these steps, columns first, then rows, then
  // images. For a convolution with this padding, stride and dilation: lower = -padding, upper = padding - dilation *
  // (kernel - 1), steps = stride; a load's offset is dilation * (place in the kernel), its coordinates are place in the
  // output * stride - padding. Rank 4: -128 to 127; 3: 16 bits; 5: -16 to 15.
  std::array<int, 3> lower{}, upper{};
  std::array<int, 3> steps{1, 1, 1};  // 1 to 8
};

/// Throws as make_tensor_map.
TensorMap make_im2col_map(const TensorLayout& tensor, const Im2col& im2col, Swizzle swizzle = Swizzle::none);

}  // namespace graft::runtime
