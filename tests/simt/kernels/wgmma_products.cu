// One product of a warpgroup, of matrices that the test has laid out. Compiled by nvcc too.
#include <graft/kernels/cuda/arch/sm90.h>

namespace graft::simt::wgmma_products {

namespace arch = kernels::cuda::arch;

inline constexpr unsigned kBytesOfA = 32 * 1024, kBytesOfB = 64 * 1024;

// Where a matrix's parts lie in its image.
struct Layout {
  runtime::Swizzle swizzle;
  unsigned stride, leading;     // bytes, as wgmma_descriptor takes them
  unsigned steps_a_part, part;  // steps of depth until the next part, and its distance in bytes
  unsigned step;                // bytes to the next step of depth within a part
};

GRAFT_DEVICE std::uint64_t descriptor(const unsigned char* image, const Layout& l, unsigned step) {
  return arch::wgmma_descriptor(image + step / l.steps_a_part * l.part + step % l.steps_a_part * l.step, l.swizzle,
                                l.stride, l.leading);
}

struct alignas(1024) Images {
  unsigned char a[kBytesOfA], b[kBytesOfB];
};

// y (64 x N) = y + a b in `steps` steps of depth; the images are copied as they are. With RegistersA a is an array of
// depth * 64 elements instead, [step][lane of 128][register].
template <class T, int N, bool AColumns, bool BRows, bool RegistersA>
GRAFT_KERNEL(128)
multiply(const std::uint32_t* a, Layout layout_a, const std::uint32_t* b, Layout layout_b, unsigned steps, float* y) {
  GRAFT_DYNAMIC_SHARED(Images, images);
  const unsigned thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  if (!RegistersA)
    for (unsigned i = thread; i < kBytesOfA / 4; i += 128) reinterpret_cast<std::uint32_t*>(images->a)[i] = a[i];
  for (unsigned i = thread; i < kBytesOfB / 4; i += 128) reinterpret_cast<std::uint32_t*>(images->b)[i] = b[i];
  float d[N / 2];
  const auto place = [&](unsigned i) {
    return (warp * 16 + lane / 4 + i % 4 / 2 * 8) * N + i / 4 * 8 + lane % 4 * 2 + i % 2;
  };
  GRAFT_UNROLL
  for (unsigned i = 0; i < N / 2; ++i) d[i] = y[place(i)];
  arch::fence_proxy_async();
  __syncthreads();
  if constexpr (RegistersA) {
    for (unsigned step = 0; step < steps; ++step) {
      std::uint32_t registers[4];
      GRAFT_UNROLL
      for (unsigned i = 0; i < 4; ++i) registers[i] = a[(step * 128 + thread) * 4 + i];
      arch::wgmma_keep(d);
      arch::wgmma_fence();
      arch::wgmma<T, BRows>(d, registers, descriptor(images->b, layout_b, step), true);
      arch::wgmma_commit();
      arch::wgmma_wait<0>();
    }
  } else {
    arch::wgmma_keep(d);
    arch::wgmma_fence();
    for (unsigned step = 0; step < steps; ++step) {
      arch::wgmma<T, AColumns, BRows>(d, descriptor(images->a, layout_a, step), descriptor(images->b, layout_b, step),
                                      true);
      arch::wgmma_commit();
      arch::wgmma_wait<1>();
    }
    arch::wgmma_wait<0>();
  }
  arch::wgmma_keep(d);
  GRAFT_UNROLL
  for (unsigned i = 0; i < N / 2; ++i) y[place(i)] = d[i];
}

// What nvcc is to build of the templates.
[[maybe_unused]] static const std::tuple kInstances{
    &multiply<__nv_bfloat16, 64, false, false, false>, &multiply<__nv_bfloat16, 64, true, false, false>,
    &multiply<__nv_bfloat16, 256, false, true, false>, &multiply<__half, 64, true, true, false>,
    &multiply<__half, 24, false, false, false>,        &multiply<arch::Tf32, 32, false, false, false>,
    &multiply<__nv_bfloat16, 64, false, false, true>,  &multiply<__half, 64, false, true, true>,
    &multiply<arch::Tf32, 64, false, false, true>};

}  // namespace graft::simt::wgmma_products
