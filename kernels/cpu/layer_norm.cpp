// Layer normalisation: rows are independent, but for the gradients of gamma and beta.

#include <algorithm>

#include <graft/kernels/cpu/column_reduce.h>
#include <graft/kernels/cpu/common.h>
#include <graft/kernels/cpu/rows.h>

namespace graft::kernels::cpu {
namespace {

Support supports(const LayerNormArgs& args) { return contract_and_f32(args, {&args.x}); }

void run(const LayerNormArgs& args, Stream&) {
  const std::int64_t rows = args.x.shape[0], n = args.x.shape[1];
  const auto kernel = vector_kernels().layer_norm;
  parallel_for(rows, grain_of(4 * n), [&](std::int64_t begin, std::int64_t end) {
    kernel(args.x.as<float>() + begin * n, args.gamma.as<float>(), args.beta.as<float>(), static_cast<float>(args.eps),
           end - begin, n, args.y.as<float>() + begin * n, args.mean.as<float>() + begin,
           args.inv_std.as<float>() + begin);
  });
}

Support supports(const LayerNormBackwardArgs& args) { return contract_and_f32(args, {&args.x}); }

void parameter_gradients(const LayerNormBackwardArgs& args) {
  const std::int64_t rows = args.x.shape[0], n = args.x.shape[1];
  const std::int64_t length = std::max<std::int64_t>(1, rows_per_chunk(rows, n));
  const std::int64_t chunks = (rows + length - 1) / length;
  const Workspace partial = float_workspace(2 * chunks * n);
  float *ggammas = partial.as<float>(), *gbetas = ggammas + chunks * n;
  const auto kernel = vector_kernels().layer_norm_grad_params;
  parallel_for(chunks, grain_of(length * n), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t row = i * length;
      kernel(args.x.as<float>() + row * n, args.gy.as<float>() + row * n, args.mean.as<float>() + row,
             args.inv_std.as<float>() + row, std::min(length, rows - row), n, ggammas + i * n, gbetas + i * n);
    }
  });
  auto combine = [&](const float* parts, const TensorRef& into) {
    if (!into.defined()) return;
    parallel_for(n, grain_of(chunks), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t k = begin; k < end; ++k) {
        double total = 0;
        for (std::int64_t i = 0; i < chunks; ++i) total += static_cast<double>(parts[i * n + k]);
        into.as<float>()[k] = static_cast<float>(total);
      }
    });
  };
  combine(ggammas, args.ggamma);
  combine(gbetas, args.gbeta);
}

void run(const LayerNormBackwardArgs& args, Stream&) {
  const std::int64_t rows = args.x.shape[0], n = args.x.shape[1];
  if (args.ggamma.defined() || args.gbeta.defined()) parameter_gradients(args);
  if (!args.gx.defined()) return;
  const auto kernel = vector_kernels().layer_norm_grad;
  parallel_for(rows, grain_of(4 * n), [&](std::int64_t begin, std::int64_t end) {
    kernel(args.x.as<float>() + begin * n, args.gy.as<float>() + begin * n, args.gamma.as<float>(),
           args.mean.as<float>() + begin, args.inv_std.as<float>() + begin, end - begin, n,
           args.gx.as<float>() + begin * n);
  });
}

}  // namespace

void add_layer_norm(BackendTable& table) {
  table.row<LayerNormArgs>() = {supports, run};
  table.row<LayerNormBackwardArgs>() = {supports, run};
}

}  // namespace graft::kernels::cpu
