#include <graft/tests/sm90/kernels/launches.h>
#include <graft/tests/simt/kernels/hopper_gemm.cu>

namespace graft::test::sm90 {
namespace {

namespace gemm = simt::hopper_gemm;

runtime::TensorMap matrix(const void* data, DType dtype, int columns, int rows, int box_columns, int box_rows,
                          runtime::Swizzle swizzle) {
  runtime::TensorLayout t;
  t.data = data;
  t.dtype = dtype;
  t.rank = 2;
  t.sizes = {columns, rows};
  t.strides = {0, static_cast<std::int64_t>(size_of(dtype)) * columns};
  return runtime::make_tensor_map(t, {box_columns, box_rows}, swizzle);
}

template <int Cluster>
void launch_gemm(const void* a, const void* b, float* c, int m, int n, int k, const Stream& stream) {
  using runtime::Swizzle;
  const auto map_a = matrix(a, DType::bf16, k, m, gemm::kDepth, gemm::kRows, Swizzle::bytes128);
  const auto map_b = matrix(b, DType::bf16, k, n, gemm::kDepth, gemm::kColumns / Cluster, Swizzle::bytes128);
  const auto map_c = matrix(c, DType::f32, n, m, gemm::kColumns, 64, Swizzle::none);
  kernels::cuda::LaunchConfig config;
  const auto rows = static_cast<unsigned>((m + gemm::kRows - 1) / gemm::kRows);
  config.grid = dim3((rows + Cluster - 1) / Cluster * Cluster,
                     static_cast<unsigned>((n + gemm::kColumns - 1) / gemm::kColumns));
  config.block = dim3(gemm::kThreads);
  config.shared_bytes = sizeof(gemm::Tiles);
  config.cluster = dim3(Cluster);
  kernels::cuda::launch("hopper_gemm", &gemm::multiply<Cluster>, config, stream, map_a, map_b, map_c, k);
}

}  // namespace

void multiply(const void* a, const void* b, float* c, int m, int n, int k, int cluster, const Stream& stream) {
  if (cluster == 2)
    launch_gemm<2>(a, b, c, m, n, k, stream);
  else
    launch_gemm<1>(a, b, c, m, n, k, stream);
}

}  // namespace graft::test::sm90
