// Batch and layer normalisation, softmax and log-softmax, cross-entropy, pooling.
#include "large/large.h"

namespace graft::test::large {
namespace {

std::string size_name(std::int64_t rows, std::int64_t n) { return std::to_string(rows) + "x" + std::to_string(n); }

// y is of the order of 1, and made of few operations beside the sums over a channel or a row.
constexpr int kFew = 16;

void add_batch_norm(Cases& cases, std::int64_t rows, std::int64_t channels) {
  const std::string size = size_name(rows, channels);
  for (const bool training : {true, false})
    cases.add(std::string(training ? "batch_norm_training_" : "batch_norm_inference_") + size, kAll, [=](Tensors& make) {
      const std::int64_t terms = training ? rows : 1;
      kernels::BatchNormArgs args;
      args.x = make.input({rows, channels}, -0.5, 1.5).ref();
      args.gamma = make.wide_input({channels}, 0.5, 1.5).ref();
      args.beta = make.wide_input({channels}).ref();
      const Tensor mean = make.wide_input({channels}, 0, 1), var = make.wide_input({channels}, 0.5, 1.5);
      args.running_mean = mean.ref();
      args.running_var = var.ref();
      if (training) {
        args.running_mean = make.in_out("running_mean", mean, make.wide_sum(rows, kFew)).ref();
        args.running_var = make.in_out("running_var", var, make.wide_sum(rows, kFew)).ref();
        args.mean = make.output_of(make.wide(), "mean", {channels}, make.wide_sum(rows, kFew)).ref();
        args.inv_std = make.output_of(make.wide(), "inv_std", {channels}, make.wide_sum(rows, kFew)).ref();
      }
      args.y = make.output("y", {rows, channels}, make.sum(terms, kFew)).ref();
      args.training = training;
      return std::vector{step(args)};
    });
  cases.add("batch_norm_backward_" + size, kAll, [=](Tensors& make) {
    kernels::BatchNormBackwardArgs args;
    args.x = make.input({rows, channels}).ref();
    args.gy = make.input({rows, channels}).ref();
    args.gamma = make.wide_input({channels}, 0.5, 1.5).ref();
    args.mean = make.wide_input({channels}, -0.1, 0.1).ref();
    args.inv_std = make.wide_input({channels}, 1, 2).ref();
    args.gx = make.output("gx", {rows, channels}, make.sum(rows, kFew)).ref();
    args.ggamma = make.output_of(make.wide(), "ggamma", {channels}, make.wide_sum(rows, kFew)).ref();
    args.gbeta = make.output_of(make.wide(), "gbeta", {channels}, make.wide_sum(rows, kFew)).ref();
    return std::vector{step(args)};
  });
}

void add_layer_norm(Cases& cases, std::int64_t rows, std::int64_t n) {
  const std::string size = size_name(rows, n);
  cases.add("layer_norm_" + size, kAll, [=](Tensors& make) {
    kernels::LayerNormArgs args;
    args.x = make.input({rows, n}, -0.5, 1.5).ref();
    args.gamma = make.input({n}, 0.5, 1.5).ref();
    args.beta = make.input({n}).ref();
    args.mean = make.output_of(make.wide(), "mean", {rows}, make.wide_sum(n, kFew)).ref();
    args.inv_std = make.output_of(make.wide(), "inv_std", {rows}, make.wide_sum(n, kFew)).ref();
    args.y = make.output("y", {rows, n}, make.sum(n, kFew)).ref();
    return std::vector{step(args)};
  });
  cases.add("layer_norm_backward_" + size, kAll, [=](Tensors& make) {
    kernels::LayerNormBackwardArgs args;
    args.x = make.input({rows, n}).ref();
    args.gy = make.input({rows, n}).ref();
    args.gamma = make.input({n}, 0.5, 1.5).ref();
    args.mean = make.wide_input({rows}, -0.1, 0.1).ref();
    args.inv_std = make.wide_input({rows}, 1, 2).ref();
    args.gx = make.output("gx", {rows, n}, make.sum(n, kFew)).ref();
    args.ggamma = make.output("ggamma", {n}, make.sum(rows, kFew)).ref();
    args.gbeta = make.output("gbeta", {n}, make.sum(rows, kFew)).ref();
    return std::vector{step(args)};
  });
}

// Inputs within +-4: the exponent's argument is off by 8 u at most, so is the exponential.
void add_rows(Cases& cases, std::int64_t rows, std::int64_t n) {
  const std::string size = size_name(rows, n);
  for (const bool log : {false, true}) {
    const std::string op = log ? "log_softmax" : "softmax";
    cases.add(op + "_" + size, kAll, [=](Tensors& make) {
      kernels::SoftmaxArgs args;
      args.x = make.input({rows, n}, -4, 4).ref();
      args.y = make.output("y", {rows, n}, make.sum(n, kFew)).ref();
      args.log = log;
      return std::vector{step(args)};
    });
    cases.add(op + "_backward_" + size, kAll, [=](Tensors& make) {
      kernels::SoftmaxBackwardArgs args;
      args.y = (log ? make.input({rows, n}, -12, -4) : make.input({rows, n}, 0, 1.0 / 16)).ref();  // normal also in f16
      args.gy = make.input({rows, n}).ref();
      args.gx = make.output("gx", {rows, n}, make.sum(n, kFew)).ref();
      args.log = log;
      return std::vector{step(args)};
    });
  }
  cases.add("cross_entropy_" + size, kAll, [=](Tensors& make) {
    kernels::CrossEntropyArgs args;
    args.logits = make.input({rows, n}, -4, 4).ref();
    args.targets = make.labels(rows, n).ref();
    args.log_sum_exp = make.scratch(make.wide(), {rows}).ref();
    args.scale = make.scratch(make.wide(), {}).ref();
    args.loss = make.output_of(make.wide(), "loss", {}, make.wide_sum(rows + n, kFew)).ref();
    kernels::CrossEntropyBackwardArgs backward;
    backward.logits = args.logits;
    backward.targets = args.targets;
    backward.log_sum_exp = args.log_sum_exp;
    backward.scale = args.scale;
    // The loss is a mean: times its gradient the parts are of the order of 1, not below f16's normal numbers.
    backward.gy = make.wide_input({}, static_cast<double>(rows), 2.0 * static_cast<double>(rows)).ref();
    backward.gx = make.output("gx", {rows, n}, make.sum(n, 2 * kFew)).ref();
    return std::vector{step(args), step(backward)};
  });
}

void add_max_pool(Cases& cases, const std::string& name, const Shape& in, const Shape& out,
                  const kernels::PoolGeometry& geometry) {
  for (const bool backward : {false, true})
    cases.add("max_pool_relu_" + std::string(backward ? "backward_" : "") + name, kAll, [=](Tensors& make) {
      kernels::MaxPoolArgs args;
      args.x = make.images(in).ref();
      args.geometry = geometry;
      args.relu = true;
      args.y = make.output_images("y", out, 0).ref();
      if (!backward) return std::vector{step(args)};
      args.index = make.scratch(kernels::max_pool_index_dtype(geometry), out, MemoryFormat::channels_last).ref();
      kernels::MaxPoolBackwardArgs back;
      back.gy = make.images(out).ref();
      back.index = args.index;
      back.y = args.y;
      back.gx = make.output_images("gx", in, make.after(4)).ref();  // the sum of four windows at most
      back.geometry = geometry;
      back.relu = true;
      return std::vector{step(args), step(back)};
    });
}

void add_average_pools(Cases& cases, const std::string& name, const Shape& in, const Shape& out) {
  cases.add("avg_pool_" + name, kAll, [=](Tensors& make) {
    kernels::AvgPoolArgs args;
    args.x = make.images(in).ref();
    args.y = make.output_images("y", out, make.after(4)).ref();
    return std::vector{step(args)};
  });
  cases.add("avg_pool_backward_" + name, kAll, [=](Tensors& make) {
    kernels::AvgPoolBackwardArgs args;
    args.gy = make.images(out).ref();
    args.gx = make.output_images("gx", in, make.after(1)).ref();
    return std::vector{step(args)};
  });
}

void add_global_pools(Cases& cases, std::int64_t n, std::int64_t c) {
  const Shape in = {n, c, 7, 7}, out = {n, c, 1, 1};
  cases.add("adaptive_avg_pool_" + size_name(n, c), kAll, [=](Tensors& make) {
    kernels::AdaptiveAvgPoolArgs args;
    args.x = make.images(in).ref();
    args.y = make.output_images("y", out, make.sum(49, 1)).ref();
    return std::vector{step(args)};
  });
  cases.add("adaptive_avg_pool_backward_" + size_name(n, c), kAll, [=](Tensors& make) {
    kernels::AdaptiveAvgPoolBackwardArgs args;
    args.gy = make.images(out).ref();
    args.gx = make.output_images("gx", in, make.after(2)).ref();
    return std::vector{step(args)};
  });
}

std::vector<Case> norm_cases() {
  Cases cases;
  if (small_sizes()) {
    add_batch_norm(cases, 3000, 40);
    add_batch_norm(cases, 700, 200);
    add_layer_norm(cases, 70, 1000);
    add_layer_norm(cases, 9, 8200);
    return cases;
  }
  add_batch_norm(cases, 128 * 28 * 28, 32);
  add_batch_norm(cases, 64 * 112 * 112, 64);
  add_batch_norm(cases, 64 * 56 * 56, 256);
  add_batch_norm(cases, 64 * 14 * 14, 1024);
  add_layer_norm(cases, 65536, 1024);
  add_layer_norm(cases, 16384, 8192);
  return cases;
}

std::vector<Case> softmax_cases() {
  Cases cases;
  if (small_sizes()) {
    add_rows(cases, 40, 1000);
    add_rows(cases, 5, 8200);
    add_rows(cases, 3, 33000);
    return cases;
  }
  add_rows(cases, 128, 1000);
  add_rows(cases, 65536, 1024);
  add_rows(cases, 8192, 8192);
  add_rows(cases, 4096, 32768);
  return cases;
}

std::vector<Case> pool_cases() {
  const kernels::PoolGeometry stem{.kernel_h = 3, .kernel_w = 3, .padding_h = 1, .padding_w = 1};
  Cases cases;
  if (small_sizes()) {
    add_max_pool(cases, "halves", {3, 40, 14, 12}, {3, 40, 7, 6}, {});
    add_max_pool(cases, "stem", {2, 24, 18, 20}, {2, 24, 9, 10}, stem);
    add_average_pools(cases, "halves", {3, 40, 14, 12}, {3, 40, 7, 6});
    add_global_pools(cases, 8, 72);
    return cases;
  }
  add_max_pool(cases, "strokes_pool1", {128, 32, 28, 28}, {128, 32, 14, 14}, {});
  add_max_pool(cases, "resnet50_maxpool", {64, 64, 112, 112}, {64, 64, 56, 56}, stem);
  add_average_pools(cases, "strokes_pool1", {128, 32, 28, 28}, {128, 32, 14, 14});
  add_average_pools(cases, "resnet50_maxpool", {64, 64, 112, 112}, {64, 64, 56, 56});
  add_global_pools(cases, 64, 512);
  add_global_pools(cases, 256, 2048);
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Norm, Large, testing::ValuesIn(norm_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Softmax, Large, testing::ValuesIn(softmax_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Pool, Large, testing::ValuesIn(pool_cases()), case_name);

}  // namespace
}  // namespace graft::test::large
