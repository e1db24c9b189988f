// Matrix products in every floating dtype; here also those in f32. The kernels are in matmul.cuh; each dtype is a file
// of its own, to compile side by side.
#include <graft/kernels/cuda/rows.h>
#include <graft/kernels/cuda/matmul.cuh>

namespace graft::kernels::cuda {

void matmul_f32(const MatmulArgs& args, Stream& stream) { matmul::launch_simt<float>(args, stream); }

namespace {

void run_matmul(const MatmulArgs& args, Stream& stream) {
  if (args.y.numel() == 0) return;
  switch (args.y.dtype) {
    case DType::f64:
      return matmul_f64(args, stream);
    case DType::bf16:
      return matmul_bf16(args, stream);
    case DType::f16:
      return matmul_f16(args, stream);
    default:
      return matmul_f32(args, stream);
  }
}

}  // namespace

void add_matmul(BackendTable& table) { table.row<MatmulArgs>() = row(run_matmul); }

}  // namespace graft::kernels::cuda
