// device_copy/{memcpy,kernel}/<MiB>: the bandwidth that a GPU reaches when it only copies, which bandwidth-bound ops
// are measured against. bytes_per_second counts what is read and what is written.
#include <support.h>

#include <graft/core/cuda.h>
#include <graft/core/ops/raw.h>
#include <graft/kernels/api/elementwise.h>
#include <graft/kernels/runtime/cuda.h>

namespace graft::bench {

void add_copy() {
  if (!cuda::is_available()) return;
  const Place gpu{Device::cuda()};
  for (const std::int64_t mebibytes : {1, 64, 256, 1024}) {  // 1: for the emulated device
    if (mebibytes == 1 && !emulated()) continue;
    const std::int64_t bytes = mebibytes << 20;
    const Work work{.bytes = 2 * static_cast<double>(bytes)};
    const auto buffers = [=] {
      return std::pair{Tensor::zeros({bytes / 4}, DType::f32, gpu.device),
                       Tensor::empty({bytes / 4}, DType::f32, gpu.device)};
    };
    add(gpu, cat("device_copy/memcpy/", mebibytes), work, [=] {
      const auto [x, y] = buffers();
      return [from = x, to = y, bytes] {
        runtime::copy_on_device(to.ref().data, from.ref().data, static_cast<std::size_t>(bytes),
                                runtime::current_stream(0));
      };
    });
    add(gpu, cat("device_copy/kernel/", mebibytes), work, [=] {
      const auto [x, y] = buffers();
      return [from = x, to = y] { raw::run(kernels::CopyArgs{from.ref(), to.ref()}, to); };
    });
  }
}

}  // namespace graft::bench
