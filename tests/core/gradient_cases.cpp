#include "core/gradient_cases.h"

#include <graft/core/ops/fused.h>
#include <graft/core/ops/math.h>
#include <graft/core/ops/nn.h>
#include <graft/core/ops/view.h>

#include "core/helpers.h"

namespace graft {
namespace {

using Tensors = std::vector<Tensor>;

constexpr DType kDouble = DType::f64;

/// Normal numbers.
Tensor in(const Shape& shape, std::uint64_t seed = 1) { return normal(shape, seed, kDouble).requires_grad_(); }

/// On [low, high).
Tensor within(double low, double high, const Shape& shape, std::uint64_t seed = 1) {
  Generator generator(seed);
  Tensor t = Tensor::empty(shape, kDouble);
  uniform_(t, low, high, generator);
  return t.requires_grad_();
}

/// Steps of 0.07 from 0.035 in both directions, shuffled: no two closer than 0.07, none closer than 0.035 to 0, so that
/// a step of 1e-6 crosses no kink and changes no maximum.
Tensor spread(const Shape& shape, std::uint64_t seed = 1) {
  Generator generator(seed);
  const Tensor order = randperm(shape.numel(), generator).to(kDouble);
  const double middle = static_cast<double>(shape.numel()) / 2 - 0.5;
  return mul(add(sub(order, middle), shape.numel() % 2 == 0 ? 0.0 : 0.5), 0.07).reshape(shape).requires_grad_();
}

/// Positions, on the device of the tensor that they are for.
Tensor picks(const Tensor& of, std::initializer_list<std::int64_t> positions, const Shape& shape) {
  return Tensor::from(positions, shape, of.device());
}

// --- the table
// --------------------------------------------------------------------------------------------------------

void add_unary(std::vector<GradCase>& cases) {
  using Unary = Tensor (*)(const Tensor&);
  const std::vector<std::tuple<const char*, Unary, Tensor>> ops = {
      {"neg", neg, in({5})},
      {"abs", graft::abs, spread({3, 5})},
      {"exp", graft::exp, in({5})},
      {"log", graft::log, within(0.5, 2, {5})},
      {"sqrt", graft::sqrt, within(0.5, 2, {5})},
      {"square", square, in({5})},
      {"reciprocal", reciprocal, within(0.5, 2, {5})},
      {"relu", relu, spread({3, 5})},
      {"relu6", relu6, spread({10, 20})},  // from -7 to 7; 6 lies 0.015 from the nearest value
      {"sigmoid", sigmoid, in({7})},
      {"tanh", graft::tanh, in({7})},
      {"hardswish", hardswish, spread({10, 10})},  // from -3.5 to 3.5; 3 lies 0.025 from the nearest value
      {"silu", silu, in({7})},
  };
  for (const auto& [name, op, x] : ops) cases.push_back({name, {x}, [f = op](const Tensors& t) { return f(t[0]); }});
  cases.push_back({"gelu_exact", {in({9})}, [](const Tensors& t) { return gelu(t[0]); }});
  cases.push_back({"gelu_tanh", {in({9})}, [](const Tensors& t) { return gelu(t[0], GeluKind::tanh); }});
  cases.push_back(
      {"tanh_of_a_turned_view", {in({3, 4})}, [](const Tensors& t) { return graft::tanh(transpose(t[0], 0, 1)); }});
  cases.push_back({"exp_of_a_part", {in({3, 4})}, [](const Tensors& t) { return graft::exp(slice(t[0], 1, 1, 3)); }});
}

void add_binary(std::vector<GradCase>& cases) {
  using Binary = Tensor (*)(const Tensor&, const Tensor&);
  const std::vector<std::pair<const char*, Binary>> ops = {{"add", add}, {"sub", sub}, {"mul", mul}, {"div", div}};
  const std::vector<std::tuple<const char*, Shape, Shape>> shapes = {
      {"equal", {2, 3}, {2, 3}},        {"row", {2, 3}, {3}},        {"row_first", {3}, {2, 3}},
      {"column", {2, 3}, {2, 1}},       {"outer", {2, 1}, {1, 3}},   {"scalar", {2, 3}, {}},
      {"both_lead", {4, 1, 3}, {2, 1}}, {"one_element", {1, 1}, {2}}};
  for (const auto& [name, op] : ops)
    for (const auto& [pattern, a, b] : shapes)
      cases.push_back({cat(name, "_", pattern),
                       {within(0.5, 2, a, 1), within(0.5, 2, b, 2)},
                       [f = op](const Tensors& t) { return f(t[0], t[1]); }});
  cases.push_back({"mul_of_one_tensor_with_itself", {in({4})}, [](const Tensors& t) { return mul(t[0], t[0]); }});
  using Scalar = Tensor (*)(const Tensor&);
  const std::vector<std::pair<const char*, Scalar>> scalars = {
      {"add_number", [](const Tensor& x) { return add(x, 2.5); }},
      {"sub_number", [](const Tensor& x) { return sub(x, 2.5); }},
      {"sub_from_number", [](const Tensor& x) { return sub(2.5, x); }},
      {"mul_number", [](const Tensor& x) { return mul(x, -2.5); }},
      {"div_number", [](const Tensor& x) { return div(x, 2.5); }},
      {"div_number_by", [](const Tensor& x) { return div(2.5, x); }},
      {"operators", [](const Tensor& x) { return -((1 + 2 * x - 3) / 4 + (5 - x) * (6 / x) - (x + x) * (x - 1)); }}};
  for (const auto& [name, op] : scalars)
    cases.push_back({name, {within(0.5, 2, {2, 3})}, [f = op](const Tensors& t) { return f(t[0]); }});
}

void add_fused(std::vector<GradCase>& cases) {
  const auto add_case = [&](const char* name, const Tensors& inputs, std::function<Tensor(const Tensors&)> f) {
    cases.push_back({cat("fused_", name), inputs, std::move(f)});
  };
  // Each step alone and between others, so that what it reads is a value that was computed again.
  using Step = Fused& (*)(Fused&);
  const std::vector<std::tuple<const char*, Step, Tensor>> maps = {
      {"neg", [](Fused& v) -> Fused& { return v.neg(); }, in({5})},
      {"abs", [](Fused& v) -> Fused& { return v.abs(); }, spread({3, 5})},
      {"exp", [](Fused& v) -> Fused& { return v.exp(); }, in({5})},
      {"log", [](Fused& v) -> Fused& { return v.log(); }, within(0.5, 2, {5})},
      {"sqrt", [](Fused& v) -> Fused& { return v.sqrt(); }, within(0.5, 2, {5})},
      {"square", [](Fused& v) -> Fused& { return v.square(); }, in({5})},
      {"reciprocal", [](Fused& v) -> Fused& { return v.reciprocal(); }, within(0.5, 2, {5})},
      {"relu", [](Fused& v) -> Fused& { return v.relu(); }, spread({3, 5})},
      {"relu6", [](Fused& v) -> Fused& { return v.relu6(); }, spread({10, 20})},
      {"gelu", [](Fused& v) -> Fused& { return v.gelu(); }, in({7})},
      {"gelu_tanh", [](Fused& v) -> Fused& { return v.gelu(GeluKind::tanh); }, in({7})},
      {"sigmoid", [](Fused& v) -> Fused& { return v.sigmoid(); }, in({7})},
      {"tanh", [](Fused& v) -> Fused& { return v.tanh(); }, in({7})},
      {"hardswish", [](Fused& v) -> Fused& { return v.hardswish(); }, spread({10, 10})},
      {"silu", [](Fused& v) -> Fused& { return v.silu(); }, in({7})},
      {"add_number", [](Fused& v) -> Fused& { return v.add(2.5); }, in({5})},
      {"sub_number", [](Fused& v) -> Fused& { return v.sub(2.5); }, in({5})},
      {"mul_number", [](Fused& v) -> Fused& { return v.mul(2.5); }, in({5})},
      {"div_number", [](Fused& v) -> Fused& { return v.div(2.5); }, in({5})},
      {"rsub_number", [](Fused& v) -> Fused& { return v.rsub(2.5); }, in({5})},
      {"rdiv_number", [](Fused& v) -> Fused& { return v.rdiv(2.5); }, within(0.5, 2, {5})}};
  for (const auto& [name, step, x] : maps) {
    add_case(name, {x}, [f = step](const Tensors& t) {
      Fused chain = fused(t[0]);
      return f(chain).run();
    });
    add_case(cat(name, "_in_between").c_str(), {x, in(x.shape(), 2)}, [f = step](const Tensors& t) {
      Fused chain = fused(t[0]);  // there and back, so that no kink moves
      return f(chain.mul(4).div(4)).mul(t[1]).tanh().run();
    });
  }
  using Arithmetic = Fused& (*)(Fused&, const Tensor&);
  const std::vector<std::pair<const char*, Arithmetic>> arithmetic = {
      {"add", [](Fused& v, const Tensor& t) -> Fused& { return v.add(t); }},
      {"sub", [](Fused& v, const Tensor& t) -> Fused& { return v.sub(t); }},
      {"mul", [](Fused& v, const Tensor& t) -> Fused& { return v.mul(t); }},
      {"div", [](Fused& v, const Tensor& t) -> Fused& { return v.div(t); }},
      {"rsub", [](Fused& v, const Tensor& t) -> Fused& { return v.rsub(t); }},
      {"rdiv", [](Fused& v, const Tensor& t) -> Fused& { return v.rdiv(t); }}};
  for (const auto& [name, step] : arithmetic)
    for (const auto& [pattern, shape] :
         std::vector<std::pair<const char*, Shape>>{{"equal", {2, 3}}, {"row", {3}}, {"column", {2, 1}}, {"one", {}}})
      add_case(cat(name, "_", pattern).c_str(), {within(0.5, 2, {2, 3}), within(0.5, 2, shape, 2)},
               [f = step](const Tensors& t) {
                 Fused chain = fused(t[0]);
                 return f(chain.square(), t[1]).sigmoid().run();
               });
  add_case("bias_and_residual", {in({2, 3, 2, 2}), in({3, 1, 1}, 2), in({2, 3, 2, 2}, 3)}, [](const Tensors& t) {
    return fused(t[0].contiguous(MemoryFormat::channels_last)).add(t[1]).silu().add(t[2]).run();
  });
  // Several tensors that share one gradient, one whose sign is turned, and one tensor in several places.
  add_case("shared_gradients", {in({2, 3}), in({3}, 2), in({2, 1}, 3)},
           [](const Tensors& t) { return fused(t[0]).add(t[1]).sub(t[2]).rsub(t[1]).add(t[2]).tanh().run(); });
  add_case("of_itself", {within(0.5, 2, {4})},
           [](const Tensors& t) { return fused(t[0]).log().mul(t[0]).div(t[0]).add(t[0]).run(); });
  add_case("of_a_turned_part", {in({4, 6}), in({3, 4}, 2)},
           [](const Tensors& t) { return fused(transpose(slice(t[0], 1, 0, 6, 2), 0, 1)).mul(t[1]).sigmoid().run(); });
  add_case("all_steps", {within(0.5, 2, {2, 3}), within(0.5, 2, {3}, 2), within(0.5, 2, {2, 3}, 3)},
           [](const Tensors& t) {
             return fused(t[0]).sqrt().mul(t[1]).log().silu().sub(t[2]).rsub(2).square().sigmoid().run();
           });
}

void add_reductions(std::vector<GradCase>& cases) {
  const Shape shape = {2, 3, 4};
  cases.push_back({"sum_all", {in(shape)}, [](const Tensors& t) { return sum(t[0]); }});
  cases.push_back({"mean_all", {in(shape)}, [](const Tensors& t) { return mean(t[0]); }});
  const std::vector<std::pair<const char*, std::vector<int>>> sets = {
      {"first", {0}}, {"middle", {1}}, {"last", {-1}}, {"outer_two", {0, 2}}, {"inner_two", {2, 1}}, {"none", {}}};
  for (const auto& [name, dims] : sets)
    for (const bool keep : {false, true}) {
      const auto suffix = cat(name, keep ? "_kept" : "");
      cases.push_back(
          {cat("sum_", suffix), {in(shape)}, [over = dims, keep](const Tensors& t) { return sum(t[0], over, keep); }});
      cases.push_back({cat("mean_", suffix), {in(shape)}, [over = dims, keep](const Tensors& t) {
                         return mean(t[0], over, keep);
                       }});
    }
  for (const int dim : {0, 1, 2})
    cases.push_back(
        {cat("max_dim_", dim), {spread(shape)}, [dim](const Tensors& t) { return max(t[0], dim, dim == 1); }});
}

void add_products(std::vector<GradCase>& cases) {
  const auto product = [](const Tensors& t) { return matmul(t[0], t[1]); };
  cases.push_back({"matmul_2d", {in({3, 4}), in({4, 2}, 2)}, product});
  cases.push_back({"matmul_batched", {in({2, 3, 4}), in({2, 4, 2}, 2)}, product});
  cases.push_back({"matmul_broadcast_left", {in({3, 4}), in({2, 4, 2}, 2)}, product});
  cases.push_back({"matmul_broadcast_both", {in({2, 1, 3, 4}), in({3, 4, 2}, 2)}, product});
  cases.push_back({"matmul_to_one_column", {in({3, 4}), in({4, 1}, 2)}, product});
  cases.push_back({"matmul_of_one", {in({3, 1}), in({1, 2}, 2)}, product});
  cases.push_back({"matmul_turned", {in({4, 3}), in({2, 4}, 2)}, [](const Tensors& t) {
                     return matmul(transpose(t[0], 0, 1), transpose(t[1], 0, 1));
                   }});
  cases.push_back({"matmul_of_parts", {in({3, 8}), in({4, 4}, 2)}, [](const Tensors& t) {
                     return matmul(slice(t[0], 1, 0, 8, 2), slice(t[1], 1, 1, 3));
                   }});
  cases.push_back({"matmul_summed", {in({3, 4}), in({4, 1}, 2)}, [](const Tensors& t) {
                     return sum(matmul(t[0], t[1]));  // its gradient is one repeated element
                   }});
  const auto layer = [](const Tensors& t) { return linear(t[0], t[1], t.size() > 2 ? t[2] : Tensor()); };
  cases.push_back({"linear_2d", {in({3, 4}), in({2, 4}, 2), in({2}, 3)}, layer});
  cases.push_back({"linear_3d", {in({2, 3, 4}), in({5, 4}, 2), in({5}, 3)}, layer});
  cases.push_back({"linear_1d", {in({4}), in({2, 4}, 2), in({2}, 3)}, layer});
  cases.push_back({"linear_no_bias", {in({3, 4}), in({2, 4}, 2)}, layer});
  cases.push_back({"linear_turned_weight", {in({3, 4}), in({4, 2}, 2)}, [](const Tensors& t) {
                     return linear(t[0], transpose(t[1], 0, 1));
                   }});
}

void add_convolutions(std::vector<GradCase>& cases) {
  const std::vector<std::tuple<const char*, Shape, Shape, Conv2dGeometry>> geometries = {
      {"plain", {2, 2, 4, 5}, {3, 2, 3, 3}, {}},
      {"one_by_one", {2, 3, 3, 3}, {2, 3, 1, 1}, {}},
      {"one_by_one_stride", {2, 3, 5, 5}, {2, 3, 1, 1}, {.stride_h = 2, .stride_w = 2}},
      {"stride", {1, 2, 7, 6}, {2, 2, 3, 2}, {.stride_h = 2, .stride_w = 3}},
      {"padding", {1, 2, 3, 4}, {2, 2, 3, 3}, {.padding_h = 1, .padding_w = 2}},
      {"dilation", {1, 1, 6, 7}, {2, 1, 3, 2}, {.dilation_h = 2, .dilation_w = 3}},
      {"groups", {2, 4, 4, 4}, {6, 2, 3, 3}, {.padding_h = 1, .padding_w = 1, .groups = 2}},
      {"depthwise", {1, 3, 4, 4}, {3, 1, 3, 3}, {.padding_h = 1, .padding_w = 1, .groups = 3}},
      {"depthwise_multiplied", {1, 2, 4, 4}, {4, 1, 2, 2}, {.groups = 2}},
      {"all", {2, 4, 8, 7}, {4, 2, 3, 2}, {2, 1, 2, 1, 2, 2, 2}}};
  for (const auto& [name, x, w, g] : geometries) {
    cases.push_back(
        {cat("conv2d_", name), {in(x), in(w, 2)}, [how = g](const Tensors& t) { return conv2d(t[0], t[1], {}, how); }});
    cases.push_back({cat("conv2d_", name, "_bias"), {in(x), in(w, 2), in({w[0]}, 3)}, [how = g](const Tensors& t) {
                       return conv2d(t[0], t[1], t[2], how);
                     }});
  }
}

void add_pools(std::vector<GradCase>& cases) {
  const Shape shape = {2, 2, 6, 5};
  const std::vector<std::pair<const char*, PoolGeometry>> geometries = {
      {"plain", {}}, {"overlap", {3, 3, 2, 2}}, {"padding", {3, 3, 2, 2, 1, 1}}, {"unequal", {3, 2, 1, 2, 1, 0}}};
  for (const auto& [name, g] : geometries) {
    cases.push_back(
        {cat("max_pool2d_", name), {spread(shape)}, [how = g](const Tensors& t) { return max_pool2d(t[0], how); }});
    cases.push_back({cat("max_pool2d_relu_", name), {spread(shape)}, [how = g](const Tensors& t) {
                       return max_pool2d(t[0], how, true);
                     }});
    for (const bool counted : {true, false}) {
      PoolGeometry average = g;
      average.count_include_pad = counted;
      cases.push_back({cat("avg_pool2d_", name, counted ? "" : "_padding_not_counted"),
                       {in(shape)},
                       [average](const Tensors& t) { return avg_pool2d(t[0], average); }});
    }
  }
  cases.push_back({"max_pool2d_dilated", {spread(shape)}, [](const Tensors& t) {
                     return max_pool2d(t[0], {2, 2, 1, 1, 0, 0, 2, 3});
                   }});
  for (const auto& [h, w] : std::vector<std::pair<int, int>>{{1, 1}, {3, 2}, {6, 5}, {7, 8}})
    cases.push_back({cat("adaptive_avg_pool2d_", h, "x", w), {in(shape)}, [p = h, q = w](const Tensors& t) {
                       return adaptive_avg_pool2d(t[0], p, q);
                     }});
}

void add_norms(std::vector<GradCase>& cases) {
  for (const Shape& shape : {Shape{5, 3}, Shape{3, 3, 4}, Shape{2, 3, 2, 3}})
    for (const bool training : {true, false})
      for (const bool affine : {true, false}) {
        const Tensors inputs = affine ? Tensors{in(shape), within(0.5, 2, {3}, 2), in({3}, 3)} : Tensors{in(shape)};
        cases.push_back(
            {cat("batch_norm_", shape.rank(), "d", training ? "_training" : "_inference", affine ? "_affine" : ""),
             inputs, [training, affine](const Tensors& t) {
               // Fresh running statistics for each call: training changes them.
               const Device device = t[0].device();
               Tensor mean = Tensor::from<double>({0.1, -0.2, 0.3}, {3}, device);
               Tensor var = Tensor::ones({3}, kDouble, device);
               return batch_norm(t[0], affine ? t[1] : Tensor(), affine ? t[2] : Tensor(), mean, var,
                                 {.training = training});
             }});
      }
  cases.push_back({"batch_norm_inference_without_statistics", {in({5, 3})}, [](const Tensors& t) {
                     return batch_norm(t[0], {}, {}, {}, {}, {.training = false});
                   }});
  cases.push_back({"layer_norm_1", {in({3, 4}), in({4}, 2), in({4}, 3)}, [](const Tensors& t) {
                     return layer_norm(t[0], t[1], t[2]);
                   }});
  cases.push_back({"layer_norm_2", {in({2, 3, 4}), in({3, 4}, 2), in({3, 4}, 3)}, [](const Tensors& t) {
                     return layer_norm(t[0], t[1], t[2]);
                   }});
  cases.push_back(
      {"layer_norm_no_affine", {in({2, 3, 4})}, [](const Tensors& t) { return layer_norm(t[0], {}, {}, 1e-5, 2); }});
  cases.push_back(
      {"layer_norm_shift_only", {in({3, 4}), in({4}, 3)}, [](const Tensors& t) { return layer_norm(t[0], {}, t[1]); }});
  cases.push_back({"layer_norm_of_a_turned_view", {in({4, 3}), in({4}, 2)}, [](const Tensors& t) {
                     return layer_norm(transpose(t[0], 0, 1), t[1], {});
                   }});
}

void add_losses(std::vector<GradCase>& cases) {
  for (const int dim : {0, 1, 2}) {
    cases.push_back(
        {cat("softmax_dim_", dim), {in({2, 3, 4})}, [dim](const Tensors& t) { return softmax(t[0], dim); }});
    cases.push_back(
        {cat("log_softmax_dim_", dim), {in({2, 3, 4})}, [dim](const Tensors& t) { return log_softmax(t[0], dim); }});
  }
  const Tensor targets = Tensor::from<std::int64_t>({2, 0, 1, -100, 2}, {5});
  const Tensor weights = Tensor::from<double>({0.5, 2, 1.5}, {3});
  for (const auto& [name, reduction] : std::vector<std::pair<const char*, Reduction>>{
           {"none", Reduction::none}, {"mean", Reduction::mean}, {"sum", Reduction::sum}})
    for (const double smoothing : {0.0, 0.3})
      for (const bool weighted : {false, true})
        cases.push_back({cat("cross_entropy_", name, smoothing > 0 ? "_smoothed" : "", weighted ? "_weighted" : ""),
                         {in({5, 3})},
                         [=, over_rows = reduction](const Tensors& t) {
                           CrossEntropyOptions options{.reduction = over_rows, .label_smoothing = smoothing};
                           if (weighted) options.class_weights = weights.to(t[0].device());
                           return cross_entropy(t[0], targets.to(t[0].device()), options);
                         }});
  cases.push_back({"cross_entropy_ignored_class", {in({5, 3})}, [](const Tensors& t) {
                     return cross_entropy(t[0], picks(t[0], {2, 0, 1, 0, 2}, {5}), {.ignore_index = 0});
                   }});
  for (const bool images : {false, true})
    cases.push_back({cat("dropout", images ? "_channels_last" : ""), {in({2, 3, 2, 4})}, [images](const Tensors& t) {
                       Generator generator(5);  // the same mask for each call
                       const Tensor x = images ? t[0].contiguous(MemoryFormat::channels_last) : t[0];
                       return dropout(x, 0.4, true, generator);
                     }});
}

void add_views(std::vector<GradCase>& cases) {
  const auto add_case = [&](const char* name, const Tensors& inputs, std::function<Tensor(const Tensors&)> f) {
    cases.push_back({name, inputs, std::move(f)});
  };
  add_case("permute", {in({2, 3, 4})}, [](const Tensors& t) { return permute(t[0], {2, 0, 1}); });
  add_case("transpose", {in({2, 3})}, [](const Tensors& t) { return transpose(t[0], 0, -1); });
  add_case("slice", {in({4, 5})}, [](const Tensors& t) { return slice(t[0], 1, 1, -1); });
  add_case("slice_step", {in({7, 2})}, [](const Tensors& t) { return slice(t[0], 0, 1, 7, 3); });
  add_case("slices_overlap", {in({4})},
           [](const Tensors& t) { return mul(slice(t[0], 0, 0, 3), slice(t[0], 0, 1, 4)); });
  add_case("expand", {in({3, 1})}, [](const Tensors& t) { return expand(t[0], {2, 3, 4}); });
  add_case("unsqueeze", {in({2, 3})}, [](const Tensors& t) { return unsqueeze(t[0], 1); });
  add_case("squeeze", {in({2, 1, 3})}, [](const Tensors& t) { return squeeze(t[0], 1); });
  add_case("concat_0", {in({2, 3}), in({1, 3}, 2)}, [](const Tensors& t) { return concat(t, 0); });
  add_case("concat_1", {in({2, 3}), in({2, 1}, 2)}, [](const Tensors& t) { return concat({t[0], t[1], t[0]}, 1); });
  add_case("index_select", {in({4, 3})}, [](const Tensors& t) {
    return index_select(t[0], 0, picks(t[0], {3, 0, 3, 3}, {4}));
  });
  add_case("index_select_inner", {in({2, 4, 3})}, [](const Tensors& t) {
    return index_select(t[0], -1, picks(t[0], {2, 2}, {2}));
  });
  add_case("gather", {in({2, 3})}, [](const Tensors& t) {
    return gather(t[0], 1, picks(t[0], {0, 0, 2, 1, 1, 1, 0, 2}, {2, 4}));
  });
  add_case("gather_smaller", {in({3, 3})}, [](const Tensors& t) {
    return gather(t[0], 0, picks(t[0], {2, 2, 0, 1}, {2, 2}));
  });
  add_case("reshape_view", {in({2, 6})}, [](const Tensors& t) { return t[0].reshape({3, -1}); });
  add_case("reshape_copy", {in({3, 4})}, [](const Tensors& t) { return transpose(t[0], 0, 1).reshape({2, 6}); });
  add_case("flatten_images", {in({2, 3, 2, 2})},
           [](const Tensors& t) { return t[0].contiguous(MemoryFormat::channels_last).flatten(1); });
  add_case("contiguous", {in({3, 4})}, [](const Tensors& t) { return square(transpose(t[0], 0, 1).contiguous()); });
  add_case("channels_last", {in({2, 3, 2, 2})},
           [](const Tensors& t) { return square(t[0].contiguous(MemoryFormat::channels_last)); });
  add_case("clone", {in({3})}, [](const Tensors& t) { return t[0].clone(); });
  // y is rounded to float: an error of up to |y| 6e-8 in each side of the difference, |y| < 4, so 2.4e-7 / step; with a
  // step of 1e-3 that is 2.4e-4 for each unit of weight, of which the largest is below 3. x^2 has no third derivative.
  cases.push_back({"cast_through_f32",
                   {in({6})},
                   [](const Tensors& t) { return square(t[0]).to(DType::f32).to(kDouble); },
                   {.step = 1e-3, .rtol = 0, .atol = 8e-4}});
}

}  // namespace

std::vector<GradCase> gradient_cases() {
  std::vector<GradCase> cases;
  add_unary(cases);
  add_binary(cases);
  add_fused(cases);
  add_reductions(cases);
  add_products(cases);
  add_convolutions(cases);
  add_pools(cases);
  add_norms(cases);
  add_losses(cases);
  add_views(cases);
  return cases;
}

}  // namespace graft
