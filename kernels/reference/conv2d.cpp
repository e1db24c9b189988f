#include <graft/kernels/reference/internal.h>

namespace graft::kernels::reference {
namespace {

/// One product of the convolution: y(n, k, p, q) += x(n, c, h, w) * filter(k, cg, r, s).
struct Tap {
  std::int64_t n, k, p, q;  // output
  std::int64_t c, h, w;     // input
  std::int64_t cg, r, s;    // filter; cg is the channel within the group
};

// Calls f for every product whose input lies inside the picture. Forward and both backward ops are sums over these.
template <class F>
void for_each_tap(const Conv2dGeometry& g, const Shape& x, const Shape& filter, const Shape& y, F&& f) {
  const std::int64_t filters_per_group = filter[0] / g.groups;
  Tap t{};
  for (t.n = 0; t.n < y[0]; ++t.n)
    for (t.k = 0; t.k < y[1]; ++t.k)
      for (t.p = 0; t.p < y[2]; ++t.p)
        for (t.q = 0; t.q < y[3]; ++t.q)
          for (t.cg = 0; t.cg < filter[1]; ++t.cg)
            for (t.r = 0; t.r < filter[2]; ++t.r)
              for (t.s = 0; t.s < filter[3]; ++t.s) {
                t.c = t.k / filters_per_group * filter[1] + t.cg;
                t.h = t.p * g.stride_h - g.padding_h + t.r * g.dilation_h;
                t.w = t.q * g.stride_w - g.padding_w + t.s * g.dilation_w;
                if (t.h >= 0 && t.h < x[2] && t.w >= 0 && t.w < x[3]) f(t);
              }
}

void conv2d_forward(const Conv2dForwardArgs& args) {
  const Array<double> x = read(args.x), w = read(args.w);
  const Array<double> bias = read_or(args.bias, {w.shape[0]}, 0);
  Array<double> y(args.y.shape);
  for_each_tap(args.geometry, x.shape, w.shape, y.shape,
               [&](const Tap& t) { y(t.n, t.k, t.p, t.q) += x(t.n, t.c, t.h, t.w) * w(t.k, t.cg, t.r, t.s); });
  const std::int64_t plane = y.shape[2] * y.shape[3];
  for (std::int64_t i = 0; i < y.size(); ++i) {
    y[i] += bias[i / plane % y.shape[1]];
    if (args.activation == Activation::relu && y[i] < 0) y[i] = 0;  // NaN passes
  }
  write(y, args.y);
}

void conv2d_backward_data(const Conv2dBackwardDataArgs& args) {
  const Array<double> gy = read(args.gy), w = read(args.w);
  Array<double> gx(args.gx.shape);
  for_each_tap(args.geometry, gx.shape, w.shape, gy.shape,
               [&](const Tap& t) { gx(t.n, t.c, t.h, t.w) += gy(t.n, t.k, t.p, t.q) * w(t.k, t.cg, t.r, t.s); });
  write(gx, args.gx);
}

void conv2d_backward_weight(const Conv2dBackwardWeightArgs& args) {
  const Array<double> x = read(args.x), gy = read(args.gy);
  if (args.gw.defined()) {
    Array<double> gw(args.gw.shape);
    for_each_tap(args.geometry, x.shape, gw.shape, gy.shape,
                 [&](const Tap& t) { gw(t.k, t.cg, t.r, t.s) += gy(t.n, t.k, t.p, t.q) * x(t.n, t.c, t.h, t.w); });
    write(gw, args.gw);
  }
  if (args.gbias.defined()) {
    Array<double> gbias(args.gbias.shape);
    const std::int64_t plane = gy.shape[2] * gy.shape[3];
    for (std::int64_t i = 0; i < gy.size(); ++i) gbias[i / plane % gy.shape[1]] += gy[i];
    write(gbias, args.gbias);
  }
}

}  // namespace

void add_conv2d(BackendTable& table) {
  add<conv2d_forward>(table);
  add<conv2d_backward_data>(table);
  add<conv2d_backward_weight>(table);
}

}  // namespace graft::kernels::reference
