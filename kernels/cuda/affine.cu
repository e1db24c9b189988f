// Affine warp of image batches: a thread has one pixel of y and up to kChannels of its channels. The position in x is
// computed in double, as everywhere, so that all backends agree on which pixels are read; the arithmetic on pixels is
// T's.
#include <graft/kernels/cuda/rows.h>
#include <graft/kernels/cuda/common.cuh>

namespace graft::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kChannels = 4;

struct Pictures {
  std::int64_t channels, height, width;
};

template <class T>
GRAFT_KERNEL(kThreads)
affine_warp(const T* __restrict__ x, const float* __restrict__ theta, T* __restrict__ y, Pictures s, double fill_value,
            std::int64_t count) {
  using C = Compute<T>;
  const std::int64_t thread = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (thread >= count) return;
  const std::int64_t groups = ceil_div<std::int64_t>(s.channels, kChannels);
  const std::int64_t pixel = thread / groups, line = pixel / s.width, n = line / s.height;
  const std::int64_t first = (thread - pixel * groups) * kChannels, last = std::min(first + kChannels, s.channels);
  const double cx = static_cast<double>(s.width - 1) / 2, cy = static_cast<double>(s.height - 1) / 2;
  const double dx = static_cast<double>(pixel - line * s.width) - cx;
  const double dy = static_cast<double>(line - n * s.height) - cy;
  const float* const map = theta + n * 6;
  const double u = map[0] * dx + map[1] * dy + map[2] + cx, v = map[3] * dx + map[4] * dy + map[5] + cy;
  const C fill = static_cast<C>(fill_value);
  // All four neighbours outside (or no position at all, NaN): fill.
  if (!(u > -1 && u < static_cast<double>(s.width) && v > -1 && v < static_cast<double>(s.height))) {
    for (std::int64_t c = first; c < last; ++c) y[pixel * s.channels + c] = narrow<T>(fill);
    return;
  }
  const double left = floor(u), top = floor(v);
  const auto w = static_cast<std::int64_t>(left), h = static_cast<std::int64_t>(top);
  const C fu = static_cast<C>(u - left), fv = static_cast<C>(v - top);
  const std::int64_t upper = ((n * s.height + h) * s.width + w) * s.channels, row = s.width * s.channels;
  const bool west = w >= 0, east = w + 1 < s.width, north = h >= 0, south = h + 1 < s.height;
  for (std::int64_t c = first; c < last; ++c) {
    const C p00 = north && west ? widen(x[upper + c]) : fill;
    const C p01 = north && east ? widen(x[upper + c + s.channels]) : fill;
    const C p10 = south && west ? widen(x[upper + c + row]) : fill;
    const C p11 = south && east ? widen(x[upper + c + row + s.channels]) : fill;
    const C above = p00 * (1 - fu) + p01 * fu, below = p10 * (1 - fu) + p11 * fu;
    y[pixel * s.channels + c] = narrow<T>(above * (1 - fv) + below * fv);
  }
}

void run_affine_warp(const AffineWarpArgs& args, Stream& stream) {
  if (args.y.numel() == 0) return;
  const Pictures s{args.x.shape[1], args.x.shape[2], args.x.shape[3]};
  const std::int64_t count = args.x.shape[0] * s.height * s.width * ceil_div<std::int64_t>(s.channels, kChannels);
  visit_floating(args.x.dtype, [&]<class T>(T) {
    launch("affine_warp", affine_warp<T>, {.grid = dim3(blocks_for(count, kThreads)), .block = dim3(kThreads)}, stream,
           args.x.as<T>(), args.theta.as<float>(), args.y.as<T>(), s, args.fill, count);
  });
}

}  // namespace

void add_affine(BackendTable& table) { table.row<AffineWarpArgs>() = row(run_affine_warp); }

}  // namespace graft::kernels::cuda
