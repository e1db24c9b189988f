// A small picture task and small networks for the transfer tests.
#pragma once

#include <memory>
#include <vector>

#include <graft/graft.h>

#include "support/errors.h"

namespace graft::test {

inline const data::Normalization kNormalization{33.3, 78.6};

/// `per_class` glyphs of each of `classes` stroke classes.
inline data::Dataset toy_set(std::int64_t classes, std::int64_t per_class, std::int64_t first_index = 0) {
  return data::make_strokes({.classes = classes, .images = classes * per_class, .seed = 7, .first_index = first_index});
}

/// conv - BatchNorm - pool - ReLU - dropout - flatten - linear - BatchNorm - ReLU - head: everything that may drift is
/// in it.
inline std::shared_ptr<Sequential> toy_net(std::int64_t classes, std::uint64_t seed, double dropout = 0.25) {
  manual_seed(seed);
  auto net = std::make_shared<Sequential>();
  net->append("conv1", std::make_shared<Conv2d>(1, 8, 3, Conv2dOptions{.stride = 2, .padding = 1}));
  net->append("bn1", std::make_shared<BatchNorm2d>(8));
  net->append("pool1", std::make_shared<MaxPool2d>(2, 0, 0, true));
  net->append("drop1", std::make_shared<Dropout>(dropout, seed));
  net->append("flatten", std::make_shared<Flatten>());
  net->append("fc1", std::make_shared<Linear>(8 * 7 * 7, 32));
  net->append("bn2", std::make_shared<BatchNorm1d>(32));
  net->append("relu2", std::make_shared<ActivationLayer>(ActivationKind::relu));
  net->append("fc", std::make_shared<Linear>(32, classes));
  net->set_head("fc");
  return net;
}

/// Every tensor's bytes by name.
inline std::vector<std::pair<std::string, std::vector<std::uint8_t>>> bytes_of(const Module& module) {
  std::vector<std::pair<std::string, std::vector<std::uint8_t>>> all;
  for (const auto& [name, tensor] : module.state_dict()) {
    const Tensor t = tensor.detach().contiguous();
    const auto* p = static_cast<const std::uint8_t*>(t.ref().data);
    all.emplace_back(name, std::vector<std::uint8_t>(p, p + t.numel() * static_cast<std::int64_t>(size_of(t.dtype()))));
  }
  return all;
}

}  // namespace graft::test
