// GradientMask: how far each layer may move in fine-tuning. Frozen (0) means frozen: no update, no decay, no momentum,
// no optimiser state, no BatchNorm drift, no dropout, no gradient.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include <graft/core/optim/optimizer.h>
#include <graft/kernels/api/export.h>
#include <graft/layers/module.h>

namespace graft::transfer {

class GRAFT_API GradientMask {
 public:
  /// Multiplies the update of every parameter whose dotted name matches: `*` stands for any run of characters, `?` for
  /// one; the name of a layer stands for all below it. The last rule that matches counts; without one the multiplier
  /// is 1. Throws Error unless multiplier is finite and >= 0.
  GradientMask& set(const std::string& pattern, double multiplier);
  GradientMask& freeze(const std::string& pattern) { return set(pattern, 0); }
  /// Keeps elements where `mask` (bool or u8, the parameter's shape) is 0 byte for byte.
  GradientMask& set_elements(const std::string& parameter_name, Tensor mask);

  /// Adds another mask's rules behind these, so that those have the last word.
  GradientMask& append(const GradientMask& other);

  double multiplier(const std::string& parameter_name) const;
  const Tensor* elements(const std::string& parameter_name) const;
  bool empty() const { return rules_.empty() && elements_.empty(); }
  /// Throws Error naming a rule that matches no parameter of the module (a typing mistake would train what should be
  /// frozen), or an element mask of the wrong shape or dtype.
  void validate(const Module& module) const;

  /// Freezes everything but the module's head.
  static GradientMask head_only(const Module& module);

 private:
  std::vector<std::pair<std::string, double>> rules_;
  std::vector<std::pair<std::string, Tensor>> elements_;
};

/// `*` any run, `?` any one character.
GRAFT_API bool matches(const std::string& pattern, const std::string& text);

/// Applies a mask to a module while it lives: frozen parameters stop requiring grad, layers that are frozen as a whole
/// (and parameterless layers below the lowest trainable one) go to inference, the rest to training. The destructor
/// restores requires_grad; the module is left in inference.
class GRAFT_API MaskScope {
 public:
  /// `batch_norm_inference`: trainable BatchNorm layers normalise with their running statistics too, which then stay.
  /// Throws Error when nothing is left to train.
  MaskScope(Module& module, const GradientMask& mask, bool batch_norm_inference);
  ~MaskScope();
  MaskScope(const MaskScope&) = delete;
  MaskScope& operator=(const MaskScope&) = delete;

  /// Sets the modes again (after an evaluation).
  void set_modes();
  const NamedTensors& trainable() const { return trainable_; }
  const NamedTensors& frozen() const { return frozen_; }  // parameters, and the buffers of layers in inference
  /// Tells the optimiser multipliers and element masks.
  void limit(optim::Optimizer& optimizer) const;

 private:
  Module& module_;
  const GradientMask& mask_;
  NamedTensors trainable_, frozen_;
  std::vector<std::pair<Tensor, bool>> restore_;
  std::unordered_set<const Module*> inference_;
};

/// 64 bits over names, shapes and bytes: equal before and after means untouched.
GRAFT_API std::uint64_t checksum(const NamedTensors& tensors);

}  // namespace graft::transfer
