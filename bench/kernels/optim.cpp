// The optimisers' update of all parameters at once: of the strokes network, and of as many elements as ResNet-50 has,
// in f32 and as bf16 parameters with f32 masters. Bytes: each operand once.
#include <support.h>

#include <graft/core/optim/optimizer.h>
#include <graft/core/random.h>
#include <graft/models/models.h>

namespace graft::bench {
namespace {

std::vector<Shape> strokes_net() {
  std::vector<Shape> shapes;
  for (const Tensor& p : models::strokes_net()->parameters()) shapes.push_back(p.shape());
  return shapes;
}

// torchvision's ResNet-50: 161 parameters, 25.6 million elements.
std::vector<Shape> resnet50() {
  std::vector<Shape> shapes;
  const auto conv_and_norm = [&](std::int64_t out, std::int64_t in, std::int64_t kernel) {
    shapes.push_back({out, in, kernel, kernel});
    shapes.insert(shapes.end(), {{out}, {out}});
  };
  conv_and_norm(64, 3, 7);
  std::int64_t in = 64, width = 64;
  for (const int blocks : {3, 4, 6, 3}) {
    for (int block = 0; block < blocks; ++block) {
      conv_and_norm(width, in, 1);
      conv_and_norm(width, width, 3);
      conv_and_norm(4 * width, width, 1);
      if (block == 0) conv_and_norm(4 * width, in, 1);
      in = 4 * width;
    }
    width *= 2;
  }
  shapes.insert(shapes.end(), {{1000, 2048}, {1000}});
  return shapes;
}

std::vector<Tensor> parameters_with_gradients(const Place& place, const std::vector<Shape>& shapes) {
  std::vector<Tensor> parameters;
  for (const Shape& shape : shapes) {
    parameters.push_back(place.randn(shape));
    Tensor gradient = parameters.back().empty_like();
    normal_(gradient, 0, 1e-3);
    parameters.back().requires_grad_();
    parameters.back().set_grad(gradient);
  }
  return parameters;
}

// `state`: how many f32 tensors the optimiser keeps a parameter.
template <class Optimizer, class Options>
void add_update(const Place& place, const std::string& name, const std::vector<Shape>& shapes, int state,
                const Options& options) {
  double elements = 0;
  for (const Shape& shape : shapes) elements += static_cast<double>(shape.numel());
  const bool masters = place.dtype != DType::f32;
  // The gradient is read; the parameter and its state are read and written; beside a master the parameter is written.
  const double moved = place.element() * (masters ? 2 : 3) + 8.0 * (state + (masters ? 1 : 0));
  add(place, place.name("optim", name), {.items = elements, .bytes = moved * elements}, [=] {
    const std::vector<Tensor> parameters = parameters_with_gradients(place, shapes);
    auto optimizer = std::make_shared<Optimizer>(parameters, options);
    if (masters)
      for (const Tensor& p : parameters) optimizer->set_master(p, p.detach().to(DType::f32));
    return [optimizer] { optimizer->step(); };
  });
}

void add_updates(const Place& place, const std::string& network, const std::vector<Shape>& shapes) {
  const optim::AdamOptions decoupled{.lr = 1e-6, .weight_decay = 0.01};
  if (place.dtype != DType::f32) return add_update<optim::AdamW>(place, "adamw/" + network, shapes, 2, decoupled);
  add_update<optim::Sgd>(place, "sgd/" + network, shapes, 0, optim::SgdOptions{.lr = 1e-6});
  add_update<optim::Sgd>(place, "sgd_momentum/" + network, shapes, 1, optim::SgdOptions{.lr = 1e-6, .momentum = 0.9});
  add_update<optim::Adam>(place, "adam/" + network, shapes, 2, optim::AdamOptions{.lr = 1e-6});
  add_update<optim::AdamW>(place, "adamw/" + network, shapes, 2, decoupled);
}

}  // namespace

void add_optim() {
  for (const Place& place : own_places()) {
    add_updates(place, "strokes_net", strokes_net());
    if (!place.device.is_cpu()) add_updates(place, "resnet50", resnet50());
    if (!place.device.is_cpu() && emulated()) add_updates(place, "small", {{16, 4, 3, 3}, {16}, {10, 33}});
  }
  add("optim/grad_norm/strokes_net", {}, [] {
    const std::vector<Tensor> parameters = parameters_with_gradients(kCpu, strokes_net());
    return [=] { optim::grad_norm(parameters); };
  });
}

}  // namespace graft::bench
