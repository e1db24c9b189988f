#include <graft/kernels/api/norm.h>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/nn.h>
#include <graft/core/ops/raw.h>
#include <graft/core/ops/view.h>
#include <graft/core/tensor_state.h>

namespace graft {
namespace {

DType statistics_dtype(const Tensor& x) { return x.dtype() == DType::f64 ? DType::f64 : DType::f32; }

kernels::TensorRef optional_ref(const Tensor& t) { return t.defined() ? t.ref() : kernels::TensorRef{}; }

// --- batch norm
// -------------------------------------------------------------------------------------------------------

/// x as (M, C) with the channels innermost: (N, C) row-major, or images channels-last.
Tensor channel_rows(const Tensor& x) {
  if (x.dim() == 2) return raw::with_format(x, MemoryFormat::contiguous);
  const Tensor image = raw::with_format(x, MemoryFormat::channels_last);
  const std::int64_t c = x.size(1);
  return make_view(image, {c > 0 ? x.numel() / c : 0, c}, {c, 1}, image.storage_offset());
}

/// What channel_rows undoes: the same memory under x's shape.
Tensor from_channel_rows(const Tensor& rows, const Shape& shape) {
  if (shape.rank() == 2) return rows;
  return make_view(rows, shape, channels_last_strides(shape), rows.storage_offset());
}

struct BatchNormNode final : Node {
  Saved x, gamma, mean, inv_std;  // x as rows
  bool training;
  const char* name() const override { return "batch_norm"; }
  void backward(const Tensor& gradient, GradSlots& gx) override {
    const Tensor rows = x.get(name()), gy = channel_rows(gradient), weight = gamma.get(name()), m = mean.get(name()),
                 s = inv_std.get(name());
    Tensor g, ggamma, gbeta;
    if (gx.needed(0)) g = rows.empty_like();
    if (gx.needed(1)) ggamma = m.empty_like();
    if (gx.needed(2)) gbeta = m.empty_like();
    if (rows.numel() == 0) {
      if (ggamma.defined()) raw::fill(ggamma, 0);
      if (gbeta.defined()) raw::fill(gbeta, 0);
    } else {
      raw::run(kernels::BatchNormBackwardArgs{rows.ref(), gy.ref(), optional_ref(weight), m.ref(), s.ref(),
                                              optional_ref(g), optional_ref(ggamma), optional_ref(gbeta), training},
               gradient);
    }
    if (g.defined()) gx.put(0, from_channel_rows(g, gradient.shape()));
    if (ggamma.defined()) gx.put(1, ggamma);
    if (gbeta.defined()) gx.put(2, gbeta);
  }
  void release() override { x = gamma = mean = inv_std = {}; }
};

void check_channels(const char* argument, const Tensor& t, std::int64_t channels, DType dtype, bool required) {
  if (!t.defined()) {
    check(!required, "batch_norm: ", argument, " is undefined, and inference needs it");
    return;
  }
  check(t.shape() == Shape{channels} && t.dtype() == dtype && t.is_contiguous(), "batch_norm: expected ", argument, " ",
        name(dtype), " (", channels, ",), got ", t);
}

// --- layer norm
// -------------------------------------------------------------------------------------------------------

struct LayerNormNode final : Node {
  Saved x, gamma, mean, inv_std;  // x as rows
  Shape gamma_shape;
  const char* name() const override { return "layer_norm"; }
  void backward(const Tensor& gradient, GradSlots& gx) override {
    const Tensor rows = x.get(name()), weight = gamma.get(name()), m = mean.get(name()), s = inv_std.get(name());
    const Tensor gy = raw::reshape(raw::with_format(gradient, MemoryFormat::contiguous), rows.shape());
    Tensor g, ggamma, gbeta;
    if (gx.needed(0)) g = rows.empty_like();
    if (gx.needed(1)) ggamma = Tensor::empty({rows.size(1)}, rows.dtype(), rows.device());
    if (gx.needed(2)) gbeta = Tensor::empty({rows.size(1)}, rows.dtype(), rows.device());
    raw::run(kernels::LayerNormBackwardArgs{rows.ref(), gy.ref(), optional_ref(weight), m.ref(), s.ref(),
                                            optional_ref(g), optional_ref(ggamma), optional_ref(gbeta)},
             gradient);
    if (g.defined()) gx.put(0, raw::reshape(g, gradient.shape()));
    if (ggamma.defined()) gx.put(1, raw::reshape(ggamma, gamma_shape));
    if (gbeta.defined()) gx.put(2, raw::reshape(gbeta, gamma_shape));
  }
  void release() override { x = gamma = mean = inv_std = {}; }
};

}  // namespace

Tensor batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, Tensor running_mean, Tensor running_var,
                  const BatchNormOptions& options) {
  raw::check_floating("batch_norm", "x", x);
  check(x.dim() >= 2 && x.dim() <= 4, "batch_norm: expected x (N, C), (N, C, L) or (N, C, H, W), got ", x);
  if (x.dim() == 3) return squeeze(batch_norm(unsqueeze(x, 3), gamma, beta, running_mean, running_var, options), 3);
  const std::int64_t channels = x.size(1);
  const DType wide = statistics_dtype(x);
  const bool batch_statistics = options.training || !running_mean.defined();
  for (const Tensor* t : std::initializer_list<const Tensor*>{&gamma, &beta, &running_mean, &running_var})
    if (t->defined()) raw::check_same_device("batch_norm", x, *t);
  check_channels("gamma", gamma, channels, wide, false);
  check_channels("beta", beta, channels, wide, false);
  check(running_mean.defined() == running_var.defined(), "batch_norm: running_mean and running_var go together");
  check_channels("running_mean", running_mean, channels, wide, !batch_statistics);
  check_channels("running_var", running_var, channels, wide, !batch_statistics);
  Tensor batches = options.training ? options.num_batches_tracked : Tensor();
  if (batches.defined()) {
    raw::check_same_device("batch_norm", x, batches);
    check(batches.dtype() == DType::i64 && batches.numel() == 1,
          "batch_norm: expected num_batches_tracked i64 of one element, got ", batches);
  }
  const Tensor rows = channel_rows(x);
  check(!batch_statistics || rows.size(0) > 1, "batch_norm: training needs more than one value a channel, got x ", x);

  Tensor y = rows.empty_like();
  Tensor mean = Tensor::empty({channels}, wide, x.device()), inv_std = Tensor::empty({channels}, wide, x.device());
  kernels::BatchNormArgs args{
      rows.ref(),      optional_ref(gamma), optional_ref(beta), optional_ref(running_mean), optional_ref(running_var),
      y.ref(),         mean.ref(),          inv_std.ref(),      options.momentum,           options.eps,
      batch_statistics, optional_ref(batches)};
  if (rows.numel() > 0) raw::run(args, x);
  if (rows.numel() > 0 && batches.defined()) batches.bump_version();
  if (batch_statistics && running_mean.defined()) {
    running_mean.bump_version();
    running_var.bump_version();
  }
  y = from_channel_rows(y, x.shape());
  if (!any_requires_grad({&x, &gamma, &beta})) return y;
  auto node = std::make_shared<BatchNormNode>();
  node->x = Saved(rows);
  node->gamma = Saved(gamma);
  node->mean = Saved(mean);
  node->inv_std = Saved(inv_std);
  node->training = batch_statistics;
  return record(y, std::move(node), {x, gamma, beta});
}

