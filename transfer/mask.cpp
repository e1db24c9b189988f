#include <graft/transfer/mask.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <unordered_map>

#include <graft/layers/layers.h>
#include <graft/transfer/copy.h>
#include <graft/transfer/feature_cache.h>

namespace graft::transfer {

bool matches(const std::string& pattern, const std::string& text) {
  // Greedy with one point to go back to: the last star.
  std::size_t p = 0, t = 0, star = std::string::npos, mark = 0;
  while (t < text.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t]) && pattern[p] != '*') {
      ++p, ++t;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = t;
    } else if (star != std::string::npos) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

namespace {

/// The name itself, or a layer above it.
bool rule_covers(const std::string& pattern, const std::string& name) {
  for (std::size_t end = name.size(); end != std::string::npos && end > 0; end = name.rfind('.', end - 1))
    if (matches(pattern, name.substr(0, end))) return true;
  return false;
}

std::string parent_of(const std::string& name) {
  const std::size_t dot = name.rfind('.');
  return dot == std::string::npos ? std::string() : name.substr(0, dot);
}

}  // namespace

GradientMask& GradientMask::set(const std::string& pattern, double multiplier) {
  check(!pattern.empty(), "GradientMask: the name pattern is empty");
  check(std::isfinite(multiplier) && multiplier >= 0, "GradientMask: the multiplier of '", pattern,
        "' must be finite and 0 or more, got ", multiplier);
  rules_.emplace_back(pattern, multiplier);
  return *this;
}

GradientMask& GradientMask::set_elements(const std::string& parameter_name, Tensor mask) {
  check(mask.defined() && (mask.dtype() == DType::boolean || mask.dtype() == DType::u8),
        "GradientMask: the element mask of '", parameter_name, "' must be bool or u8, got ", mask);
  elements_.emplace_back(parameter_name, std::move(mask));
  return *this;
}

GradientMask& GradientMask::append(const GradientMask& other) {
  rules_.insert(rules_.end(), other.rules_.begin(), other.rules_.end());
  elements_.insert(elements_.end(), other.elements_.begin(), other.elements_.end());
  return *this;
}

double GradientMask::multiplier(const std::string& parameter_name) const {
  for (auto rule = rules_.rbegin(); rule != rules_.rend(); ++rule)
    if (rule_covers(rule->first, parameter_name)) return rule->second;
  return 1;
}

const Tensor* GradientMask::elements(const std::string& parameter_name) const {
  for (auto entry = elements_.rbegin(); entry != elements_.rend(); ++entry)
    if (entry->first == parameter_name) return &entry->second;
  return nullptr;
}

void GradientMask::validate(const Module& module) const {
  const NamedTensors parameters = module.named_parameters();
  const auto names = [&] {
    std::string text;
    for (const auto& [name, tensor] : parameters) text += " " + name;
    return text;
  };
  for (const auto& [pattern, multiplier] : rules_)
    check(std::any_of(parameters.begin(), parameters.end(),
                      [&, &rule = pattern](const auto& p) { return rule_covers(rule, p.first); }),
          "GradientMask: '", pattern, "' matches no parameter; there are:", names());
  for (const auto& [wanted, mask] : elements_) {
    const auto parameter = std::find_if(parameters.begin(), parameters.end(),
                                        [&, &key = wanted](const auto& p) { return p.first == key; });
    check(parameter != parameters.end(), "GradientMask: element mask for '", wanted,
          "', which is no parameter; there are:", names());
    check(mask.shape() == parameter->second.shape(), "GradientMask: the element mask of '", wanted, "' is ", mask,
          ", expected the parameter's shape ", parameter->second.shape());
  }
}

GradientMask GradientMask::head_only(const Module& module) {
  const std::string head = module.head();
  check(!head.empty(), "GradientMask::head_only: the module names no head; call set_head(\"name of its last layer\")");
  GradientMask mask;
  mask.freeze("*").set(head, 1);
  return mask;
}

// --- applying it
// ------------------------------------------------------------------------------------------------------

