#include <graft/kernels/reference/internal.h>

namespace graft::kernels::reference {
namespace {

// Calls f(n, c, p, q) for every output element.
template <class F>
void for_each_window(const Shape& y, F&& f) {
  for (std::int64_t n = 0; n < y[0]; ++n)
    for (std::int64_t c = 0; c < y[1]; ++c)
      for (std::int64_t p = 0; p < y[2]; ++p)
        for (std::int64_t q = 0; q < y[3]; ++q) f(n, c, p, q);
}

// Calls f(h, w, place) for the positions of window (p, q) that lie inside the picture, in row-major order; `place` is
// the position's number in the window.
template <class F>
void for_each_inside(const PoolGeometry& g, const Shape& x, std::int64_t p, std::int64_t q, F&& f) {
  for (std::int64_t r = 0; r < g.kernel_h; ++r)
    for (std::int64_t s = 0; s < g.kernel_w; ++s) {
      const std::int64_t h = p * g.stride_h - g.padding_h + r * g.dilation_h;
      const std::int64_t w = q * g.stride_w - g.padding_w + s * g.dilation_w;
      if (h >= 0 && h < x[2] && w >= 0 && w < x[3]) f(h, w, r * g.kernel_w + s);
    }
}

void max_pool(const MaxPoolArgs& args) {
  const Array<double> x = read(args.x);
  Array<double> y(args.y.shape, -std::numeric_limits<double>::infinity());
  Array<std::int64_t> index(args.y.shape, -1);  // stays -1 where a window holds padding only
  for_each_window(y.shape, [&](std::int64_t n, std::int64_t c, std::int64_t p, std::int64_t q) {
    double& best = y(n, c, p, q);
    for_each_inside(args.geometry, x.shape, p, q, [&](std::int64_t h, std::int64_t w, std::int64_t place) {
      const double value = x(n, c, h, w);
      if (index(n, c, p, q) < 0 || value > best || (std::isnan(value) && !std::isnan(best))) {
        best = value;
        index(n, c, p, q) = place;
      }
    });
    if (args.relu && best < 0) best = 0;
  });
  write(y, args.y);
  if (args.index.defined()) write(index, args.index);
}

void max_pool_backward(const MaxPoolBackwardArgs& args) {
  const Array<double> gy = read(args.gy);
  const Array<std::int64_t> index = read<std::int64_t>(args.index);
  Array<double> gx(args.gx.shape);
  const Array<double> y = read_or(args.relu ? args.y : TensorRef{}, args.gy.shape, 1);
  const PoolGeometry& g = args.geometry;
  const std::int64_t none = args.index.dtype == DType::u8 ? 255 : -1, places = g.kernel_h * g.kernel_w;
  for_each_window(gy.shape, [&](std::int64_t n, std::int64_t c, std::int64_t p, std::int64_t q) {
    const std::int64_t i = index(n, c, p, q);
    if (i == none || y(n, c, p, q) <= 0) return;
    const std::int64_t h = p * g.stride_h - g.padding_h + i / g.kernel_w * g.dilation_h;
    const std::int64_t w = q * g.stride_w - g.padding_w + i % g.kernel_w * g.dilation_w;
    check(i >= 0 && i < places && h >= 0 && h < gx.shape[2] && w >= 0 && w < gx.shape[3], args.name, ": index[", n,
          ", ", c, ", ", p, ", ", q, "] is ", i, ": expected a place of window (", g.kernel_h, ", ", g.kernel_w,
          ") that lies inside gx ", args.gx);
    gx(n, c, h, w) += gy(n, c, p, q);
  });
  write(gx, args.gx);
}

double divisor(const PoolGeometry& g, const Shape& x, std::int64_t p, std::int64_t q) {
  if (g.count_include_pad) return static_cast<double>(g.kernel_h * g.kernel_w);
  double inside = 0;
  for_each_inside(g, x, p, q, [&](std::int64_t, std::int64_t, std::int64_t) { ++inside; });
  return inside;
}

void avg_pool(const AvgPoolArgs& args) {
  const Array<double> x = read(args.x);
  Array<double> y(args.y.shape);
  for_each_window(y.shape, [&](std::int64_t n, std::int64_t c, std::int64_t p, std::int64_t q) {
    double sum = 0;
    for_each_inside(args.geometry, x.shape, p, q,
                    [&](std::int64_t h, std::int64_t w, std::int64_t) { sum += x(n, c, h, w); });
    y(n, c, p, q) = sum / divisor(args.geometry, x.shape, p, q);
  });
  write(y, args.y);
}

void avg_pool_backward(const AvgPoolBackwardArgs& args) {
  const Array<double> gy = read(args.gy);
  Array<double> gx(args.gx.shape);
  for_each_window(gy.shape, [&](std::int64_t n, std::int64_t c, std::int64_t p, std::int64_t q) {
    const double g = gy(n, c, p, q) / divisor(args.geometry, gx.shape, p, q);
    for_each_inside(args.geometry, gx.shape, p, q,
                    [&](std::int64_t h, std::int64_t w, std::int64_t) { gx(n, c, h, w) += g; });
  });
  write(gx, args.gx);
}

// The inputs [begin, end) that output p of `out` averages, of `in`.
struct Bin {
  std::int64_t begin, end;
  Bin(std::int64_t p, std::int64_t in, std::int64_t out) : begin(p * in / out), end(((p + 1) * in + out - 1) / out) {}
  std::int64_t size() const { return end - begin; }
};

void adaptive_avg_pool(const AdaptiveAvgPoolArgs& args) {
  const Array<double> x = read(args.x);
  Array<double> y(args.y.shape);
  for_each_window(y.shape, [&](std::int64_t n, std::int64_t c, std::int64_t p, std::int64_t q) {
    const Bin rows(p, x.shape[2], y.shape[2]), columns(q, x.shape[3], y.shape[3]);
    double sum = 0;
    for (std::int64_t h = rows.begin; h < rows.end; ++h)
      for (std::int64_t w = columns.begin; w < columns.end; ++w) sum += x(n, c, h, w);
    y(n, c, p, q) = sum / static_cast<double>(rows.size() * columns.size());
  });
  write(y, args.y);
}

void adaptive_avg_pool_backward(const AdaptiveAvgPoolBackwardArgs& args) {
  const Array<double> gy = read(args.gy);
  Array<double> gx(args.gx.shape);
  for_each_window(gy.shape, [&](std::int64_t n, std::int64_t c, std::int64_t p, std::int64_t q) {
    const Bin rows(p, gx.shape[2], gy.shape[2]), columns(q, gx.shape[3], gy.shape[3]);
    const double g = gy(n, c, p, q) / static_cast<double>(rows.size() * columns.size());
    for (std::int64_t h = rows.begin; h < rows.end; ++h)
      for (std::int64_t w = columns.begin; w < columns.end; ++w) gx(n, c, h, w) += g;
  });
  write(gx, args.gx);
}

}  // namespace

void add_pool(BackendTable& table) {
  add<max_pool>(table);
  add<max_pool_backward>(table);
  add<avg_pool>(table);
  add<avg_pool_backward>(table);
  add<adaptive_avg_pool>(table);
  add<adaptive_avg_pool_backward>(table);
}

}  // namespace graft::kernels::reference
