// Pooling over NHWC images: geometry here, the arithmetic in simd/pool.inc.

#include <graft/kernels/cpu/common.h>
#include <graft/kernels/cpu/rows.h>

namespace graft::kernels::cpu {
namespace {

PoolShape shape_of(const TensorRef& x, const TensorRef& y, const PoolGeometry& g = {}, bool relu = false) {
  PoolShape s{};
  s.n = x.shape[0];
  s.c = x.shape[1];
  s.h = x.shape[2];
  s.w = x.shape[3];
  s.p = y.shape[2];
  s.q = y.shape[3];
  s.kernel_h = g.kernel_h;
  s.kernel_w = g.kernel_w;
  s.stride_h = g.stride_h;
  s.stride_w = g.stride_w;
  s.padding_h = g.padding_h;
  s.padding_w = g.padding_w;
  s.dilation_h = g.dilation_h;
  s.dilation_w = g.dilation_w;
  s.relu = relu;
  s.count_include_pad = g.count_include_pad;
  return s;
}

// Forward: rows of the output, n * p of them.
std::int64_t row_grain(const PoolShape& s) {
  return grain_of(s.q * s.c * std::max<std::int64_t>(1, s.h * s.w / std::max<std::int64_t>(1, s.p * s.q)));
}
// Backward: whole images.
std::int64_t image_grain(const PoolShape& s) { return grain_of(s.h * s.w * s.c); }

Support supports(const MaxPoolArgs& args) { return contract_and_f32(args, {&args.x}); }
void run(const MaxPoolArgs& args, Stream&) {
  PoolShape s = shape_of(args.x, args.y, args.geometry, args.relu);
  s.wide_index = args.index.dtype == DType::i32;
  const auto kernel = vector_kernels().max_pool;
  parallel_for(s.n * s.p, row_grain(s), [&](std::int64_t begin, std::int64_t end) {
    kernel(s, args.x.as<float>(), args.y.as<float>(), args.index.as<void>(), begin, end);
  });
}

Support supports(const MaxPoolBackwardArgs& args) { return contract_and_f32(args, {&args.gy}); }
void run(const MaxPoolBackwardArgs& args, Stream&) {
  PoolShape s = shape_of(args.gx, args.gy, args.geometry, args.relu);
  s.wide_index = args.index.dtype == DType::i32;
  const auto kernel = vector_kernels().max_pool_grad;
  parallel_for(s.n, image_grain(s), [&](std::int64_t begin, std::int64_t end) {
    kernel(s, args.gy.as<float>(), args.index.as<void>(), args.y.as<float>(), args.gx.as<float>(), begin, end);
  });
}

Support supports(const AvgPoolArgs& args) { return contract_and_f32(args, {&args.x}); }
void run(const AvgPoolArgs& args, Stream&) {
  const PoolShape s = shape_of(args.x, args.y, args.geometry);
  const auto kernel = vector_kernels().avg_pool;
  parallel_for(s.n * s.p, row_grain(s), [&](std::int64_t begin, std::int64_t end) {
    kernel(s, args.x.as<float>(), args.y.as<float>(), begin, end);
  });
}

Support supports(const AvgPoolBackwardArgs& args) { return contract_and_f32(args, {&args.gy}); }
void run(const AvgPoolBackwardArgs& args, Stream&) {
  const PoolShape s = shape_of(args.gx, args.gy, args.geometry);
  const auto kernel = vector_kernels().avg_pool_grad;
  parallel_for(s.n, image_grain(s), [&](std::int64_t begin, std::int64_t end) {
    kernel(s, args.gy.as<float>(), args.gx.as<float>(), begin, end);
  });
}

Support supports(const AdaptiveAvgPoolArgs& args) { return contract_and_f32(args, {&args.x}); }
void run(const AdaptiveAvgPoolArgs& args, Stream&) {
  const PoolShape s = shape_of(args.x, args.y);
  const auto kernel = vector_kernels().adaptive_avg_pool;
  parallel_for(s.n * s.p, row_grain(s), [&](std::int64_t begin, std::int64_t end) {
    kernel(s, args.x.as<float>(), args.y.as<float>(), begin, end);
  });
}

Support supports(const AdaptiveAvgPoolBackwardArgs& args) { return contract_and_f32(args, {&args.gy}); }
void run(const AdaptiveAvgPoolBackwardArgs& args, Stream&) {
  const PoolShape s = shape_of(args.gx, args.gy);
  const auto kernel = vector_kernels().adaptive_avg_pool_grad;
  parallel_for(s.n, image_grain(s), [&](std::int64_t begin, std::int64_t end) {
    kernel(s, args.gy.as<float>(), args.gx.as<float>(), begin, end);
  });
}

}  // namespace

void add_pool(BackendTable& table) {
  table.row<MaxPoolArgs>() = {supports, run};
  table.row<MaxPoolBackwardArgs>() = {supports, run};
  table.row<AvgPoolArgs>() = {supports, run};
  table.row<AvgPoolBackwardArgs>() = {supports, run};
  table.row<AdaptiveAvgPoolArgs>() = {supports, run};
  table.row<AdaptiveAvgPoolBackwardArgs>() = {supports, run};
}

}  // namespace graft::kernels::cpu
