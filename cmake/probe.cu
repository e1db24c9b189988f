// cmake/GraftToolkit.cmake compiles this to learn with which host compiler nvcc can build the kernels: their headers, and one.
#include <graft/kernels/cuda/common.cuh>
#include <graft/kernels/cuda/arch/global.h>
#include <graft/kernels/cuda/arch/sm90.h>

namespace graft::kernels::cuda {
GRAFT_KERNEL(32) probe(float* out, float value) { out[threadIdx.x] = value; }
}  // namespace graft::kernels::cuda
