#include <graft/core/autograd/node.h>

#include <atomic>

#include <graft/core/tensor_state.h>

namespace graft {
namespace {

thread_local bool recording = true;

std::uint64_t next_sequence() {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

bool grad_enabled() { return recording; }
NoGrad::NoGrad() : previous_(recording) { recording = false; }
NoGrad::~NoGrad() { recording = previous_; }

Saved::Saved(const Tensor& t) {
  if (!t.defined()) return;
  tensor_ = t.detach();
  version_ = t.version();
}

Tensor Saved::get(const char* op) const {
  if (!tensor_.defined()) return {};
  if (tensor_.version() != version_) [[unlikely]]
    fail("backward of '", op, "': the saved tensor",
         tensor_.name().empty() ? std::string() : cat(" '", tensor_.name(), "'"), " (", to_string(tensor_),
         ") was changed in place after the op had saved it (version ", tensor_.version(), ", saved at ", version_,
         "); change a clone() instead, or change it after backward");
  return tensor_;
}

bool Node::Edge::needed() const { return node != nullptr || (leaf != nullptr && leaf->requires_grad); }

Node::Node() : sequence(next_sequence()) {}

// A chain of a million ops must not be destroyed by a million nested destructors: the outermost one drains a list.
Node::~Node() {
  thread_local std::vector<std::shared_ptr<Node>>* pending = nullptr;
  if (pending != nullptr) {
    for (Edge& edge : edges)
      if (edge.node) pending->push_back(std::move(edge.node));
    return;
  }
  std::vector<std::shared_ptr<Node>> list;
  for (Edge& edge : edges)
    if (edge.node) list.push_back(std::move(edge.node));
  pending = &list;
  while (!list.empty()) {
    std::shared_ptr<Node> node = std::move(list.back());
    list.pop_back();
    node.reset();
  }
  pending = nullptr;
}

bool any_requires_grad(std::initializer_list<const Tensor*> inputs) {
  if (!recording) return false;
  for (const Tensor* input : inputs)
    if (input->defined() && input->requires_grad()) return true;
  return false;
}

Tensor record(Tensor y, std::shared_ptr<Node> node, std::span<const Tensor> inputs) {
  node->edges.reserve(inputs.size());
  for (const Tensor& input : inputs) {
    Node::Edge edge;
    if (input.defined() && input.requires_grad()) {
      if (input.grad_fn())
        edge.node = input.grad_fn();
      else
        edge.leaf = input.shared_state();
    }
    node->edges.push_back(std::move(edge));
  }
  TensorState* state = y.state();
  state->requires_grad = true;
  state->grad_fn = std::move(node);
  return y;
}

}  // namespace graft
