// Pooling, forward and backward, at the strokes network's first block; on GPUs also at ResNet-50's stem and end.
#include <support.h>

#include <graft/core/ops/raw.h>
#include <graft/kernels/api/pool.h>

namespace graft::bench {
namespace {

void add_max_pool(const Place& place, const std::string& what, const Shape& in, const Shape& out,
                  const kernels::PoolGeometry& geometry) {
  const auto n = static_cast<double>(in[0]);
  const DType index_dtype = kernels::max_pool_index_dtype(geometry);
  const double x_bytes = place.element() * static_cast<double>(in.numel()),
               y_bytes = place.element() * static_cast<double>(out.numel()),
               index_bytes = static_cast<double>(size_of(index_dtype)) * static_cast<double>(out.numel());
  add(place, place.name("max_pool_relu_inference", what), {.items = n, .bytes = x_bytes + y_bytes}, [=] {
    const Tensor x = place.random_images(in), y = place.empty_images(out);
    return [=] { raw::run(kernels::MaxPoolArgs{x.ref(), y.ref(), {}, geometry, true}, x); };
  });
  if (!place.has<kernels::MaxPoolBackwardArgs>()) return;  // and then keeps no positions either
  add(place, place.name("max_pool_relu", what), {.items = n, .bytes = x_bytes + y_bytes + index_bytes}, [=] {
    const Tensor x = place.random_images(in), y = place.empty_images(out), index = place.empty_images(out, index_dtype);
    return [=] { raw::run(kernels::MaxPoolArgs{x.ref(), y.ref(), index.ref(), geometry, true}, x); };
  });
  add(place, place.name("max_pool_relu_backward", what), {.items = n, .bytes = x_bytes + 2 * y_bytes + index_bytes},
      [=] {
        const Tensor x = place.random_images(in), y = place.empty_images(out),
                     index = place.empty_images(out, index_dtype), gx = place.empty_images(in);
        raw::run(kernels::MaxPoolArgs{x.ref(), y.ref(), index.ref(), geometry, true}, x);
        const Tensor gy = place.random_images(out);
        return [=] {
          raw::run(kernels::MaxPoolBackwardArgs{gy.ref(), index.ref(), y.ref(), gx.ref(), geometry, true}, gx);
        };
      });
}

void add_avg_pool(const Place& place, const std::string& what, const Shape& in, const Shape& out) {
  const Work work{.items = static_cast<double>(in[0]),
                  .bytes = place.element() * static_cast<double>(in.numel() + out.numel())};
  add(place, place.name("avg_pool", what), work, [=] {
    const Tensor x = place.random_images(in), y = place.empty_images(out);
    return [=] { raw::run(kernels::AvgPoolArgs{x.ref(), y.ref(), {}}, x); };
  });
  add(place, place.name("avg_pool_backward", what), work, [=] {
    const Tensor gy = place.random_images(out), gx = place.empty_images(in);
    return [=] { raw::run(kernels::AvgPoolBackwardArgs{gy.ref(), gx.ref(), {}}, gx); };
  });
}

void add_global_pool(const Place& place, std::int64_t n, std::int64_t c) {
  const Work work{.items = static_cast<double>(n), .bytes = place.element() * static_cast<double>(n * c * 50)};
  add(place, place.name("adaptive_avg_pool", cat(c, "x7x7/", n)), work, [=] {
    const Tensor x = place.random_images({n, c, 7, 7}), y = place.empty_images({n, c, 1, 1});
    return [=] { raw::run(kernels::AdaptiveAvgPoolArgs{x.ref(), y.ref()}, x); };
  });
}

}  // namespace

void add_pool() {
  const kernels::PoolGeometry stem{.kernel_h = 3, .kernel_w = 3, .padding_h = 1, .padding_w = 1};
  std::vector<Place> places = {kCpu};
  places.insert(places.end(), gpu_places().begin(), gpu_places().end());
  for (const Place& place : places) {
    add_max_pool(place, "strokes_pool1/128", {128, 32, 28, 28}, {128, 32, 14, 14}, {});
    add_avg_pool(place, "strokes_pool1/128", {128, 32, 28, 28}, {128, 32, 14, 14});
    add_global_pool(place, 64, 512);
    if (!place.backend) continue;
    if (emulated()) {
      add_max_pool(place, "small", {2, 8, 8, 8}, {2, 8, 4, 4}, {});
      add_avg_pool(place, "small", {2, 8, 8, 8}, {2, 8, 4, 4});
      add_global_pool(place, 2, 8);
    }
    add_max_pool(place, "resnet50_maxpool/64", {64, 64, 112, 112}, {64, 64, 56, 56}, stem);
    add_avg_pool(place, "resnet50_maxpool/64", {64, 64, 112, 112}, {64, 64, 56, 56});
    add_global_pool(place, 256, 2048);
  }
}

}  // namespace graft::bench
