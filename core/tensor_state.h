// What a Tensor is a handle on. Internal to core.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <graft/core/tensor.h>

namespace graft {

struct TensorState {
  Shape shape, strides;
  std::int64_t offset = 0;
  DType dtype = DType::f32;
  std::shared_ptr<Storage> storage;

  bool requires_grad = false;
  std::shared_ptr<Node> grad_fn;
  Tensor grad;
  std::vector<std::pair<int, std::function<Tensor(const Tensor&)>>> hooks;  // of a leaf
  std::string name;
};

/// A view outside the graph, its reach not checked: for ops that computed strides and offset themselves.
Tensor make_view(const Tensor& base, const Shape& shape, const Shape& strides, std::int64_t offset);

}  // namespace graft
