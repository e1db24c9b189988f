#include <graft/layers/module.h>

#include <algorithm>
#include <unordered_set>

#include <graft/core/autograd/node.h>
#include <graft/kernels/runtime/device_memory.h>

namespace graft {
namespace {

std::string join(const std::string& prefix, const std::string& name) {
  return prefix.empty() ? name : prefix + "." + name;
}

/// "'a', 'b', 'c'", or `none`.
template <class Named>
std::string list_names(const std::vector<Named>& items, const char* none) {
  std::string text;
  for (const auto& [name, unused] : items) text += cat(text.empty() ? "'" : ", '", name, "'");
  return text.empty() ? none : text;
}

/// The first of equal tensors only.
NamedTensors once_each(NamedTensors all) {
  std::unordered_set<TensorState*> seen;
  std::erase_if(all, [&](const auto& entry) { return !seen.insert(entry.second.state()).second; });
  return all;
}

/// Gives the state behind `tensor` other elements, so that every handle on it (a layer's member, an optimiser's
/// parameter) sees them. The gradient goes along.
void replace_elements(const Tensor& tensor, const std::function<Tensor(const Tensor&)>& convert) {
  const NoGrad no_grad;
  const Tensor source = tensor.detach();
  const Tensor result = convert(source);
  if (result.is_same(source)) return;
  const Tensor grad = tensor.grad();
  Tensor handle = tensor;
  handle.set_data(result);
  handle.set_grad(grad.defined() ? convert(grad) : grad);
}

void print(const Module& module, const std::string& name, int depth, std::string& text) {
  text += std::string(static_cast<std::size_t>(2 * depth), ' ');
  if (!name.empty()) text += name + ": ";
  text += module.describe();
  if (const std::int64_t count = module.parameter_count(); count > 0)
    text += cat("  # ", with_thousands(count), " parameters");
  text += '\n';
  for (const auto& [child_name, child] : module.children()) print(*child, child_name, depth + 1, text);
}

}  // namespace

std::string Module::title() const { return path_.empty() ? describe() : path_ + ": " + describe(); }

void Module::visit(const std::string& prefix, const std::function<void(const std::string&, const Module&)>& f) const {
  f(prefix, *this);
  for (const auto& [name, child] : children_) child->visit(join(prefix, name), f);
}

NamedTensors Module::named_parameters() const {
  NamedTensors all;
  visit("", [&](const std::string& prefix, const Module& m) {
    for (const auto& [name, tensor] : m.parameters_) all.emplace_back(join(prefix, name), tensor);
  });
  return once_each(std::move(all));
}

NamedTensors Module::named_buffers() const {
  NamedTensors all;
  visit("", [&](const std::string& prefix, const Module& m) {
    for (const auto& [name, tensor] : m.buffers_) all.emplace_back(join(prefix, name), tensor);
  });
  return once_each(std::move(all));
}

std::vector<Tensor> Module::parameters() const {
  std::vector<Tensor> tensors;
  for (auto& [name, tensor] : named_parameters()) tensors.push_back(tensor);
  return tensors;
}

std::vector<std::pair<std::string, Module*>> Module::named_modules() {
  std::vector<std::pair<std::string, Module*>> all;
  std::unordered_set<const Module*> seen;
  visit("", [&](const std::string& prefix, const Module& m) {
    // Everything below a module that may be changed may be changed.
    if (seen.insert(&m).second) all.emplace_back(prefix, const_cast<Module*>(&m));
  });
  return all;
}

Module& Module::get(const std::string& dotted_name) {
  Module* module = this;
  std::size_t start = 0;
  while (start < dotted_name.size()) {
    const std::size_t end = std::min(dotted_name.find('.', start), dotted_name.size());
    const std::string part = dotted_name.substr(start, end - start);
    const auto& parts = module->children_;
    const auto child = std::find_if(parts.begin(), parts.end(), [&](const auto& c) { return c.first == part; });
    if (child == parts.end())
      fail("get: no module is named '", dotted_name, "': ", start == 0 ? "the root" : dotted_name.substr(0, start - 1),
           " has no part '", part, "'; it has ", list_names(parts, "no parts"));
    module = child->second.get();
    start = end + 1;
  }
  check(dotted_name.empty() || dotted_name.back() != '.', "get: '", dotted_name, "' ends with a dot");
  return *module;
}

Tensor Module::parameter(const std::string& dotted_name) const {
  const std::size_t dot = dotted_name.rfind('.');
  const std::string path = dot == std::string::npos ? "" : dotted_name.substr(0, dot);
  const std::string local = dot == std::string::npos ? dotted_name : dotted_name.substr(dot + 1);
  const Module& owner = const_cast<Module*>(this)->get(path);
  for (const auto& [name, tensor] : owner.parameters_)
    if (name == local) return tensor;
  fail("parameter: no parameter is named '", dotted_name, "': ", path.empty() ? "the root" : path, ", ",
       owner.describe(), ", has ", list_names(owner.parameters_, "no parameters of its own"));
}

void Module::train(bool on) {
  training_ = on;
  for (const auto& [name, child] : children_) child->train(on);
}

bool Module::is_deterministic() const {
  return std::all_of(children_.begin(), children_.end(), [](const auto& c) { return c.second->is_deterministic(); });
}

void Module::zero_grad() {
  for (Tensor& p : parameters()) p.set_grad({});
}

Module& Module::to(Device device) {
  const runtime::AllocationName what("parameters and buffers");
  for (auto& [name, tensor] : state_dict()) replace_elements(tensor, [&](const Tensor& t) { return t.to(device); });
  return *this;
}

Device Module::device() const {
  const NamedTensors all = state_dict();
  if (all.empty()) return Device::cpu();
  for (const auto& [name, tensor] : all)
    check(tensor.device() == all.front().second.device(), "the module's tensors lie on different devices: '",
          all.front().first, "' is ", all.front().second, ", '", name, "' is ", tensor, "; move all with to(device)");
  return all.front().second.device();
}

Module& Module::to(DType dtype) {
  check(is_floating(dtype), describe(), ": cannot be moved to ", graft::name(dtype), ", expected a floating dtype");
  visit("", [&](const std::string&, const Module& m) {
    const DType own = m.own_dtype(dtype);
    for (const auto* tensors : {&m.parameters_, &m.buffers_})
      for (const auto& [name, tensor] : *tensors)
        if (is_floating(tensor.dtype())) replace_elements(tensor, [&](const Tensor& t) { return t.to(own); });
  });
  return *this;
}

std::int64_t Module::parameter_count() const {
  std::int64_t count = 0;
  for (const Tensor& p : parameters()) count += p.numel();
  return count;
}

void Module::set_head(std::string dotted_name) {
  if (!dotted_name.empty()) get(dotted_name);
  head_ = std::move(dotted_name);
}

// The messages below leave describe() out: during construction a layer may not yet be able to describe itself.
void Module::check_new_name(const std::string& name) const {
  check(!name.empty(), "Module: a part needs a name, got an empty one");
  check(name.find('.') == std::string::npos, "Module: '", name,
        "' holds a dot; expected a local name (dots join the names of nested modules)");
  const auto same = [&](const auto& entry) { return entry.first == name; };
  const bool taken = std::any_of(parameters_.begin(), parameters_.end(), same) ||
                     std::any_of(buffers_.begin(), buffers_.end(), same) ||
                     std::any_of(children_.begin(), children_.end(), same);
  check(!taken, "Module: the name '", name, "' is taken already");
}

Tensor Module::register_parameter(const std::string& name, Tensor value) {
  check_new_name(name);
  check(value.defined(), "Module: the parameter '", name, "' is undefined");
  check(is_floating(value.dtype()), "Module: the parameter '", name, "' is ", value, ", expected a floating dtype");
  check(value.is_leaf(), "Module: the parameter '", name, "' is the result of an op, expected a leaf");
  value.requires_grad_(true).set_name(join(path_, name));
  parameters_.emplace_back(name, value);
  return value;
}

Tensor Module::register_buffer(const std::string& name, Tensor value) {
  check_new_name(name);
  check(value.defined(), "Module: the buffer '", name, "' is undefined");
  value.set_name(join(path_, name));
  buffers_.emplace_back(name, value);
  return value;
}

void Module::register_child(const std::string& name, std::shared_ptr<Module> child) {
  check_new_name(name);
  check(child != nullptr, "Module: the part '", name, "' is a null pointer");
  child->visit("", [&](const std::string&, const Module& m) {
    check(&m != this, "Module: the part '", name, "' holds the module it is added to; a tree has no cycles");
  });
  child->set_path(join(path_, name));
  children_.emplace_back(name, std::move(child));
}

void Module::set_path(const std::string& path) {
  path_ = path;
  for (auto& [name, tensor] : parameters_) tensor.set_name(join(path, name));
  for (auto& [name, tensor] : buffers_) tensor.set_name(join(path, name));
  for (const auto& [name, child] : children_) child->set_path(join(path, name));
}

std::string to_string(const Module& module) {
  std::string text;
  print(module, "", 0, text);
  return text;
}

}  // namespace graft
