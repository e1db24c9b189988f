// The only way to launch a kernel, and the words in which kernels are written so that nvcc and the emulator's host
// compiler both understand them. This header and arch/ are the only places that know there are two worlds.
//
//   GRAFT_SHARED(tile, float[16][17]);     a static shared array (the type comes last: it may hold commas)
//   GRAFT_DYNAMIC_SHARED(float, rows);     float* rows: the launch's dynamic shared memory, 1024-byte aligned
//   GRAFT_UNROLL                           #pragma unroll
//   GRAFT_UNROLL_BY(n)                     #pragma unroll n
//   GRAFT_NO_UNROLL                        #pragma unroll 1: one copy of a body that is seldom run, or needs registers
//   GRAFT_DEVICE                           a function of device code
//   GRAFT_KERNEL(threads)                  a __global__ function of at most `threads` threads a block
//   GRAFT_KERNEL_RESIDENT(threads, blocks) the same, with so few registers that `blocks` blocks fit a multiprocessor
//   GRAFT_GRID_CONSTANT Type parameter     a const parameter that is read where it lies, also by a computed index; nvcc
//                                          would copy it to each thread's stack otherwise
#pragma once

#include <cuda_runtime.h>  // first: the emulator prepares the toolkit's headers here

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <utility>

#include <graft/kernels/api/device.h>
#include <graft/kernels/runtime/cuda_launch.h>

#if defined(__CUDACC__)

#define GRAFT_EMULATED 0
#define GRAFT_SHARED(name, ...)           \
  using name##_shared_type = __VA_ARGS__; \
  __shared__ name##_shared_type name
#define GRAFT_DYNAMIC_SHARED(T, name)                                      \
  extern __shared__ __align__(1024) unsigned char graft_dynamic_shared_[]; \
  T* const name = reinterpret_cast<T*>(graft_dynamic_shared_)
#define GRAFT_UNROLL _Pragma("unroll")
#define GRAFT_UNROLL_BY(n) GRAFT_PRAGMA_(unroll n)
#define GRAFT_PRAGMA_(...) _Pragma(#__VA_ARGS__)
#define GRAFT_NO_UNROLL _Pragma("unroll 1")
#define GRAFT_DEVICE __device__ __forceinline__
#define GRAFT_KERNEL(threads) __global__ void __launch_bounds__(threads)
#define GRAFT_KERNEL_RESIDENT(threads, blocks) __global__ void __launch_bounds__(threads, blocks)
#define GRAFT_GRID_CONSTANT const __grid_constant__

#else

#include <graft/kernels/simt/core.h>

#define GRAFT_EMULATED 1
#define GRAFT_SHARED(name, ...)                                 \
  using name##_shared_type = __VA_ARGS__;                       \
  static const char name##_shared_key = 0;                      \
  name##_shared_type& name = *static_cast<name##_shared_type*>( \
      ::graft::simt::static_shared(&name##_shared_key, sizeof(name##_shared_type), alignof(name##_shared_type)))
#define GRAFT_DYNAMIC_SHARED(T, name) T* const name = static_cast<T*>(::graft::simt::dynamic_shared())
#define GRAFT_UNROLL
#define GRAFT_UNROLL_BY(n)
#define GRAFT_NO_UNROLL
#define GRAFT_DEVICE inline
#define GRAFT_KERNEL(threads) __global__ void
#define GRAFT_KERNEL_RESIDENT(threads, blocks) __global__ void
#define GRAFT_GRID_CONSTANT const

#endif

namespace graft::kernels::cuda {

struct LaunchConfig {
  dim3 grid{1}, block{1};
  std::size_t shared_bytes = 0;  // dynamic; what more than 48 KB with the static ones needs is opted into here
  dim3 cluster{1};
};

inline cudaStream_t native(const Stream& stream) { return static_cast<cudaStream_t>(stream.native); }

/// Launches `kernel` on `stream`, its arguments converted to the kernel's own parameter types. Checked in every build
/// type: throws Error that names the kernel, the grid and the block where the launch is refused, and (at once when
/// GRAFT_SYNC=1 makes it wait, else at a later call) where the kernel fails while it runs.
template <class... P, class... A>
void launch(const char* name, void (*kernel)(P...), const LaunchConfig& config, const Stream& stream, A&&... args) {
  static_assert(sizeof...(P) == sizeof...(A), "as many arguments as the kernel has parameters");
  runtime::LaunchScope scope(name, stream);
  std::tuple<std::remove_const_t<P>...> values{static_cast<std::remove_const_t<P>>(std::forward<A>(args))...};
  const auto* function = reinterpret_cast<const void*>(kernel);
  int status = runtime::prepare_kernel(function, stream.device.index, config.shared_bytes);
  if (status == cudaSuccess)
#if GRAFT_EMULATED
    status = ::graft::simt::enqueue_launch(
        native(stream),
        ::graft::simt::LaunchDims{config.grid, config.block, config.shared_bytes, config.cluster, name, function},
        [kernel, values = std::move(values)] { std::apply(kernel, values); });
#else
    status = std::apply(
        [&](auto&... value) {
          void* pointers[] = {const_cast<void*>(static_cast<const void*>(&value))..., nullptr};
          cudaLaunchConfig_t native_config{};
          native_config.gridDim = config.grid;
          native_config.blockDim = config.block;
          native_config.dynamicSmemBytes = config.shared_bytes;
          native_config.stream = native(stream);
          cudaLaunchAttribute attribute{};
          if (config.cluster.x * config.cluster.y * config.cluster.z > 1) {
            attribute.id = cudaLaunchAttributeClusterDimension;
            attribute.val.clusterDim = {config.cluster.x, config.cluster.y, config.cluster.z};
            native_config.attrs = &attribute;
            native_config.numAttrs = 1;
          }
          return static_cast<int>(cudaLaunchKernelExC(&native_config, function, pointers));
        },
        values);
#endif
  scope.finish(status, {config.grid.x, config.grid.y, config.grid.z}, {config.block.x, config.block.y, config.block.z},
               config.shared_bytes);
}

}  // namespace graft::kernels::cuda
