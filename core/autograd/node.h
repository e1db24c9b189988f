// The tape: one Node an op that was recorded, with what its backward needs.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <graft/core/tensor.h>
#include <graft/kernels/api/export.h>

namespace graft {

/// Is the calling thread recording? True at first; NoGrad turns it off while it lives.
GRAFT_API bool grad_enabled();

class GRAFT_API NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool previous_;
};

/// A tensor kept for backward. Reading it back throws Error, naming the tensor and the op, if it was changed in
/// between.
class GRAFT_API Saved {
 public:
  Saved() = default;
  /// Keeps a handle outside the graph, so that a node may save its own output without a cycle.
  explicit Saved(const Tensor& t);
  Tensor get(const char* op) const;
  bool defined() const { return tensor_.defined(); }

 private:
  Tensor tensor_;
  std::uint64_t version_ = 0;
};

/// Where a backward puts the gradients of its inputs, and asks which are wanted.
class GRAFT_API GradSlots {
 public:
  GradSlots(std::size_t count, const bool* needed) : needed_(needed), gradients_(count) {}
  bool needed(int i) const { return needed_[i]; }
  void put(int i, Tensor gradient) { gradients_[static_cast<std::size_t>(i)] = std::move(gradient); }
  std::vector<Tensor>& all() { return gradients_; }

 private:
  const bool* needed_;
  std::vector<Tensor> gradients_;
};

/// One recorded op with one output. backward(gy, gx) puts into gx the gradient of every input that is needed.
class GRAFT_API Node {
 public:
  Node();
  virtual ~Node();
  virtual const char* name() const = 0;
  /// gy is defined, but for the node where a backward begins without a gradient if it takes_implicit_ones.
  virtual void backward(const Tensor& gy, GradSlots& gx) = 0;
  /// Whether backward() takes an undefined gy for ones: none are made where it is the root, one launch less per step.
  virtual bool takes_implicit_ones() const { return false; }
  /// Lets go of what was saved; called after backward unless the graph is retained.
  virtual void release() = 0;

  /// An input as the tape sees it: the node that made it, or a leaf that wants a gradient, or neither (no gradient).
  struct Edge {
    std::shared_ptr<Node> node;
    std::shared_ptr<TensorState> leaf;
    /// As things are now: a leaf that was frozen after the op was recorded wants none.
    bool needed() const;
  };
  std::vector<Edge> edges;
  std::uint64_t sequence = 0;  // order of recording
  bool released = false;
  std::vector<std::pair<int, std::function<Tensor(const Tensor&)>>> hooks;  // of the output
};

/// True when recording is on and one of the inputs requires a gradient: only then is it worth making a Node.
GRAFT_API bool any_requires_grad(std::initializer_list<const Tensor*> inputs);

/// Ties y to the op that made it. `inputs` in the order of the node's gradient slots; undefined ones get no gradient.
/// Returns y.
GRAFT_API Tensor record(Tensor y, std::shared_ptr<Node> node, std::span<const Tensor> inputs);
inline Tensor record(Tensor y, std::shared_ptr<Node> node, std::initializer_list<Tensor> inputs) {
  return record(std::move(y), std::move(node), std::span<const Tensor>(inputs.begin(), inputs.size()));
}

}  // namespace graft