MaskScope::MaskScope(Module& module, const GradientMask& mask, bool batch_norm_inference)
    : module_(module), mask_(mask) {
  mask.validate(module);
  const NamedTensors parameters = module.named_parameters();
  // A parameter that its owner had already stopped stays stopped.
  for (const auto& [name, tensor] : parameters)
    (mask.multiplier(name) == 0 || !tensor.requires_grad() ? frozen_ : trainable_).emplace_back(name, tensor);
  check(!trainable_.empty(), "fine-tuning: every parameter is frozen, nothing is left to train");
  for (auto& [name, tensor] : frozen_) {
    restore_.emplace_back(tensor, tensor.requires_grad());
    tensor.requires_grad_(false);
    tensor.set_grad({});
  }

  const auto all_frozen = [](Module& m) {
    const std::vector<Tensor> below = m.parameters();
    return !below.empty() &&
           std::none_of(below.begin(), below.end(), [](const Tensor& t) { return t.requires_grad(); });
  };
  // What has no parameters is frozen with the frozen beginning of the chain that it belongs to.
  for (const auto& [name, part] : flat_chain(module)) {
    if (!part->parameters().empty() && !all_frozen(*part)) break;
    inference_.insert(part.get());
  }
  std::unordered_map<std::string, Module*> by_name;
  for (const auto& [name, m] : module.named_modules()) {
    by_name[name] = m;
    const auto parent = by_name.find(parent_of(name));
    const bool below_frozen = !name.empty() && parent != by_name.end() && inference_.contains(parent->second);
    const bool stilled = !name.empty() && m->parameters().empty() && mask.multiplier(name) == 0;
    const bool kept_statistics = batch_norm_inference && dynamic_cast<BatchNorm*>(m) != nullptr;
    if (below_frozen || stilled || kept_statistics || all_frozen(*m)) inference_.insert(m);
  }
  // Buffers of layers in inference never change.
  for (const auto& [name, buffer] : module.named_buffers())
    if (const auto owner = by_name.find(parent_of(name)); owner != by_name.end() && inference_.contains(owner->second))
      frozen_.emplace_back(name, buffer);
  set_modes();
}

void MaskScope::set_modes() {
  // Parents come first, so a child's own mode is the last word.
  for (const auto& [name, m] : module_.named_modules()) m->train(!inference_.contains(m));
}

MaskScope::~MaskScope() {
  for (auto& [tensor, required] : restore_) tensor.requires_grad_(required);
  module_.eval();
}

void MaskScope::limit(optim::Optimizer& optimizer) const {
  for (const auto& [name, tensor] : trainable_) {
    const double multiplier = mask_.multiplier(name);
    const Tensor* elements = mask_.elements(name);
    if (multiplier != 1 || elements != nullptr)
      optimizer.limit(tensor, {multiplier, elements != nullptr ? *elements : Tensor()});
  }
}

std::uint64_t checksum(const NamedTensors& tensors) {
  std::uint64_t h = 0x9E3779B97F4A7C15ull;
  const auto mix = [&h](std::uint64_t word) {
    h = (h ^ word) * 0xD1342543DE82EF95ull;
    h ^= h >> 32;
  };
  const auto mix_bytes = [&](const void* data, std::size_t bytes) {
    const auto* p = static_cast<const unsigned char*>(data);
    for (; bytes >= 8; p += 8, bytes -= 8) {
      std::uint64_t word;
      std::memcpy(&word, p, 8);
      mix(word);
    }
    std::uint64_t last = 0;
    std::memcpy(&last, p, bytes);
    mix(last ^ static_cast<std::uint64_t>(bytes) << 56);
  };
  for (const auto& [name, tensor] : tensors) {
    mix_bytes(name.data(), name.size());
    for (std::int64_t size : tensor.shape()) mix(static_cast<std::uint64_t>(size));
    const Tensor host = tensor.detach().to(Device::cpu()).contiguous();
    mix_bytes(host.ref().data, static_cast<std::size_t>(host.numel()) * size_of(host.dtype()));
  }
  return h;
}

}  // namespace graft::transfer
