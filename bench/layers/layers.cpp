// Layers as users call them: forward without a tape, and forward with backward. items_per_second are images.
#include <support.h>

#include <graft/core/autograd/node.h>
#include <graft/core/random.h>
#include <graft/layers/layers.h>

namespace graft::bench {
namespace {

void add_layer(const std::string& name, const Shape& input, const std::function<std::shared_ptr<Module>()>& make) {
  const Work work{.items = static_cast<double>(input[0])};
  const auto input_tensor = [=] {
    const Tensor x = randn(input);
    return input.rank() == 4 ? x.contiguous(MemoryFormat::channels_last) : x;
  };
  add("layer/forward/" + name, work, [=] {
    const auto layer = make();
    layer->eval();
    const Tensor x = input_tensor();
    return [=] {
      const NoGrad no_grad;
      layer->forward(x);
    };
  });
  add("layer/forward_backward/" + name, work, [=] {
    const auto layer = make();
    Tensor x = input_tensor();
    x.requires_grad_();
    Tensor gradient = layer->forward(x).detach().empty_like();
    normal_(gradient, 0, 1);
    return [=] {
      layer->forward(x).backward(gradient);
      layer->zero_grad();
      Tensor(x).set_grad({});
    };
  });
}

}  // namespace

void add_layers() {
  const Shape images{128, 32, 14, 14};
  add_layer("linear_1152_256/128", {128, 1152}, [] { return std::make_shared<Linear>(1152, 256); });
  add_layer("conv2d_32_64/128", images,
            [] { return std::make_shared<Conv2d>(32, 64, 3, Conv2dOptions{.padding = 1}); });
  add_layer("batch_norm2d_32/128", images, [] { return std::make_shared<BatchNorm2d>(32); });
  add_layer("layer_norm_768/128", {128, 768}, [] { return std::make_shared<LayerNorm>(Shape{768}); });
  add_layer("max_pool2d_relu/128", images, [] { return std::make_shared<MaxPool2d>(2, 0, 0, true); });
  add_layer("relu/128", images, [] { return std::make_shared<ActivationLayer>(ActivationKind::relu); });
  add_layer("gelu/128", images, [] { return std::make_shared<ActivationLayer>(ActivationKind::gelu); });
  add_layer("dropout/128", images, [] { return std::make_shared<Dropout>(0.5); });
  add_layer("flatten/128", images, [] { return std::make_shared<Flatten>(); });
}

}  // namespace graft::bench
