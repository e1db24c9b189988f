#include <graft/core/ops/nn.h>
#include <graft/layers/layers.h>

namespace graft {

BatchNorm::BatchNorm(const char* kind, int min_rank, int max_rank, std::int64_t features, Options options)
    : kind_(kind), min_rank_(min_rank), max_rank_(max_rank), options_(options) {
  check(features >= 1, kind, ": ", features, " features, expected at least 1");
  check(options.eps > 0, kind, ": eps is ", options.eps, ", expected above 0");
  check(options.momentum >= 0 && options.momentum <= 1, kind, ": momentum is ", options.momentum,
        ", expected 0 to 1 (the share of the new batch)");
  if (options.affine) {
    weight = register_parameter("weight", Tensor::ones({features}));
    bias = register_parameter("bias", Tensor::zeros({features}));
  }
  running_mean = register_buffer("running_mean", Tensor::zeros({features}));
  running_var = register_buffer("running_var", Tensor::ones({features}));
  num_batches_tracked = register_buffer("num_batches_tracked", Tensor::zeros({}, DType::i64));
}

Tensor BatchNorm::forward(const Tensor& x) {
  const std::int64_t features = running_mean.size(0);
  if (x.dim() < min_rank_ || x.dim() > max_rank_ || x.size(1) != features) [[unlikely]]
    fail(title(), ": x is ", to_string(x), ", expected (N, ", features, min_rank_ == 4 ? ", H, W)" : ") or (N, ",
         min_rank_ == 4 ? std::string() : cat(features, ", L)"));
  if (is_training() && x.numel() / features < 2) [[unlikely]]
    fail(title(), ": x is ", to_string(x),
         ", expected more than one value a channel when training (a larger batch, or eval())");
  return batch_norm(x, weight, bias, running_mean, running_var,
                    {.momentum = options_.momentum,
                     .eps = options_.eps,
                     .training = is_training(),
                     .num_batches_tracked = num_batches_tracked});
}

DType BatchNorm::own_dtype(DType dtype) const { return dtype == DType::f64 ? DType::f64 : DType::f32; }

std::string BatchNorm::describe() const {
  std::string text = cat(kind_, "(", running_mean.size(0));
  if (options_.eps != Options{}.eps) text += cat(", eps=", options_.eps);
  if (options_.momentum != Options{}.momentum) text += cat(", momentum=", options_.momentum);
  if (!options_.affine) text += ", affine=false";
  return text + ")";
}

LayerNorm::LayerNorm(const Shape& shape, double eps) : eps_(eps) {
  check(shape.rank() >= 1 && shape.numel() >= 1, "LayerNorm: the shape is ", shape,
        ", expected at least one dimension and no empty one");
  check(eps > 0, "LayerNorm: eps is ", eps, ", expected above 0");
  weight = register_parameter("weight", Tensor::ones(shape));
  bias = register_parameter("bias", Tensor::zeros(shape));
}

Tensor LayerNorm::forward(const Tensor& x) {
  bool fits = x.dim() >= weight.dim();
  for (int i = 1; fits && i <= weight.dim(); ++i) fits = x.size(-i) == weight.size(-i);
  if (!fits) [[unlikely]]
    fail(title(), ": x is ", to_string(x), ", expected a shape that ends with ", to_string(weight.shape()));
  return layer_norm(x, weight, bias, eps_);
}

std::string LayerNorm::describe() const {
  return cat("LayerNorm(", to_string(weight.shape()), eps_ == 1e-5 ? std::string() : cat(", eps=", eps_), ")");
}

}  // namespace graft
