#include <graft/kernels/cuda/common.cuh>
#include <graft/kernels/cuda/rows.h>

namespace graft::kernels::cuda {
namespace {

constexpr int kThreads = 128;

template <class T>
GRAFT_KERNEL(kThreads) softmax_rows(const T* __restrict__ x, T* __restrict__ y, std::int64_t n, bool log) {
  GRAFT_SHARED(scratch, Compute<T>[kThreads / kWarp]);
  using C = Compute<T>;
  const std::int64_t row = blockIdx.x;
  C greatest = -INFINITY;
  for (std::int64_t i = threadIdx.x; i < n; i += kThreads) greatest = Max{}(greatest, widen(x[row * n + i]));
  greatest = block_reduce<kThreads>(greatest, scratch, Max{});
  C sum = 0;
  for (std::int64_t i = threadIdx.x; i < n; i += kThreads) sum += exp(widen(x[row * n + i]) - greatest);
  sum = block_reduce<kThreads>(sum, scratch, Add{});
  for (std::int64_t i = threadIdx.x; i < n; i += kThreads) {
    const C shifted = widen(x[row * n + i]) - greatest;
    y[row * n + i] = narrow<T>(log ? shifted - ::log(sum) : exp(shifted) / sum);
  }
}

void run_softmax(const SoftmaxArgs& args, Stream& stream) {
  const std::int64_t rows = args.x.shape[0], n = args.x.shape[1];
  if (rows * n == 0) return;
  visit_floating(args.x.dtype, [&]<class T>(T) {
    launch("softmax_rows", softmax_rows<T>, {.grid = dim3(blocks_for(rows, 1)), .block = dim3(kThreads)}, stream,
           args.x.as<T>(), args.y.as<T>(), n, args.log);
  });
}

}  // namespace

void add_softmax(BackendTable& table) { table.row<SoftmaxArgs>() = row(run_softmax); }

}  // namespace graft::kernels::cuda
