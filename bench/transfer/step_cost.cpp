#include <transfer/step_cost.h>

#include <graft/core/autograd/node.h>
#include <graft/layers/layers.h>

namespace graft::bench {
namespace {

using Layers = TrainingTask::Layers;

struct Layer {
  double x = 0, y = 0;  // elements of a batch
  double weights = 0;   // all parameters, elements
  double products = 0;  // multiply-adds of the forward
  bool trained = false, wants_gx = false;
};

class Count {
 public:
  Count(const TrainingTask& task, DType precision, std::int64_t batch)
      : element_(static_cast<double>(size_of(precision))), batch_(static_cast<double>(batch)), task_(task) {}

  StepCost operator()() {
    const NoGrad no_grad;
    const auto net = task_.network();
    net->eval();
    const transfer::Chain chain = transfer::flat_chain(*net);
    check(!chain.empty(), "step_cost: ", task_.name, " is no chain of layers");
    Tensor x = Tensor::zeros({1, task_.image[0], task_.image[1], task_.image[2]});
    const bool cached = task_.layers == Layers::head;
    bool below = false;  // something below is trained
    for (const auto& [name, part] : chain) {
      const Tensor y = (*part)(x);
      const bool head = name == net->head();
      if (!cached || head) {
        if (head && cached) cost_.bytes += batch_ * static_cast<double>(x.numel()) * (4 + element_);
        below = add(*part, x, y, below, !task_.head_only() || head);
      }
      x = y;
    }
    if (!cached)
      cost_.bytes += batch_ * static_cast<double>(task_.image[0] * task_.image[1] * task_.image[2]) * (1 + element_);
    // The loss: logits twice, their gradient once. The targets are little.
    cost_.bytes += 3 * batch_ * static_cast<double>(x.numel()) * element_;
    return cost_;
  }

 private:
  /// Whether the layer above wants a gradient of its input.
  bool add(Module& part, const Tensor& x, const Tensor& y, bool below, bool trainable) {
    Layer layer{
        .x = batch_ * static_cast<double>(x.numel()), .y = batch_ * static_cast<double>(y.numel()), .wants_gx = below};
    for (const auto& [name, parameter] : part.named_parameters())
      layer.weights += static_cast<double>(parameter.numel());
    layer.trained = trainable && layer.weights > 0;
    if (auto* conv = dynamic_cast<Conv2d*>(&part))
      add_products(layer, static_cast<double>(conv->weight.numel()) / static_cast<double>(conv->weight.size(0)));
    else if (auto* linear = dynamic_cast<Linear*>(&part))
      add_products(layer, static_cast<double>(linear->weight.size(1)));
    else if (dynamic_cast<BatchNorm*>(&part) != nullptr)
      add_elements(layer, 0, layer.x + layer.y);
    else if (dynamic_cast<MaxPool2d*>(&part) != nullptr)
      add_elements(layer, layer.y, 2 * layer.y + layer.x);  // with the places of the maxima, u8; gy, y and gx
    else if (dynamic_cast<ActivationLayer*>(&part) != nullptr)
      add_elements(layer, 0, layer.y + layer.y + layer.x);
    else if (dynamic_cast<Flatten*>(&part) != nullptr)
      add_flatten(layer, x);
    else
      fail("step_cost: no count for ", part.describe(), " of ", task_.name);
    if (layer.trained) add_optimizer(layer.weights);
    return below || layer.trained;
  }

  void add_products(Layer& layer, double per_output) {
    layer.products = layer.y * per_output;
    cost_.flops += 2 * layer.products * (1 + layer.trained + layer.wants_gx);
    cost_.bytes += element_ * (layer.x + layer.weights + layer.y);
    if (layer.trained) cost_.bytes += element_ * (layer.x + layer.y + layer.weights);
    if (layer.wants_gx) cost_.bytes += element_ * (layer.y + layer.weights + layer.x);
  }

  /// `aside`: bytes that the forward writes and the backward reads; `backward`: elements that move in the backward.
  void add_elements(const Layer& layer, double aside, double backward) {
    cost_.bytes += element_ * (layer.x + layer.y);
    if (!layer.trained && !layer.wants_gx) return;
    // A normalisation that is trained reads its input once more.
    const bool normalises = layer.weights > 0;
    cost_.bytes += element_ * (backward + (normalises ? layer.x : 0)) + 2 * aside;
  }

  /// A copy to the order of channels, rows, columns, where that is not the order in memory.
  void add_flatten(const Layer& layer, const Tensor& x) {
    if (x.size(1) == 1 || x.size(2) * x.size(3) == 1) return;
    cost_.bytes += element_ * 2 * layer.x * (layer.wants_gx ? 2 : 1);
  }

  /// Adam's: gradient read, value and both moments (f32) read and written; a rounded parameter is written beside it.
  void add_optimizer(double weights) {
    const double rounded = element_ < 4 ? element_ : 0;
    cost_.bytes += weights * (element_ + 6 * 4 + rounded);
  }

  double element_, batch_;
  const TrainingTask& task_;
  StepCost cost_;
};

}  // namespace

StepCost step_cost(const TrainingTask& task, DType precision, std::int64_t batch) {
  return Count(task, precision, batch)();
}

}  // namespace graft::bench
