// Affine warp of image batches.

#include <cmath>

#include <graft/kernels/cpu/common.h>
#include <graft/kernels/cpu/rows.h>

namespace graft::kernels::cpu {
namespace {

Support supports(const AffineWarpArgs& args) { return contract_and_f32(args, {&args.x}); }

struct Picture {
  const float* pixels;  // (h, w, c)
  std::int64_t h, w, c;
  float fill;

  float at(std::int64_t i, std::int64_t j, std::int64_t k) const {
    return i >= 0 && i < h && j >= 0 && j < w ? pixels[(i * w + j) * c + k] : fill;
  }
};

void warp_row(const Picture& x, const float* theta, std::int64_t i, float* y) {
  const double cx = static_cast<double>(x.w - 1) / 2, cy = static_cast<double>(x.h - 1) / 2;
  const double dy = static_cast<double>(i) - cy;
  const double t0 = static_cast<double>(theta[0]), t3 = static_cast<double>(theta[3]);
  const double u0 = static_cast<double>(theta[1]) * dy + static_cast<double>(theta[2]) + cx;
  const double v0 = static_cast<double>(theta[4]) * dy + static_cast<double>(theta[5]) + cy;
  const auto height = static_cast<double>(x.h), width = static_cast<double>(x.w);
  for (std::int64_t j = 0; j < x.w; ++j, y += x.c) {
    const double dx = static_cast<double>(j) - cx, u = t0 * dx + u0, v = t3 * dx + v0;
    if (!(u > -1 && u < width && v > -1 && v < height)) {
      for (std::int64_t k = 0; k < x.c; ++k) y[k] = x.fill;
      continue;
    }
    // Truncation is floor for what is not negative; std::floor is a call on old processors.
    const auto left = static_cast<std::int64_t>(u + 1) - 1, top = static_cast<std::int64_t>(v + 1) - 1;
    const auto fu = static_cast<float>(u - static_cast<double>(left));
    const auto fv = static_cast<float>(v - static_cast<double>(top));
    const bool inside = left >= 0 && left + 1 < x.w && top >= 0 && top + 1 < x.h;
    for (std::int64_t k = 0; k < x.c; ++k) {
      float p00, p01, p10, p11;
      if (inside) {
        const float* p = x.pixels + (top * x.w + left) * x.c + k;
        p00 = p[0];
        p01 = p[x.c];
        p10 = p[x.w * x.c];
        p11 = p[x.w * x.c + x.c];
      } else {
        p00 = x.at(top, left, k);
        p01 = x.at(top, left + 1, k);
        p10 = x.at(top + 1, left, k);
        p11 = x.at(top + 1, left + 1, k);
      }
      const float above = p00 * (1 - fu) + p01 * fu, below = p10 * (1 - fu) + p11 * fu;
      y[k] = above * (1 - fv) + below * fv;
    }
  }
}

void run(const AffineWarpArgs& args, Stream&) {
  const std::int64_t c = args.x.shape[1], h = args.x.shape[2], w = args.x.shape[3];
  parallel_for(args.x.shape[0] * h, grain_of(8 * w * c), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t n = row / h;
      const Picture x{args.x.as<float>() + n * h * w * c, h, w, c, static_cast<float>(args.fill)};
      warp_row(x, args.theta.as<float>() + 6 * n, row % h, args.y.as<float>() + row * w * c);
    }
  });
}

}  // namespace

void add_affine(BackendTable& table) { table.row<AffineWarpArgs>() = {supports, run}; }

}  // namespace graft::kernels::cpu
