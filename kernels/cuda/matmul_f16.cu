// Matrix products in f16: the kernels of matmul.cuh.
#include <graft/kernels/cuda/matmul.cuh>

namespace graft::kernels::cuda {

void matmul_f16(const MatmulArgs& args, Stream& stream) { matmul::launch_mma<__half>(args, stream); }

}  // namespace graft::kernels::cuda
