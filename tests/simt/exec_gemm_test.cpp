// A whole Hopper kernel, under every schedule; and without each of its barriers and waits in turn.
#include "simt/exec.h"

#include "simt/kernels/hopper_gemm.cu"

namespace graft::simt {
namespace {

using namespace hopper_gemm;

struct Product {
  int m, n, k;
  std::vector<float> a, b;
  OnDevice<__nv_bfloat16> device_a, device_b;
  OnDevice<float> c;

  Product(int rows, int columns, int depth)
      : m(rows),
        n(columns),
        k(depth),
        a(random_values(static_cast<std::size_t>(m * k), 1)),
        b(random_values(static_cast<std::size_t>(n * k), 2)),
        device_a(as<__nv_bfloat16>(a)),
        device_b(as<__nv_bfloat16>(b)),
        c(static_cast<std::size_t>(m * n)) {}

  template <int Cluster>
  cudaError_t run() {
    const runtime::TensorMap map_a =
        runtime::make_tensor_map(dense(device_a, DType::bf16, {k, m}), {kDepth, kRows}, runtime::Swizzle::bytes128);
    const runtime::TensorMap map_b = runtime::make_tensor_map(dense(device_b, DType::bf16, {k, n}),
                                                              {kDepth, kColumns / Cluster}, runtime::Swizzle::bytes128);
    const runtime::TensorMap map_c = runtime::make_tensor_map(dense(c, DType::f32, {n, m}), {kColumns, 64});
    LaunchDims d = dims(1, kThreads, sizeof(Tiles), "hopper_gemm");
    const auto blocks = static_cast<unsigned>((m + kRows - 1) / kRows);
    d.grid = dim3((blocks + Cluster - 1) / Cluster * Cluster, static_cast<unsigned>((n + kColumns - 1) / kColumns));
    d.cluster = dim3(Cluster);
    return launch(multiply<Cluster>, d, map_a, map_b, map_c, k);
  }

  // The values are such that no sum is rounded: any difference is an error.
  bool is_right() const {
    const std::vector<float> got = c.values();
    for (int i = 0; i < m; ++i)
      for (int j = 0; j < n; ++j) {
        float sum = 0;
        for (int l = 0; l < k; ++l)
          sum += a[static_cast<std::size_t>(i * k + l)] * b[static_cast<std::size_t>(j * k + l)];
        if (got[static_cast<std::size_t>(i * n + j)] != sum) return false;
      }
    return true;
  }
};

class ExecGemm : public Exec {};
INSTANTIATE_TEST_SUITE_P(Schedules, ExecGemm, kSchedules, schedule_name);

TEST_P(ExecGemm, IsRightAtAwkwardSizes) {
  for (const auto& [m, n, k] : {std::array{128, 64, 64}, {1, 4, 8}, {100, 72, 328}, {130, 68, 520}}) {
    Product p(m, n, k);
    expect_success(p.run<1>());
    EXPECT_TRUE(p.is_right()) << m << "x" << n << "x" << k;
  }
}

TEST_P(ExecGemm, IsRightInAClusterOfTwo) {
  for (const auto& [m, n, k] : {std::array{256, 64, 64}, {1, 4, 8}, {300, 68, 328}}) {
    Product p(m, n, k);
    expect_success(p.run<2>());
    EXPECT_TRUE(p.is_right()) << m << "x" << n << "x" << k;
  }
}

// Takes each barrier, wait, arrival and fence away in turn: no bug of this kind may stay unseen.
template <int Cluster>
void expect_all_sites_needed(int m) {
  clear_sites();
  Product whole(m, 64, 5 * kDepth);
  EXPECT_EQ(whole.run<Cluster>(), cudaSuccess) << text_of(cudaErrorLaunchFailure);
  const std::vector<Site> all = sites();
  EXPECT_GE(all.size(), 10u);
  for (const Site& site : all) {
    options().omit = site;
    Product p(m, 64, 5 * kDepth);
    const cudaError_t result = p.run<Cluster>();
    const std::string report = text_of(cudaErrorLaunchFailure);
    reset();
    options().omit = {};
    EXPECT_TRUE(result == cudaErrorLaunchFailure || !p.is_right())
        << "nobody misses " << site.what << " at line " << site.line;
    if (result == cudaErrorLaunchFailure) {
      EXPECT_THAT(report, testing::HasSubstr("hopper_gemm.cu:")) << site.what << " at line " << site.line;
    }
  }
}

TEST_P(ExecGemm, NeedsEachOfItsBarriersAndWaits) {
  if (!checked()) GTEST_SKIP() << "built without GRAFT_SIMT_CHECK";
  expect_all_sites_needed<1>(128);
}
TEST_P(ExecGemm, NeedsEachOfItsBarriersAndWaitsInACluster) {
  if (!checked()) GTEST_SKIP() << "built without GRAFT_SIMT_CHECK";
  expect_all_sites_needed<2>(256);
}

}  // namespace
}  // namespace graft::simt
