#include <graft/transfer/copy.h>

#include <algorithm>

#include <graft/core/autograd/node.h>

namespace graft::transfer {
namespace {

void list(std::string& text, const char* what, const std::vector<std::string>& names) {
  if (names.empty()) return;
  text += cat("\n  ", what, ":");
  for (const std::string& name : names) text += " " + name;
}

std::string checked_head(const Module& module, const char* which) {
  std::string head = module.head();
  check(!head.empty(), "copy_backbone: the ", which,
        " names no head, so which layers to copy is unknown; call set_head(\"name of its last layer\")");
  return head;
}

}  // namespace

bool belongs_to(const std::string& tensor_name, const std::string& layer_name) {
  return !layer_name.empty() && tensor_name.size() > layer_name.size() && tensor_name[layer_name.size()] == '.' &&
         tensor_name.compare(0, layer_name.size(), layer_name) == 0;
}

std::string CopyReport::summary() const {
  std::string text = cat("copied ", copied.size(), " tensors (", with_thousands(parameters), " parameters), skipped ",
                         skipped.size(), " of the head");
  list(text, "missing in the source", missing);
  list(text, "unexpected in the source", unexpected);
  for (const Mismatch& m : mismatched)
    text += cat("\n  other shape: ", m.name, " is ", to_string(m.source_shape), " in the source, ",
                to_string(m.target_shape), " in the target");
  return text;
}

CopyReport copy_backbone(const NamedTensors& source, Module& target, const std::string& source_head,
                         CopyStrictness strictness) {
  const std::string target_head = checked_head(target, "target");
  const std::string& left_out = source_head.empty() ? target_head : source_head;
  const NamedTensors parameters = target.named_parameters();
  const auto is_parameter = [&](const Tensor& t) {
    return std::any_of(parameters.begin(), parameters.end(), [&](const auto& p) { return p.second.is_same(t); });
  };

  CopyReport report;
  std::vector<std::pair<Tensor, Tensor>> copies;
  NamedTensors wanted = target.state_dict();
  std::vector<std::string> found;
  for (auto& [name, to] : wanted) {
    if (belongs_to(name, target_head)) {
      report.skipped.push_back(name);
      continue;
    }
    const auto entry =
        std::find_if(source.begin(), source.end(), [&, &key = name](const auto& e) { return e.first == key; });
    if (entry == source.end() || belongs_to(name, left_out)) {
      report.missing.push_back(name);
    } else if (entry->second.shape() != to.shape()) {
      report.mismatched.push_back({name, entry->second.shape(), to.shape()});
    } else {
      report.copied.push_back(name);
      if (is_parameter(to)) report.parameters += to.numel();
      copies.emplace_back(entry->second, to);
    }
    found.push_back(name);
  }
  for (const auto& [name, tensor] : source)
    if (!belongs_to(name, left_out) && std::find(found.begin(), found.end(), name) == found.end())
      report.unexpected.push_back(name);
  check(strictness == CopyStrictness::partial || report.complete(),
        "copy_backbone: the two networks' layers differ, nothing was changed: ", report.summary());

  const NoGrad no_grad;
  for (auto& [from, to] : copies) to.copy_(from);
  return report;
}

CopyReport copy_backbone(const Module& source, Module& target, CopyStrictness strictness) {
  check(&source != &target, "copy_backbone: source and target are the same module");
  return copy_backbone(source.state_dict(), target, checked_head(source, "source"), strictness);
}

}  // namespace graft::transfer
