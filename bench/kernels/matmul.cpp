// matmul/<M>x<K>x<N>, and with a transposed operand as linear's forward (nt) and weight gradient (tn) use it; on GPUs
// also with a bias and ReLU.
#include <support.h>

#include <graft/core/ops/raw.h>

namespace graft::bench {
namespace {

enum class Transposed { none, a, b };

Work work_of(const Place& place, std::int64_t m, std::int64_t k, std::int64_t n) {
  return {.bytes = place.element() * static_cast<double>(m * k + k * n + m * n),
          .flops = 2.0 * static_cast<double>(m * k * n)};
}

void add_product(const Place& place, const std::string& what, std::int64_t m, std::int64_t k, std::int64_t n,
                 Transposed transposed) {
  const char* kinds[] = {"", "_tn", "_nt"};
  const Work work = work_of(place, m, k, n);
  add(place, place.name(cat("matmul", kinds[static_cast<int>(transposed)]), what), work, [=] {
    const Tensor a =
        transposed == Transposed::a ? place.randn({k, m}).as_strided({m, k}, {1, m}, 0) : place.randn({m, k});
    const Tensor b =
        transposed == Transposed::b ? place.randn({n, k}).as_strided({k, n}, {1, k}, 0) : place.randn({k, n});
    const Tensor y = Tensor::empty({m, n}, place.dtype, place.device);
    return [=] { raw::run(kernels::MatmulArgs{a.ref(), b.ref(), {}, y.ref()}, y); };
  });
}

void add_linear_relu(const Place& place, std::int64_t m, std::int64_t k, std::int64_t n) {
  const Work work = work_of(place, m, k, n);
  add(place, place.name("matmul_bias_relu", cat(m, "x", k, "x", n)), work, [=] {
    const Tensor a = place.randn({m, k}), b = place.randn({k, n}), bias = place.randn({n}),
                 y = Tensor::empty({m, n}, place.dtype, place.device);
    return [=] { raw::run(kernels::MatmulArgs{a.ref(), b.ref(), bias.ref(), y.ref(), kernels::Activation::relu}, y); };
  });
}

}  // namespace

void add_matmul() {
  for (const std::int64_t size : {256, 512, 1024, 2048})
    add_product(kCpu, std::to_string(size), size, size, size, Transposed::none);
  for (const Transposed kind : {Transposed::none, Transposed::a, Transposed::b}) {
    add_product(kCpu, "strokes_fc1/128", 128, 1152, 256, kind);
    add_product(kCpu, "strokes_fc/128", 128, 256, 1000, kind);
  }
  const Transposed kinds[] = {Transposed::none, Transposed::a, Transposed::b};
  for (const Place& place : gpu_places()) {
    const auto square = [](std::int64_t size) { return cat(size, "x", size, "x", size); };
    if (emulated()) {
      for (const Transposed kind : kinds) add_product(place, square(32), 32, 32, 32, kind);
      add_linear_relu(place, 32, 32, 32);
    }
    for (const std::int64_t size : {512, 1024, 2048, 4096, 6144, 8192})
      add_product(place, square(size), size, size, size, Transposed::none);
    for (const std::int64_t size : {4096, 8192})
      for (const Transposed kind : {Transposed::a, Transposed::b})
        add_product(place, square(size), size, size, size, kind);
    for (const Transposed kind : kinds) {
      add_product(place, "strokes_fc1/128", 128, 1152, 256, kind);
      add_product(place, "strokes_fc/128", 128, 256, 1000, kind);
      add_product(place, "lenet_fc1/128", 128, 400, 120, kind);
      add_product(place, "resnet50_fc/256", 256, 2048, 1000, kind);
    }
    add_linear_relu(place, 4096, 4096, 4096);
    if (place.dtype != DType::bf16) continue;
    Place half = place;
    half.dtype = DType::f16;
    add_product(half, square(4096), 4096, 4096, 4096, Transposed::none);
  }
}

}  // namespace graft::bench
