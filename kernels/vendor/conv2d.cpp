// Convolution by cuDNN. The bias goes to where the result will be added (beta = 1); ReLU is a step of its own, as cuDNN's
// fused engines do not promise that NaN stays NaN. What is declined here was seen to go wrong on an H100 (cuDNN 9.19).
#include <graft/kernels/runtime/cuda_check.h>
#include <graft/kernels/vendor/conv_plan.h>
#include <graft/kernels/vendor/descriptors.h>
#include <graft/kernels/vendor/rows.h>
#include <graft/kernels/vendor/tuning.h>

namespace graft::kernels::vendor {
namespace {

// What an address is a multiple of, as far as engines care.
std::int64_t alignment(const TensorRef& t) {
  const auto address = reinterpret_cast<std::uintptr_t>(t.data);
  return static_cast<std::int64_t>(std::min<std::uintptr_t>(address & (~address + 1), 16));
}

Support limits_of(std::initializer_list<const TensorRef*> tensors) {
  for (const TensorRef* t : tensors) {
    if (Support support = check_sizes(*t); !support.ok) return support;
    // Some engines that cuDNN offers for a lesser alignment read 16 bytes all the same.
    if (t->numel() > 0 && alignment(*t) < 16)
      return Support::no(cat(*t, " does not begin at a multiple of 16 bytes, which cuDNN's engines take for granted"));
  }
  return Support::yes();
}

// Contract: w has at least one row and column; channels and filters may be none.
Support limits_of_conv(const TensorRef& x, const TensorRef& w, const TensorRef& y) {
  if (Support support = limits_of({&x, &w, &y}); !support.ok) return support;
  if (w.numel() == 0)
    return Support::no(cat("the weights are ", w, ": cuDNN has no convolution without channels or filters"));
  return Support::yes();
}

// `prepare` is called before the result is computed, but after tuning, which leaves rubbish in its place.
template <class Prepare>
void run_conv(ConvKind kind, const TensorRef& x, const TensorRef& w, const TensorRef& y, const Conv2dGeometry& geometry,
              float beta, Context& context, const Stream& stream, Prepare&& prepare) {
  const ConvSpec spec{kind,         x.dtype,      x.shape,      w.shape, y.shape,  geometry,
                      alignment(x), alignment(w), alignment(y), beta,    engines()};
  const ConvPlan& plan = context.convolutions.get(spec.key(), !runtime::is_capturing(stream), [&](bool tune) {
    const runtime::OutsideCapture outside;  // building a plan may load code; it is no part of what is captured
    auto plans = conv_plans(spec, {context.dnn}, tune ? kCandidates : 1);
    std::size_t best = 0;
    if (tune && plans.size() > 1)
      best = fastest(plans.size(), stream, [&](std::size_t i) {
        const Workspace workspace(plans[i]->workspace_bytes(), stream);
        plans[i]->run(context, x.data, w.data, y.data, workspace.data());
      });
    return std::move(plans[best]);
  });
  prepare();
  const Workspace workspace(plan.workspace_bytes(), stream);
  plan.run(context, x.data, w.data, y.data, workspace.data());
}

Support forward_limits(const Conv2dForwardArgs& args) {
  if (args.bias.defined() && args.x.dtype != DType::f32 && engines() == graft::vendor::Engines::strict)
    return Support::no(cat("cuDNN rounds a convolution to ", graft::name(args.x.dtype),
                           " before it adds the bias, which Engines::strict does not allow"));
  return limits_of_conv(args.x, args.w, args.y);
}

void forward(const Conv2dForwardArgs& args, Context& context, const Stream& stream) {
  if (args.y.numel() == 0) return;
  const bool bias = args.bias.defined();
  run_conv(ConvKind::forward, args.x, args.w, args.y, args.geometry, bias ? 1.0f : 0.0f, context, stream, [&] {
    if (bias) fill_rows(args.bias, args.y, context);
  });
  if (args.activation == Activation::relu) relu_in_place(args.y, context);
}

Support backward_data_limits(const Conv2dBackwardDataArgs& args) { return limits_of_conv(args.gx, args.w, args.gy); }

void backward_data(const Conv2dBackwardDataArgs& args, Context& context, const Stream& stream) {
  if (args.gx.numel() == 0) return;
  run_conv(ConvKind::backward_data, args.gx, args.w, args.gy, args.geometry, 0, context, stream, [] {});
}

Support backward_weight_limits(const Conv2dBackwardWeightArgs& args) {
  if (args.gbias.defined() && args.gbias.dtype == DType::bf16)
    return Support::no("cuDNN has no gradient of a bias in bf16 (cudnnConvolutionBackwardBias: not supported)");
  return args.gw.defined() ? limits_of_conv(args.x, args.gw, args.gy) : limits_of({&args.x, &args.gy});
}

void backward_weight(const Conv2dBackwardWeightArgs& args, Context& context, const Stream& stream) {
  const bool nothing = args.gy.numel() == 0;  // no picture: sums over nothing
  if (args.gw.defined()) {
    if (nothing)
      clear(args.gw, stream);
    else
      run_conv(ConvKind::backward_weight, args.x, args.gw, args.gy, args.geometry, 0, context, stream, [] {});
  }
  if (!args.gbias.defined() || args.gbias.numel() == 0) return;
  if (nothing) return clear(args.gbias, stream);
  const TensorDescriptor gy = TensorDescriptor::picture(args.gy);
  const TensorDescriptor gbias = TensorDescriptor::packed(args.gbias.dtype, {1, args.gbias.numel(), 1, 1});
  GRAFT_VENDOR(cudnnConvolutionBackwardBias, context.dnn, &kOne, gy, args.gy.data, &kZero, gbias, args.gbias.data);
}

}  // namespace

void add_conv2d(BackendTable& table) {
  add<Conv2dForwardArgs, forward_limits, forward>(table);
  add<Conv2dBackwardDataArgs, backward_data_limits, backward_data>(table);
  add<Conv2dBackwardWeightArgs, backward_weight_limits, backward_weight>(table);
}

}  // namespace graft::kernels::vendor
