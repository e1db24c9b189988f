// matmul/<M>x<K>x<N>, and with a transposed operand as linear's forward (nt) and weight gradient (tn) use it.
#include <support.h>

#include <graft/core/ops/raw.h>
#include <graft/core/random.h>

namespace graft::bench {
namespace {

enum class Transposed { none, a, b };

void add_product(const std::string& what, std::int64_t m, std::int64_t k, std::int64_t n, Transposed transposed) {
  const char* kinds[] = {"", "_tn", "_nt"};
  const Work work{.flops = 2.0 * static_cast<double>(m * k * n)};
  add(cat("matmul", kinds[static_cast<int>(transposed)], "/", what), work, [=] {
    const Tensor a = transposed == Transposed::a ? randn({k, m}).as_strided({m, k}, {1, m}, 0) : randn({m, k});
    const Tensor b = transposed == Transposed::b ? randn({n, k}).as_strided({k, n}, {1, k}, 0) : randn({k, n});
    const Tensor y = Tensor::empty({m, n});
    return [=] { raw::run(kernels::MatmulArgs{a.ref(), b.ref(), {}, y.ref()}, y); };
  });
}

}  // namespace

void add_matmul() {
  for (const std::int64_t size : {256, 512, 1024, 2048})
    add_product(std::to_string(size), size, size, size, Transposed::none);
  for (const Transposed kind : {Transposed::none, Transposed::a, Transposed::b}) {
    add_product("strokes_fc1/128", 128, 1152, 256, kind);
    add_product("strokes_fc/128", 128, 256, 1000, kind);
  }
}

}  // namespace graft::bench
