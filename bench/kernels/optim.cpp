// The optimisers' update of the strokes network's parameters at once.
#include <support.h>

#include <graft/core/optim/optimizer.h>
#include <graft/core/random.h>
#include <graft/models/models.h>

namespace graft::bench {
namespace {

std::vector<Tensor> parameters_with_gradients(Device device) {
  const auto net = models::strokes_net();
  net->to(device);
  std::vector<Tensor> parameters = net->parameters();
  for (Tensor& p : parameters) {
    Tensor gradient = p.detach().empty_like();
    normal_(gradient, 0, 1e-3);
    p.set_grad(gradient);
  }
  return parameters;
}

template <class Optimizer, class Options>
void add_update(const Place& place, const std::string& name, int moved, const Options& options) {
  double once = 0;
  for (const Tensor& p : models::strokes_net()->parameters()) once += bytes(p);
  add(place, place.name("optim", name + "/strokes_net"), {.items = once / 4, .bytes = moved * once}, [=] {
    auto optimizer = std::make_shared<Optimizer>(parameters_with_gradients(place.device), options);
    return [optimizer] { optimizer->step(); };
  });
}

}  // namespace

void add_optim() {
  for (const Place& place : own_places()) {
    if (place.dtype != DType::f32) continue;  // what optimisers update are f32 masters
    add_update<optim::Sgd>(place, "sgd", 3, optim::SgdOptions{.lr = 1e-6});
    add_update<optim::Sgd>(place, "sgd_momentum", 5, optim::SgdOptions{.lr = 1e-6, .momentum = 0.9});
    add_update<optim::Adam>(place, "adam", 7, optim::AdamOptions{.lr = 1e-6});
    add_update<optim::AdamW>(place, "adamw", 7, optim::AdamOptions{.lr = 1e-6, .weight_decay = 0.01});
  }
  add("optim/grad_norm/strokes_net", {}, [] {
    const std::vector<Tensor> parameters = parameters_with_gradients(Device::cpu());
    return [=] { optim::grad_norm(parameters); };
  });
}

}  // namespace graft::bench
