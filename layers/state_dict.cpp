// Reading and writing the values of a module by name.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include <graft/core/autograd/node.h>
#include <graft/core/io/safetensors.h>
#include <graft/layers/module.h>

namespace graft {
namespace {

void list(std::string& text, const char* what, const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 20;  // a wrong architecture has hundreds of wrong names; the first ones tell
  if (names.empty()) return;
  text += cat("\n  ", what, " (", names.size(), "):");
  for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i) text += (i == 0 ? " " : ", ") + names[i];
  if (names.size() > kShown) text += cat(" and ", names.size() - kShown, " more");
}

}  // namespace

std::string LoadReport::summary() const {
  std::string text = cat(loaded.size(), " loaded, ", missing.size(), " missing, ", unexpected.size(), " unexpected, ",
                         mismatched.size(), " of another shape");
  list(text, "missing: in the module, not in the state", missing);
  list(text, "unexpected: in the state, not in the module", unexpected);
  std::vector<std::string> shapes;
  for (const Mismatch& m : mismatched)
    shapes.push_back(cat(m.name, " (module ", to_string(m.module_shape), ", state ", to_string(m.state_shape), ")"));
  list(text, "of another shape", shapes);
  return text;
}

NamedTensors Module::state_dict() const {
  NamedTensors all;
  visit("", [&](const std::string& prefix, const Module& m) {
    const std::string stem = prefix.empty() ? "" : prefix + ".";
    for (const auto& [name, tensor] : m.parameters_) all.emplace_back(stem + name, tensor);
    for (const auto& [name, tensor] : m.buffers_) all.emplace_back(stem + name, tensor);
  });
  return all;
}

LoadReport Module::load_state_dict(const NamedTensors& state, bool strict) {
  std::unordered_map<std::string, const Tensor*> given;
  for (const auto& [name, tensor] : state) {
    check(tensor.defined(), "load_state_dict: '", name, "' is undefined");
    check(given.emplace(name, &tensor).second, "load_state_dict: '", name, "' is given twice");
  }

  LoadReport report;
  std::unordered_set<std::string> known;
  std::vector<std::pair<Tensor, const Tensor*>> copies;
  for (auto& [name, tensor] : state_dict()) {
    known.insert(name);
    const auto source = given.find(name);
    if (source == given.end()) {
      report.missing.push_back(name);
    } else if (source->second->shape() != tensor.shape()) {
      report.mismatched.push_back({name, tensor.shape(), source->second->shape()});
    } else {
      check(is_floating(source->second->dtype()) == is_floating(tensor.dtype()), "load_state_dict: '", name, "' is ",
            *source->second, ", the module's is ", tensor, "; expected both floating or both integers");
      report.loaded.push_back(name);
      copies.emplace_back(tensor, source->second);
    }
  }
  for (const auto& [name, tensor] : state)
    if (known.count(name) == 0) report.unexpected.push_back(name);

  if (strict && !report.complete())
    fail("load_state_dict: the state does not fit ", title(), ", nothing was loaded: ", report.summary(),
         "\n  (strict = false loads what fits)");

  const NoGrad no_grad;
  for (auto& [tensor, source] : copies) tensor.copy_(source->to(tensor.device()));
  return report;
}

void save_weights(const Module& module, const std::string& path) { io::write_safetensors(path, module.state_dict()); }

LoadReport load_weights(Module& module, const std::string& path, bool strict) {
  const io::SafetensorsFile file = io::read_safetensors(path);
  try {
    return module.load_state_dict(file.tensors, strict);
  } catch (const Error& error) {
    fail(path, ": ", error.what());
  }
}

}  // namespace graft
