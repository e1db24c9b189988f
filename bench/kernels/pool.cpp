// Pooling, forward and backward, at the strokes network's first block.
#include <support.h>

#include <graft/core/ops/raw.h>
#include <graft/core/random.h>
#include <graft/kernels/api/pool.h>

namespace graft::bench {
namespace {

Tensor images(const Shape& shape, DType dtype = DType::f32) {
  return Tensor::empty(shape, dtype, Device::cpu(), MemoryFormat::channels_last);
}

}  // namespace

void add_pool() {
  const Shape in{128, 32, 28, 28}, out{128, 32, 14, 14};
  const double x_bytes = 4.0 * static_cast<double>(in.numel()), y_bytes = 4.0 * static_cast<double>(out.numel());
  const Work work{.items = 128, .bytes = x_bytes + y_bytes}, with_index{.items = 128, .bytes = x_bytes + 2 * y_bytes};
  const auto input = [=] { return randn(in).contiguous(MemoryFormat::channels_last); };
  add("max_pool_relu/strokes_pool1/128", with_index, [=] {
    const Tensor x = input(), y = images(out), index = images(out, DType::i32);
    return [=] { raw::run(kernels::MaxPoolArgs{x.ref(), y.ref(), index.ref(), {}, true}, x); };
  });
  add("max_pool_relu_inference/strokes_pool1/128", work, [=] {
    const Tensor x = input(), y = images(out);
    return [=] { raw::run(kernels::MaxPoolArgs{x.ref(), y.ref(), {}, {}, true}, x); };
  });
  add("max_pool_relu_backward/strokes_pool1/128", {.items = 128, .bytes = x_bytes + 3 * y_bytes}, [=] {
    const Tensor x = input(), y = images(out), index = images(out, DType::i32), gx = images(in);
    raw::run(kernels::MaxPoolArgs{x.ref(), y.ref(), index.ref(), {}, true}, x);
    const Tensor gy = randn(out).contiguous(MemoryFormat::channels_last);
    return [=] { raw::run(kernels::MaxPoolBackwardArgs{gy.ref(), index.ref(), y.ref(), gx.ref(), {}, true}, gx); };
  });
  add("avg_pool/strokes_pool1/128", work, [=] {
    const Tensor x = input(), y = images(out);
    return [=] { raw::run(kernels::AvgPoolArgs{x.ref(), y.ref(), {}}, x); };
  });
  add("avg_pool_backward/strokes_pool1/128", work, [=] {
    const Tensor gy = randn(out).contiguous(MemoryFormat::channels_last), gx = images(in);
    return [=] { raw::run(kernels::AvgPoolBackwardArgs{gy.ref(), gx.ref(), {}}, gx); };
  });
  add("adaptive_avg_pool/512x7x7/64", {.items = 64, .bytes = 4.0 * 64 * 512 * 50}, [=] {
    const Tensor x = randn({64, 512, 7, 7}).contiguous(MemoryFormat::channels_last), y = images({64, 512, 1, 1});
    return [=] { raw::run(kernels::AdaptiveAvgPoolArgs{x.ref(), y.ref()}, x); };
  });
}

}  // namespace graft::bench
