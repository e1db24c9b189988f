// Module: a tree of named parts with parameters and buffers.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <graft/core/tensor.h>
#include <graft/kernels/api/export.h>

namespace graft {

/// What load_state_dict did, by dotted name.
struct GRAFT_API LoadReport {
  std::vector<std::string> loaded;
  std::vector<std::string> missing;     // in the module, not in the state
  std::vector<std::string> unexpected;  // in the state, not in the module
  struct Mismatch {
    std::string name;
    Shape module_shape, state_shape;
  };
  std::vector<Mismatch> mismatched;

  bool complete() const { return missing.empty() && unexpected.empty() && mismatched.empty(); }
  std::string summary() const;
};

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

class GRAFT_API Module {
 public:
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  virtual Tensor forward(const Tensor& x) = 0;
  Tensor operator()(const Tensor& x) { return forward(x); }
  /// "Conv2d(1, 32, kernel_size=3, padding=1)".
  virtual std::string describe() const = 0;

  /// Parameters and buffers of this module and all below, with dotted names, in the order of registration (parameters
  /// of a module before those of its children). A tensor or module that is reached by several names is given once, by
  /// the first.
  NamedTensors named_parameters() const;
  NamedTensors named_buffers() const;
  std::vector<Tensor> parameters() const;
  /// This module ("" as its name) and all below.
  std::vector<std::pair<std::string, Module*>> named_modules();
  const std::vector<std::pair<std::string, std::shared_ptr<Module>>>& children() const { return children_; }
  /// By dotted name; throws Error naming the parts that exist.
  Module& get(const std::string& dotted_name);
  Tensor parameter(const std::string& dotted_name) const;

  /// Training or inference, for this module and all below. Modules start in training.
  void train(bool on = true);
  void eval() { train(false); }
  bool is_training() const { return training_; }
  /// Whether forward gives the same output for the same input, has no side effect and does not look at other rows of
  /// the batch, as things are set now: dropout and batch norm answer no in training. Containers ask their children.
  virtual bool is_deterministic() const;

  void zero_grad();
  /// Where the parameters and buffers lie; the CPU when there are none. Throws Error naming two that lie apart.
  Device device() const;
  /// Moves parameters and buffers, in place: handles on them stay valid, an optimiser's state does not. Returns *this.
  Module& to(Device device);
  /// The same for the floating parameters and buffers; throws Error unless `dtype` is floating.
  Module& to(DType dtype);
  /// Elements of all parameters, buffers not counted.
  std::int64_t parameter_count() const;

  /// Handles (not copies) of all parameters and buffers, in torch's names and order: a module's parameters, its
  /// buffers, then its children's. A tensor that is reached by several names is given under each.
  NamedTensors state_dict() const;
  /// Copies values in. strict: throws Error with the report unless names and shapes match exactly, before anything is
  /// changed. Not strict: loads what matches and reports the rest. Layout and dtype of the module stay; values between
  /// floating and integer dtypes are refused either way.
  LoadReport load_state_dict(const NamedTensors& state, bool strict = true);

  /// The dotted name of the last layer, the one that transfer learning replaces ("fc", "classifier.6"); "" when none is
  /// named.
  virtual std::string head() const { return head_; }
  void set_head(std::string dotted_name);

  /// The parts whose one-after-another application is forward, or empty when forward is not such a chain. What a
  /// feature cache cuts.
  virtual std::vector<std::pair<std::string, std::shared_ptr<Module>>> chain() const { return {}; }

 protected:
  Module() = default;
  /// "conv1: Conv2d(1, 32, kernel_size=3)", for error messages.
  std::string title() const;
  /// The dtype that this module's own tensors take when the network is moved to `dtype`.
  virtual DType own_dtype(DType dtype) const { return dtype; }
  /// Names hold no dots, are not empty and are unique; the tensor becomes a leaf that requires grad.
  Tensor register_parameter(const std::string& name, Tensor value);
  Tensor register_buffer(const std::string& name, Tensor value);
  void register_child(const std::string& name, std::shared_ptr<Module> child);
  template <class M>
  std::shared_ptr<M> add(const std::string& name, std::shared_ptr<M> child) {
    register_child(name, child);
    return child;
  }

 private:
  void check_new_name(const std::string& name) const;
  void visit(const std::string& prefix, const std::function<void(const std::string&, const Module&)>& f) const;
  void set_path(const std::string& path);

  std::vector<std::pair<std::string, Tensor>> parameters_, buffers_;
  std::vector<std::pair<std::string, std::shared_ptr<Module>>> children_;
  std::string head_;
  std::string path_;  // the dotted name below the topmost module, "" for that one
  bool training_ = true;
};

/// A tree of describe() lines with parameter counts.
GRAFT_API std::string to_string(const Module& module);

/// Writes the state dict as safetensors / reads one with load_state_dict.
GRAFT_API void save_weights(const Module& module, const std::string& path);
GRAFT_API LoadReport load_weights(Module& module, const std::string& path, bool strict = true);

}  // namespace graft
