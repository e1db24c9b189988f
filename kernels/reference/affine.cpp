#include <graft/kernels/reference/internal.h>

namespace graft::kernels::reference {
namespace {

void affine_warp(const AffineWarpArgs& args) {
  const Array<double> x = read(args.x), theta = read(args.theta);
  Array<double> y(args.y.shape, args.fill);
  const std::int64_t height = x.shape[2], width = x.shape[3];
  const double cx = static_cast<double>(width - 1) / 2, cy = static_cast<double>(height - 1) / 2;
  for (std::int64_t n = 0; n < x.shape[0]; ++n) {
    auto row = [&](std::int64_t r, double dx, double dy) {
      const std::int64_t first = (n * 2 + r) * 3;
      return theta[first] * dx + theta[first + 1] * dy + theta[first + 2];
    };
    for (std::int64_t i = 0; i < height; ++i)
      for (std::int64_t j = 0; j < width; ++j) {
        const double dx = static_cast<double>(j) - cx, dy = static_cast<double>(i) - cy;
        const double u = row(0, dx, dy) + cx, v = row(1, dx, dy) + cy;
        // All four neighbours outside (or no position at all, NaN): fill.
        if (!(u > -1 && u < static_cast<double>(width) && v > -1 && v < static_cast<double>(height))) continue;
        const double left = std::floor(u), top = std::floor(v);
        for (std::int64_t c = 0; c < x.shape[1]; ++c) {
          auto pixel = [&](std::int64_t h, std::int64_t w) {
            return h >= 0 && h < height && w >= 0 && w < width ? x(n, c, h, w) : args.fill;
          };
          const auto h = static_cast<std::int64_t>(top), w = static_cast<std::int64_t>(left);
          const double above = pixel(h, w) * (1 - (u - left)) + pixel(h, w + 1) * (u - left);
          const double below = pixel(h + 1, w) * (1 - (u - left)) + pixel(h + 1, w + 1) * (u - left);
          y(n, c, i, j) = above * (1 - (v - top)) + below * (v - top);
        }
      }
  }
  write(y, args.y);
}

}  // namespace

void add_affine(BackendTable& table) { add<affine_warp>(table); }

}  // namespace graft::kernels::reference
