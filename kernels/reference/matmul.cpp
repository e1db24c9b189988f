#include <graft/kernels/reference/internal.h>

namespace graft::kernels::reference {
namespace {

void matmul(const MatmulArgs& args) {
  const Array<double> a = read(args.a), b = read(args.b);  // broadcast batches are written out
  const int rank = args.y.shape.rank();
  const std::int64_t m = args.a.shape[rank - 2], k = args.a.shape[rank - 1], n = args.b.shape[rank - 1];
  const Array<double> bias = read_or(args.bias, {n}, 0);
  Array<double> y(args.y.shape);
  const std::int64_t batches = y.size() > 0 ? y.size() / (m * n) : 0;
  for (std::int64_t batch = 0; batch < batches; ++batch)
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j) {
        double sum = bias[j];
        for (std::int64_t l = 0; l < k; ++l) sum += a[(batch * m + i) * k + l] * b[(batch * k + l) * n + j];
        y[(batch * m + i) * n + j] = args.activation == Activation::relu && sum < 0 ? 0 : sum;  // NaN passes
      }
  write(y, args.y);
  if (!args.a_sums.defined()) return;
  Array<double> sums({m});
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t l = 0; l < k; ++l) sums[i] += a[i * k + l];
  write(sums, args.a_sums);
}

}  // namespace

void add_matmul(BackendTable& table) { add<matmul>(table); }

}  // namespace graft::kernels::reference