Tensor layer_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps, int dims) {
  raw::check_floating("layer_norm", "x", x);
  const int over = gamma.defined() ? gamma.dim() : dims;
  check(over >= 1 && over <= x.dim(), "layer_norm: cannot normalise the last ", over, " dimensions of ", x);
  std::int64_t n = 1;
  for (int i = 1; i <= over; ++i) n *= x.size(-i);
  for (const Tensor* t : {&gamma, &beta}) {
    if (!t->defined()) continue;
    raw::check_same_device("layer_norm", x, *t);
    bool fits = t->dim() == over && t->dtype() == x.dtype();
    for (int i = 1; fits && i <= over; ++i) fits = t->size(-i) == x.size(-i);
    check(fits, "layer_norm: ", t == &gamma ? "gamma" : "beta", " is ", *t, ", expected x's dtype and its last ", over,
          " dimensions; x is ", x);
  }
  if (x.numel() == 0) return x.clone();
  const Tensor rows = raw::reshape(raw::with_format(x, MemoryFormat::contiguous), {x.numel() / n, n});
  const auto flat = [](const Tensor& t) {
    return t.defined() ? raw::reshape(raw::with_format(t, MemoryFormat::contiguous), {-1}) : Tensor();
  };
  const Tensor flat_gamma = flat(gamma), flat_beta = flat(beta);
  const DType wide = statistics_dtype(x);
  Tensor y = rows.empty_like(), mean = Tensor::empty({rows.size(0)}, wide, x.device()), inv_std = mean.empty_like();
  raw::run(kernels::LayerNormArgs{rows.ref(), optional_ref(flat_gamma), optional_ref(flat_beta), y.ref(), mean.ref(),
                                  inv_std.ref(), eps},
           x);
  y = raw::reshape(y, x.shape());
  if (!any_requires_grad({&x, &gamma, &beta})) return y;
  auto node = std::make_shared<LayerNormNode>();
  node->x = Saved(rows);
  node->gamma = Saved(flat_gamma);
  node->mean = Saved(mean);
  node->inv_std = Saved(inv_std);
  node->gamma_shape = gamma.defined() ? gamma.shape() : (beta.defined() ? beta.shape() : Shape{n});
  return record(y, std::move(node), {x, gamma, beta});
}

}  // namespace graft
