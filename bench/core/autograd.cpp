// What an op costs beside its arithmetic: one-element tensors, so that the time is the engine's own. items_per_second
// are ops a second (a forward and its backward count as one).
#include <support.h>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/math.h>
#include <graft/core/ops/nn.h>
#include <graft/core/random.h>

namespace graft::bench {

void add_autograd() {
  constexpr int kOps = 100;
  add("tensor/empty", {.items = 1}, [] { return [] { Tensor::empty({128, 10}); }; });
  add("op/no_grad/relu", {.items = 1}, [] {
    const Tensor x = randn({1});
    return [=] {
      const NoGrad no_grad;
      relu(x);
    };
  });
  add("op/no_grad/linear_10", {.items = 1}, [] {
    const Tensor x = randn({1, 10}), w = randn({10, 10}), b = randn({10});
    return [=] {
      const NoGrad no_grad;
      linear(x, w, b);
    };
  });
  add("op/recorded/relu", {.items = kOps}, [] {
    const Tensor leaf = randn({1}).requires_grad_();
    return [=] {
      Tensor x = leaf;
      for (int i = 0; i < kOps; ++i) x = relu(x);
    };
  });
  add("op/forward_backward/relu", {.items = kOps}, [] {
    const Tensor leaf = randn({1}).requires_grad_();
    return [=] {
      Tensor x = leaf;
      for (int i = 0; i < kOps; ++i) x = relu(x);
      x.backward();
    };
  });
  add("op/forward_backward/add", {.items = kOps}, [] {
    const Tensor leaf = randn({1}).requires_grad_(), other = randn({1}).requires_grad_();
    return [=] {
      Tensor x = leaf;
      for (int i = 0; i < kOps; ++i) x = add(x, other);
      x.backward();
    };
  });
}

}  // namespace graft::bench
