// The sum of squares of many tensors, in double and in a fixed order. One launch takes a list of tensors: each block a
// piece of one of them, its sum goes to a workspace. The last block of the last launch (ticket.cuh) adds the pieces.
#include <graft/kernels/cuda/rows.h>
#include <graft/kernels/cuda/ticket.cuh>

namespace graft::kernels::cuda {
namespace {

constexpr int kThreads = 256, kList = 128;
constexpr std::int64_t kPiece = 16384;  // elements a block

struct List {
  const void* data[kList];
  std::int64_t count[kList];
  std::int32_t first_block[kList];
  DType dtype[kList];
  int size;
};
static_assert(sizeof(List) + 32 <= 4096, "kernel parameters");

template <class T>
GRAFT_DEVICE double sum_of_squares(const T* x, std::int64_t begin, std::int64_t end) {
  constexpr int n = kVectorLength<T>;
  double sums[2] = {};
  std::int64_t i = begin + threadIdx.x;
  if (reinterpret_cast<std::uintptr_t>(x) % 16 == 0) {
    const std::int64_t whole = end - (end - begin) % n;
    for (std::int64_t v = begin + static_cast<std::int64_t>(threadIdx.x) * n; v < whole; v += kThreads * n) {
      const auto values = *reinterpret_cast<const Vector<T, n>*>(x + v);
      GRAFT_UNROLL
      for (int j = 0; j < n; ++j) {
        const double value = static_cast<double>(widen(values.at[j]));
        sums[j % 2] = fma(value, value, sums[j % 2]);
      }
    }
    i = whole + threadIdx.x;
  }
  for (; i < end; i += kThreads) {
    const double value = static_cast<double>(widen(x[i]));
    sums[0] = fma(value, value, sums[0]);
  }
  return sums[0] + sums[1];
}

/// Pieces of the list, after `done` of earlier launches. counter: nullptr but for the last launch, whose last block
/// writes y.
GRAFT_KERNEL(kThreads)
squared_norm_pieces(const List list, double* pieces, std::int64_t done, std::uint32_t* counter, double* y) {
  GRAFT_SHARED(scratch, double[kThreads / kWarp]);
  const int block = static_cast<int>(blockIdx.x);
  int t = 0, beyond = list.size;  // the last tensor whose first block is not after this one
  while (beyond - t > 1) {
    const int middle = (t + beyond) / 2;
    if (list.first_block[middle] <= block)
      t = middle;
    else
      beyond = middle;
  }
  const std::int64_t begin = (block - list.first_block[t]) * kPiece;
  const std::int64_t end = list.count[t] - begin < kPiece ? list.count[t] : begin + kPiece;
  double sum = 0;
  switch (list.dtype[t]) {
    case DType::f64:
      sum = sum_of_squares(static_cast<const double*>(list.data[t]), begin, end);
      break;
    case DType::bf16:
      sum = sum_of_squares(static_cast<const __nv_bfloat16*>(list.data[t]), begin, end);
      break;
    case DType::f16:
      sum = sum_of_squares(static_cast<const __half*>(list.data[t]), begin, end);
      break;
    default:
      sum = sum_of_squares(static_cast<const float*>(list.data[t]), begin, end);
  }
  sum = block_reduce<kThreads>(sum, scratch, Add{});
  if (threadIdx.x == 0) pieces[done + block] = sum;
  if (counter == nullptr || !is_last_block_of_first_threads(counter, gridDim.x)) return;
  sum = 0;
  for (std::int64_t i = threadIdx.x; i < done + gridDim.x; i += kThreads) sum += pieces[i];
  sum = block_reduce<kThreads>(sum, scratch, Add{});
  if (threadIdx.x == 0) *y = sum;
}

void run_squared_norm(const SquaredNormArgs& args, Stream& stream) {
  std::int64_t total = 0;
  for (std::int64_t i = 0; i < args.count; ++i) total += ceil_div(args.tensors[i].numel(), kPiece);
  const Workspace pieces(static_cast<std::size_t>(total) * sizeof(double), stream);
  if (total == 0) return runtime::set_bytes(args.y.data, 0, sizeof(double), stream);
  List list{};
  std::int64_t done = 0, blocks = 0;  // pieces of earlier launches, and of this list
  const auto flush = [&] {
    const bool last = done + blocks == total;
    launch("squared_norm", squared_norm_pieces, {.grid = dim3(blocks_for(blocks, 1)), .block = dim3(kThreads)}, stream,
           list, pieces.as<double>(), done, last ? tickets(1, stream) : nullptr, args.y.as<double>());
    done += blocks;
    blocks = 0;
    list.size = 0;
  };
  for (std::int64_t i = 0; i < args.count; ++i) {
    const TensorRef& t = args.tensors[i];
    if (t.numel() == 0) continue;
    list.data[list.size] = t.data;
    list.count[list.size] = t.numel();
    list.first_block[list.size] = static_cast<std::int32_t>(blocks);
    list.dtype[list.size] = t.dtype;
    blocks += ceil_div(t.numel(), kPiece);
    ++list.size;
    if (list.size == kList || done + blocks == total) flush();
  }
}

}  // namespace

void add_squared_norm(BackendTable& table) { table.row<SquaredNormArgs>() = row(run_squared_norm); }

}  // namespace graft::kernels::cuda
