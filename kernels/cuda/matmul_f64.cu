// Matrix products in f64: the kernels of matmul.cuh.
#include <graft/kernels/cuda/matmul.cuh>

namespace graft::kernels::cuda {

void matmul_f64(const MatmulArgs& args, Stream& stream) { matmul::launch_simt<double>(args, stream); }

}  // namespace graft::kernels::cuda
