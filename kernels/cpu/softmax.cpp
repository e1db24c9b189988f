// Softmax and cross-entropy over rows.

#include <algorithm>

#include <graft/kernels/cpu/common.h>
#include <graft/kernels/cpu/rows.h>

namespace graft::kernels::cpu {
namespace {

Support supports(const SoftmaxArgs& args) { return contract_and_f32(args, {&args.x}); }
void run(const SoftmaxArgs& args, Stream&) {
  const std::int64_t n = args.x.shape[1];
  const auto kernel = vector_kernels().softmax;
  parallel_for(args.x.shape[0], grain_of(8 * n), [&](std::int64_t begin, std::int64_t end) {
    kernel(args.x.as<float>() + begin * n, end - begin, n, args.log, args.y.as<float>() + begin * n);
  });
}

Support supports(const SoftmaxBackwardArgs& args) { return contract_and_f32(args, {&args.y}); }
void run(const SoftmaxBackwardArgs& args, Stream&) {
  const std::int64_t n = args.y.shape[1];
  const auto kernel = vector_kernels().softmax_grad;
  parallel_for(args.y.shape[0], grain_of(8 * n), [&](std::int64_t begin, std::int64_t end) {
    kernel(args.y.as<float>() + begin * n, args.gy.as<float>() + begin * n, end - begin, n, args.log,
           args.gx.as<float>() + begin * n);
  });
}

void check_targets(const char* op, const TensorRef& targets, std::int64_t classes, std::int64_t ignore_index) {
  const auto* t = targets.as<std::int64_t>();
  for (std::int64_t i = 0; i < targets.shape[0]; ++i)
    check(t[i] == ignore_index || (t[i] >= 0 && t[i] < classes), op, ": targets[", i, "] is ", t[i],
          ": expected a class from 0 to ", classes - 1, ", or ignore_index ", ignore_index);
}

double weight_of(const TensorRef& weights, std::int64_t target) {
  return weights.defined() ? static_cast<double>(weights.as<float>()[target]) : 1.0;
}

double sum_of_weights(const TensorRef& weights, std::int64_t classes) {
  if (!weights.defined()) return static_cast<double>(classes);
  double sum = 0;
  for (std::int64_t c = 0; c < classes; ++c) sum += static_cast<double>(weights.as<float>()[c]);
  return sum;
}

Support supports(const CrossEntropyArgs& args) { return contract_and_f32(args, {&args.logits}); }

void run(const CrossEntropyArgs& args, Stream&) {
  const std::int64_t rows = args.logits.shape[0], classes = args.logits.shape[1];
  check_targets(args.name, args.targets, classes, args.ignore_index);
  const auto* targets = args.targets.as<std::int64_t>();
  const double smoothing = args.label_smoothing, all_weights = sum_of_weights(args.class_weights, classes);
  const Workspace losses(static_cast<std::size_t>(rows) * sizeof(double));
  const VectorKernels& kernels = vector_kernels();
  parallel_for(rows, grain_of(8 * classes), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float* x = args.logits.as<float>() + i * classes;
      const float row_max = kernels.max(x, classes), log_sum = kernels.log_sum(x, row_max, classes);
      args.row_max.as<float>()[i] = row_max;
      args.log_sum.as<float>()[i] = log_sum;
      double loss = 0;
      if (const std::int64_t t = targets[i]; t != args.ignore_index) {
        const double wide_sum = static_cast<double>(log_sum);
        loss = (1 - smoothing) * weight_of(args.class_weights, t) *
               (wide_sum - (static_cast<double>(x[t]) - static_cast<double>(row_max)));
        if (smoothing != 0)
          loss += smoothing / static_cast<double>(classes) *
                  (all_weights * wide_sum - kernels.weighted_sum(args.class_weights.as<float>(), x, row_max, classes));
      }
      losses.as<double>()[i] = loss;
    }
  });
  if (args.reduction == Reduction::none) {
    for (std::int64_t i = 0; i < rows; ++i) args.loss.as<float>()[i] = static_cast<float>(losses.as<double>()[i]);
    *args.scale.as<float>() = 1;
    return;
  }
  double loss = 0, weight = 0;
  for (std::int64_t i = 0; i < rows; ++i) {
    if (targets[i] == args.ignore_index) continue;
    loss += losses.as<double>()[i];
    weight += weight_of(args.class_weights, targets[i]);
  }
  const double scale = args.reduction == Reduction::mean ? 1 / weight : 1;
  *args.loss.as<float>() = static_cast<float>(args.reduction == Reduction::mean ? loss / weight : loss);
  *args.scale.as<float>() = static_cast<float>(scale);
}

Support supports(const CrossEntropyBackwardArgs& args) { return contract_and_f32(args, {&args.logits}); }

void run(const CrossEntropyBackwardArgs& args, Stream&) {
  const std::int64_t rows = args.logits.shape[0], classes = args.logits.shape[1];
  check_targets(args.name, args.targets, classes, args.ignore_index);
  const auto* targets = args.targets.as<std::int64_t>();
  const double smoothing = args.label_smoothing, all_weights = sum_of_weights(args.class_weights, classes);
  const double spread = smoothing / static_cast<double>(classes);
  const auto scale = static_cast<double>(*args.scale.as<float>());
  const auto* gy = args.gy.as<float>();  // null: ones
  const auto kernel = vector_kernels().cross_entropy_grad;
  parallel_for(rows, grain_of(8 * classes), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      float* gx = args.gx.as<float>() + i * classes;
      const std::int64_t t = targets[i];
      if (t == args.ignore_index) {
        std::fill_n(gx, classes, 0.0f);
        continue;
      }
      const double g =
          gy == nullptr ? scale : scale * static_cast<double>(gy[args.reduction == Reduction::none ? i : 0]);
      const double own = (1 - smoothing) * weight_of(args.class_weights, t);
      // d loss / d x[c] = (own + spread sum(w)) p[c] - spread w[c] - own [c == t]
      kernel(args.logits.as<float>() + i * classes, args.class_weights.as<float>(), classes,
             args.row_max.as<float>()[i], args.log_sum.as<float>()[i],
             static_cast<float>(g * (own + spread * all_weights)), static_cast<float>(g * spread), gx);
      gx[t] -= static_cast<float>(g * own);
    }
  });
}

}  // namespace

void add_softmax(BackendTable& table) {
  table.row<SoftmaxArgs>() = {supports, run};
  table.row<SoftmaxBackwardArgs>() = {supports, run};
  table.row<CrossEntropyArgs>() = {supports, run};
  table.row<CrossEntropyBackwardArgs>() = {supports, run};
}

}  // namespace graft::kernels::cpu
