#include <graft/layers/layers.h>

namespace graft {

Tensor Flatten::forward(const Tensor& x) { return x.flatten(start_, end_); }

std::string Flatten::describe() const {
  return start_ == 1 && end_ == -1 ? std::string("Flatten()") : cat("Flatten(", start_, ", ", end_, ")");
}

Sequential::Sequential(std::vector<std::shared_ptr<Module>> parts) {
  for (auto& part : parts) append(std::move(part));
}

Sequential& Sequential::append(const std::string& name, std::shared_ptr<Module> part) {
  register_child(name, std::move(part));
  return *this;
}

Sequential& Sequential::append(std::shared_ptr<Module> part) {
  return append(std::to_string(children().size()), std::move(part));
}

Tensor Sequential::forward(const Tensor& x) {
  Tensor y = x;
  for (const auto& [name, part] : children()) y = part->forward(y);
  return y;
}

}  // namespace graft
