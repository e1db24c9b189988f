// softmax, log_softmax and cross_entropy, forward and backward, over rows.
#include <support.h>

#include <graft/core/ops/raw.h>
#include <graft/kernels/api/softmax.h>

namespace graft::bench {
namespace {

void add_rows(const Place& place, std::int64_t rows, std::int64_t n) {
  const std::string what = cat(rows, "x", n);
  const double once = place.element() * static_cast<double>(rows * n);
  const auto items = static_cast<double>(rows);
  for (const bool log : {false, true}) {
    const std::string op = log ? "log_softmax" : "softmax";
    add(place, place.name(op, what), {.items = items, .bytes = 2 * once}, [=] {
      const Tensor x = place.randn({rows, n}), y = x.empty_like();
      return [=] { raw::run(kernels::SoftmaxArgs{x.ref(), y.ref(), log}, x); };
    });
    add(place, place.name(op + "_backward", what), {.items = items, .bytes = 3 * once}, [=] {
      const Tensor x = place.randn({rows, n}), y = x.empty_like(), gy = place.randn({rows, n}), gx = x.empty_like();
      raw::run(kernels::SoftmaxArgs{x.ref(), y.ref(), log}, x);
      return [=] { raw::run(kernels::SoftmaxBackwardArgs{y.ref(), gy.ref(), gx.ref(), log}, x); };
    });
  }
  if (!place.has<kernels::CrossEntropyArgs>()) return;
  const auto forward = [=] {
    kernels::CrossEntropyArgs args;
    const Tensor x = place.randn({rows, n}), targets = random_labels(rows, n).to(place.device),
                 loss = Tensor::empty({}, DType::f32, place.device), greatest = place.statistics(rows, 0),
                 sums = place.statistics(rows, 0), scale = Tensor::empty({}, DType::f32, place.device);
    args.logits = x.ref();
    args.targets = targets.ref();
    args.loss = loss.ref();
    args.row_max = greatest.ref();
    args.log_sum = sums.ref();
    args.scale = scale.ref();
    return std::pair{args, std::vector{x, targets, loss, greatest, sums, scale}};
  };
  add(place, place.name("cross_entropy", what), {.items = items, .bytes = once}, [=] {
    const auto [args, tensors] = forward();
    return [a = args, kept = tensors] { raw::run(a, kept[0]); };
  });
  add(place, place.name("cross_entropy_backward", what), {.items = items, .bytes = 2 * once}, [=] {
    const auto [args, tensors] = forward();
    raw::run(args, tensors[0]);
    const Tensor gx = tensors[0].empty_like();
    kernels::CrossEntropyBackwardArgs backward{args.logits,  args.targets, {}, args.row_max,
                                               args.log_sum, args.scale,   {}, gx.ref()};
    return [backward, gx, kept = tensors] { raw::run(backward, gx); };
  });
}

}  // namespace

void add_softmax() {
  add_rows(kCpu, 128, 1000);
  add_rows(kCpu, 4096, 1000);
  add_rows(kCpu, 128, 10);
  for (const Place& place : gpu_places()) {
    if (emulated()) add_rows(place, 8, 40);
    add_rows(place, 128, 1000);
    add_rows(place, 65536, 1024);  // more than the L2 cache holds, from here on
    add_rows(place, 8192, 8192);
    add_rows(place, 4096, 32768);
  }
}

}  // namespace graft::bench
