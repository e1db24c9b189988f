#include <graft/core/autograd/engine.h>

#include <array>
#include <unordered_map>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/raw.h>
#include <graft/core/tensor_state.h>
#include <graft/kernels/runtime/device_memory.h>

namespace graft {
namespace {

/// A gradient that is being summed. The first part is only a handle, since its op may have handed it to several inputs.
struct Sum {
  Tensor value;
  bool owned = false;

  void add(Tensor part) {
    if (!part.defined()) return;
    if (!value.defined()) {
      value = std::move(part);
    } else if (owned) {
      raw::axpy(value, part, 1);
    } else {
      value = raw::binary(kernels::BinaryOp::add, value, part);
      owned = true;
    }
  }
};

struct Pending {
  int waiting = 0;  // edges into the node whose gradient has not come yet
  Sum gradient;
};

using Hooks = std::vector<std::pair<int, std::function<Tensor(const Tensor&)>>>;

/// By value: a hook may remove itself.
void apply_hooks(const Hooks hooks, Tensor& gradient) {
  for (const auto& [id, hook] : hooks) {
    Tensor replaced = hook(gradient);
    if (!replaced.defined()) continue;
    check(replaced.shape() == gradient.shape() && replaced.dtype() == gradient.dtype() &&
              replaced.device() == gradient.device(),
          "backward: a hook got a gradient of ", gradient, " and returned ", replaced);
    gradient = std::move(replaced);
  }
}

/// Gradients lie as their leaves do, so that an optimiser can walk both with one index. Kept as it is when nobody else
/// has a handle on it, else copied, since later gradients are added in place.
Tensor in_layout_of(const Tensor& gradient, const std::shared_ptr<TensorState>& leaf) {
  bool same = gradient.is_dense();  // a later gradient is added in place: no element may stand for several
  for (int i = 0; i < leaf->shape.rank(); ++i)
    same = same && (leaf->shape[i] == 1 || leaf->strides[i] == gradient.strides()[i]);
  const bool sole = gradient.shared_state().use_count() == 1 && gradient.storage().use_count() == 1;
  if (same && sole && gradient.storage_offset() == 0) return gradient;
  Tensor copy = Tensor(leaf).empty_like();
  raw::copy_into(copy, gradient);
  return copy;
}

void check_gradient(const char* op, const Tensor& gradient, const TensorState& leaf) {
  const Device device = leaf.storage->device();
  if (gradient.shape() != leaf.shape || gradient.dtype() != leaf.dtype || !(gradient.device() == device)) [[unlikely]]
    fail("backward of '", op, "': the gradient is ", to_string(gradient), ", expected ", name(leaf.dtype), " ",
         to_string(leaf.shape), " on ", to_string(device));
}

void accumulate(const std::shared_ptr<TensorState>& leaf, Tensor gradient, const char* op) {
  check_gradient(op, gradient, *leaf);
  if (!leaf->hooks.empty()) apply_hooks(leaf->hooks, gradient);
  if (leaf->grad.defined()) {
    raw::axpy(leaf->grad, gradient, 1);
    leaf->grad.bump_version();
  } else {
    leaf->grad = in_layout_of(gradient, leaf);
  }
}

/// Who still waits for parts of a gradient. Leaves without hooks do not: theirs are added as they come.
struct Waiting {
  std::unordered_map<Node*, Pending> nodes;
  std::unordered_map<TensorState*, Pending> leaves;
};

/// How many edges lead to each node below `root`, and to each leaf with hooks.
Waiting count_edges(Node* root) {
  Waiting waiting;
  auto& pending = waiting.nodes;
  std::vector<Node*> stack{root};
  pending[root];
  while (!stack.empty()) {
    Node* node = stack.back();
    stack.pop_back();
    for (const Node::Edge& edge : node->edges) {
      if (edge.leaf && !edge.leaf->hooks.empty()) ++waiting.leaves[edge.leaf.get()].waiting;
      if (!edge.node) continue;
      const auto [entry, is_new] = pending.try_emplace(edge.node.get());
      ++entry->second.waiting;
      if (is_new) stack.push_back(edge.node.get());
    }
  }
  return waiting;
}

}  // namespace

void run_backward(const Tensor& root, const Tensor& gradient, bool retain_graph) {
  check(root.defined(), "backward: called on an undefined tensor");
  check(root.requires_grad(), "backward: the tensor ", root,
        " does not require grad: nothing it was made from does, or it was made under NoGrad");
  // Holds the graph while its parts are released.
  const std::shared_ptr<Node> first = root.grad_fn();  // null: a leaf
  Tensor seed = gradient;
  bool implicit_ones = false;
  if (!seed.defined()) {
    check(root.numel() == 1, "backward: a tensor of shape ", root.shape(),
          " needs a gradient to start from; only a one-element tensor can do without");
    implicit_ones = first && first->takes_implicit_ones() && first->hooks.empty();  // a hook wants to see them
    if (!implicit_ones) {
      seed = root.empty_like();
      raw::fill(seed, 1);
    }
  }
  check(
      implicit_ones || (seed.shape() == root.shape() && seed.dtype() == root.dtype() && seed.device() == root.device()),
      "backward: the tensor is ", root, ", its gradient ", seed);

  NoGrad no_grad;
  if (!first) {
    accumulate(root.shared_state(), seed.detach(), "backward");
    return;
  }

  Waiting waiting = count_edges(first.get());
  auto& pending = waiting.nodes;
  if (!implicit_ones) pending[first.get()].gradient.add(seed.detach());
  std::vector<Node*> ready{first.get()};
  while (!ready.empty()) {
    Node* node = ready.back();
    ready.pop_back();
    Tensor gy = std::move(pending.at(node).gradient.value);
    const std::size_t count = node->edges.size();
    constexpr std::size_t kInline = 8;
    std::array<bool, kInline> few{};
    std::unique_ptr<bool[]> many = count > kInline ? std::make_unique<bool[]>(count) : nullptr;
    bool* needed = many ? many.get() : few.data();
    for (std::size_t i = 0; i < count; ++i) needed[i] = node->edges[i].needed();

    GradSlots slots(count, needed);
    if (gy.defined() || (implicit_ones && node == first.get())) {
      check(!node->released, "backward: the graph below '", node->name(),
            "' was already freed by an earlier backward; call that one with retain_graph = true");
      if (!node->hooks.empty()) apply_hooks(node->hooks, gy);
      const runtime::AllocationName what(node->name());
      node->backward(gy, slots);
      gy = {};
      if (!retain_graph) {
        node->release();
        node->released = true;
      }
    }
    for (std::size_t i = 0; i < count; ++i) {
      const Node::Edge& edge = node->edges[i];
      Tensor part = std::move(slots.all()[i]);
      if (edge.leaf) {
        const auto entry = waiting.leaves.find(edge.leaf.get());
        if (entry != waiting.leaves.end()) {  // hooks see the whole gradient, not its parts
          entry->second.gradient.add(std::move(part));
          if (--entry->second.waiting > 0) continue;
          part = std::move(entry->second.gradient.value);
        }
        if (part.defined()) accumulate(edge.leaf, std::move(part), node->name());
      } else if (edge.node) {
        Pending& next = pending.at(edge.node.get());
        next.gradient.add(std::move(part));
        if (--next.waiting == 0) ready.push_back(edge.node.get());
      }
    }
  }
}

}  // namespace graft
