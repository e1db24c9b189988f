#include <graft/tests/sm90/kernels/launches.h>
#include <graft/tests/simt/kernels/wgmma_products.cu>

#include <graft/kernels/api/error.h>

namespace graft::test::sm90 {
namespace {

namespace products = simt::wgmma_products;
namespace arch = kernels::cuda::arch;

products::Layout native(const MatrixLayout& l) { return {l.swizzle, l.stride, l.leading, l.steps_a_part, l.part, l.step}; }

using Function = void (*)(const std::uint32_t*, products::Layout, const std::uint32_t*, products::Layout, unsigned,
                          float*);
struct Built {
  WgmmaShape shape;
  Function function;
};

template <class T, int N, bool AColumns = false, bool BRows = false, bool RegistersA = false>
Built built() {
  constexpr Element element = std::is_same_v<T, arch::Tf32>       ? Element::tf32
                              : std::is_same_v<T, __nv_bfloat16> ? Element::bf16
                                                                 : Element::f16;
  return {{element, N, AColumns, BRows, RegistersA}, &products::multiply<T, N, AColumns, BRows, RegistersA>};
}

// Every width in one type, the ends in the others; every layout of both matrices and a in registers in each type.
template <int... Eighths>
void add_widths(std::vector<Built>& all, std::integer_sequence<int, Eighths...>) {
  (all.push_back(built<__nv_bfloat16, 8 * (Eighths + 1)>()), ...);
}

template <class T>
void add_layouts(std::vector<Built>& all) {
  all.push_back(built<T, 64, true, false>());
  all.push_back(built<T, 64, false, true>());
  all.push_back(built<T, 64, true, true>());
  all.push_back(built<T, 256, true, true>());
  all.push_back(built<T, 64, false, false, true>());
  all.push_back(built<T, 64, false, true, true>());
  all.push_back(built<T, 256, false, true, true>());
}

const std::vector<Built>& all_built() {
  static const std::vector<Built> built_ones = [] {
    std::vector<Built> all;
    add_widths(all, std::make_integer_sequence<int, 32>());
    add_layouts<__nv_bfloat16>(all);
    add_layouts<__half>(all);
    all.push_back(built<__half, 8>());
    all.push_back(built<__half, 24>());
    all.push_back(built<__half, 64>());
    all.push_back(built<__half, 256>());
    all.push_back(built<arch::Tf32, 8>());
    all.push_back(built<arch::Tf32, 32>());
    all.push_back(built<arch::Tf32, 64>());
    all.push_back(built<arch::Tf32, 256>());
    all.push_back(built<arch::Tf32, 64, false, false, true>());
    all.push_back(built<arch::Tf32, 256, false, false, true>());
    return all;
  }();
  return built_ones;
}

}  // namespace

std::vector<WgmmaShape> wgmma_shapes() {
  std::vector<WgmmaShape> shapes;
  for (const Built& b : all_built()) shapes.push_back(b.shape);
  return shapes;
}

void multiply(const WgmmaShape& s, const std::uint32_t* a, const MatrixLayout& layout_a, const std::uint32_t* b,
              const MatrixLayout& layout_b, unsigned steps, float* y, const Stream& stream) {
  static_assert(kBytesOfA == products::kBytesOfA && kBytesOfB == products::kBytesOfB);
  for (const Built& one : all_built()) {
    const WgmmaShape& o = one.shape;
    if (o.element != s.element || o.columns != s.columns || o.a_columns != s.a_columns || o.b_rows != s.b_rows ||
        o.registers_a != s.registers_a)
      continue;
    kernels::cuda::LaunchConfig config;
    config.block = dim3(128);
    config.shared_bytes = sizeof(products::Images);
    return kernels::cuda::launch("wgmma_products", one.function, config, stream, a, native(layout_a), b,
                                 native(layout_b), steps, y);
  }
  fail("wgmma: this shape is not built");
}

}  // namespace graft::test::sm90
