// Matrix products in bf16: the kernels of matmul.cuh.
#include <graft/kernels/cuda/matmul.cuh>

namespace graft::kernels::cuda {

void matmul_bf16(const MatmulArgs& args, Stream& stream) { matmul::launch_mma<__nv_bfloat16>(args, stream); }

}  // namespace graft::kernels::cuda
