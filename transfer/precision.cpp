#include <graft/transfer/precision.h>

#include <graft/core/autograd/node.h>

namespace graft::transfer {

PrecisionScope::PrecisionScope(Module& module, DType dtype) {
  check(dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16, "train: precision is ", name(dtype),
        ", expected f32, bf16 or f16");
  if (dtype == DType::f32) return;
  const NoGrad no_grad;
  for (const auto& [name, tensor] : module.state_dict()) {
    if (!is_floating(tensor.dtype())) continue;
    check(tensor.dtype() == DType::f32, "train: precision ", graft::name(dtype), " needs a network of f32, but '", name,
          "' is ", tensor);
    pairs_.push_back({tensor, tensor.detach()});
  }
  module.to(dtype);
  std::erase_if(pairs_, [](const Pair& pair) { return pair.rounded.dtype() == DType::f32; });
}

PrecisionScope::~PrecisionScope() {
  try {
    restore();
  } catch (const std::exception&) {  // the device is lost, and what lay on it
  }
}

void PrecisionScope::give_masters(optim::Optimizer& optimizer) const {
  for (const optim::ParamGroup& group : optimizer.groups())
    for (const Tensor& parameter : group.params)
      if (const Tensor original = master(parameter); !original.is_same(parameter))
        optimizer.set_master(parameter, original);
}

Tensor PrecisionScope::master(const Tensor& parameter) const {
  for (const Pair& pair : pairs_)
    if (pair.rounded.is_same(parameter)) return pair.original;
  return parameter;
}

void PrecisionScope::restore() {
  for (Pair& pair : pairs_) pair.rounded.set_data(pair.original);
  pairs_.clear();
}

}  // namespace graft::transfer
