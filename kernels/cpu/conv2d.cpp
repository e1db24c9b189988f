// Convolutions by oneDNN, NHWC activations.

#include <algorithm>

#include <graft/kernels/cpu/column_reduce.h>
#include <graft/kernels/cpu/common.h>
#include <graft/kernels/cpu/dnnl_compat.h>
#include <graft/kernels/cpu/primitive_cache.h>
#include <graft/kernels/cpu/rows.h>

namespace graft::kernels::cpu {
namespace {

ConvSpec spec_of(const TensorRef& x, const TensorRef& w, const TensorRef& y, const Conv2dGeometry& g) {
  ConvSpec s{};
  s.n = x.shape[0];
  s.c = x.shape[1];
  s.h = x.shape[2];
  s.w = x.shape[3];
  s.k = w.shape[0];
  s.r = w.shape[2];
  s.s = w.shape[3];
  s.p = y.shape[2];
  s.q = y.shape[3];
  s.stride_h = g.stride_h;
  s.stride_w = g.stride_w;
  s.padding_h = g.padding_h;
  s.padding_w = g.padding_w;
  s.dilation_h = g.dilation_h;
  s.dilation_w = g.dilation_w;
  s.groups = g.groups;
  s.dtype = static_cast<std::int64_t>(x.dtype);
  s.threads = planned_threads();
  return s;
}

using Cache = PrimitiveCache<ConvSpec>;

Primitive* forward_primitive(const ConvSpec& spec) {
  thread_local Cache* mine = nullptr;
  return primitives_of_thread(mine).get(spec, make_conv_forward);
}
Primitive* backward_data_primitive(const ConvSpec& spec) {
  thread_local Cache* mine = nullptr;
  return primitives_of_thread(mine).get(spec, make_conv_backward_data);
}
Primitive* backward_weight_primitive(const ConvSpec& spec) {
  thread_local Cache* mine = nullptr;
  return primitives_of_thread(mine).get(spec, make_conv_backward_weight);
}

Support can_run(const TensorRef& x, const TensorRef& w, const TensorRef& y) {
  if (onednn_has_ended()) return Support::no(kEnded);
  if (x.numel() == 0 || w.numel() == 0 || y.numel() == 0)
    return Support::no("leaves empty tensors to the reference backend");
  return Support::yes();
}

Support supported_if(const Primitive* primitive, const TensorRef& x, const TensorRef& w) {
  if (primitive != nullptr) return Support::yes();
  return Support::no(cat("oneDNN has no fast convolution for x ", to_string(x), " and w ", to_string(w)));
}

ConvSpec chunk_spec(ConvSpec spec, std::int64_t images) {
  spec.n = images;
  spec.threads = 1;
  return spec;
}

// An operand of which each image takes `image` elements.
struct Images {
  float* data;
  std::int64_t image;
};

// Runs the primitive that `get` makes of a spec: over the whole batch; where no direct kernel fits and oneDNN convolves
// by matrix products, image by image, one thread each.
template <class Get>
void run_batch(const ConvSpec& spec, Get get, Images src, const void* w, const void* bias, Images dst,
               std::uint64_t w_tag) {
  Primitive* whole = get(spec);
  if (!whole->bits_depend_on_threads()) {
    whole->run(src.data, w, bias, dst.data, w_tag);
    return;
  }
  parallel_for(spec.n, 1, [&](std::int64_t begin, std::int64_t end) {
    Primitive* single = get(chunk_spec(spec, 1));  // each thread's own
    check(single != nullptr, "oneDNN has a convolution for ", spec.n, " images and none for one");
    for (std::int64_t i = begin; i < end; ++i)
      single->run(src.data + i * src.image, w, bias, dst.data + i * dst.image, w_tag);
  });
}

ConvSpec forward_spec(const Conv2dForwardArgs& args) {
  ConvSpec spec = spec_of(args.x, args.w, args.y, args.geometry);
  spec.bias = args.bias.defined();
  return spec;
}

Support supports(const Conv2dForwardArgs& args) {
  Support support = contract_and_f32(args, {&args.x});
  if (support.ok) support = can_run(args.x, args.w, args.y);
  return support.ok ? supported_if(forward_primitive(forward_spec(args)), args.x, args.w) : support;
}

void run(const Conv2dForwardArgs& args, Stream&) {
  const ConvSpec spec = forward_spec(args);
  run_batch(spec, forward_primitive, {args.x.as<float>(), spec.c * spec.h * spec.w}, args.w.data, args.bias.data,
            {args.y.as<float>(), spec.k * spec.p * spec.q}, args.w_tag);
  if (args.activation == Activation::relu) relu_in_place(args.y);
}

Support supports(const Conv2dBackwardDataArgs& args) {
  Support support = contract_and_f32(args, {&args.gx});
  if (support.ok) support = can_run(args.gx, args.w, args.gy);
  if (!support.ok) return support;
  return supported_if(backward_data_primitive(spec_of(args.gx, args.w, args.gy, args.geometry)), args.gx, args.w);
}

void run(const Conv2dBackwardDataArgs& args, Stream&) {
  const ConvSpec spec = spec_of(args.gx, args.w, args.gy, args.geometry);
  run_batch(spec, backward_data_primitive, {args.gy.as<float>(), spec.k * spec.p * spec.q}, args.w.data, nullptr,
            {args.gx.as<float>(), spec.c * spec.h * spec.w}, args.w_tag);
}

// oneDNN would cut the sum over the images by the number of threads, and the gradient's last bits with it. So the batch
// is cut here, into chunks that depend on the sizes alone; each is one thread's work, and they are added up in order.
std::int64_t image_chunks(const ConvSpec& spec, std::int64_t weights) {
  const std::int64_t wanted = weights <= 16384 ? 16 : 8;
  constexpr std::int64_t kMaxFloats = 1 << 24;
  return std::clamp<std::int64_t>(std::min(wanted, kMaxFloats / weights), 1, spec.n);
}

Support supports(const Conv2dBackwardWeightArgs& args) {
  Support support = contract_and_f32(args, {&args.x});
  if (!support.ok || !args.gw.defined()) return support;
  support = can_run(args.x, args.gw, args.gy);
  if (!support.ok) return support;
  const ConvSpec spec = spec_of(args.x, args.gw, args.gy, args.geometry);
  const std::int64_t chunks = image_chunks(spec, args.gw.numel());
  return supported_if(backward_weight_primitive(chunk_spec(spec, spec.n / chunks)), args.x, args.gw);
}

void weight_gradient(const Conv2dBackwardWeightArgs& args) {
  const ConvSpec spec = spec_of(args.x, args.gw, args.gy, args.geometry);
  const std::int64_t weights = args.gw.numel(), chunks = image_chunks(spec, weights);
  const std::int64_t x_image = spec.c * spec.h * spec.w, y_image = spec.k * spec.p * spec.q;
  const Workspace partial = float_workspace(chunks > 1 ? chunks * weights : 0);
  float* parts = chunks > 1 ? partial.as<float>() : args.gw.as<float>();
  parallel_for(chunks, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t first = spec.n * i / chunks, last = spec.n * (i + 1) / chunks;
      Primitive* primitive = backward_weight_primitive(chunk_spec(spec, last - first));
      check(primitive != nullptr, args.name, ": oneDNN has no implementation for ", last - first, " images of ",
            args.x);
      primitive->run(args.x.as<float>() + first * x_image, args.gy.as<float>() + first * y_image, nullptr,
                     parts + i * weights, 0);
    }
  });
  if (chunks == 1) return;
  parallel_for(weights, kGrain / 8, [&](std::int64_t begin, std::int64_t end) {
    float* gw = args.gw.as<float>();
    std::copy(parts + begin, parts + end, gw + begin);
    for (std::int64_t i = 1; i < chunks; ++i)
      for (std::int64_t k = begin; k < end; ++k) gw[k] += parts[i * weights + k];
  });
}

void run(const Conv2dBackwardWeightArgs& args, Stream&) {
  if (args.gw.defined()) weight_gradient(args);
  if (args.gbias.defined()) {
    const std::int64_t k = args.gy.shape[1];
    column_sums(args.gy.as<float>(), args.gy.numel() / std::max<std::int64_t>(k, 1), k, args.gbias.as<float>());
  }
}

}  // namespace

void add_conv2d(BackendTable& table) {
  table.row<Conv2dForwardArgs>() = {supports, run};
  table.row<Conv2dBackwardDataArgs>() = {supports, run};
  table.row<Conv2dBackwardWeightArgs>() = {supports, run};
}

}  // namespace graft::kernels::cpu
