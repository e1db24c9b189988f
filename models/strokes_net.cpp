#include <graft/core/autograd/node.h>
#include <graft/layers/init.h>
#include <graft/models/models.h>

namespace graft::models {
namespace {

std::shared_ptr<Linear> he_linear(std::int64_t in, std::int64_t out) {
  auto layer = std::make_shared<Linear>(in, out);
  init::kaiming_normal_(layer->weight);
  const NoGrad no_grad;
  layer->bias.zero_();
  return layer;
}

}  // namespace

std::shared_ptr<Sequential> strokes_net(StrokesNetOptions options) {
  check(options.num_classes >= 1, "strokes_net: num_classes is ", options.num_classes, ", expected at least 1");
  check(options.image_size >= 8, "strokes_net: image_size is ", options.image_size,
        ", expected at least 8 (three poolings halve it)");
  auto net = std::make_shared<Sequential>();
  std::int64_t channels = 1, size = options.image_size;
  int block = 1;
  for (const std::int64_t out : {32, 64, 128}) {
    const std::string number = std::to_string(block++);
    auto conv = std::make_shared<Conv2d>(channels, out, 3, Conv2dOptions{.padding = 1, .bias = false});
    init::kaiming_normal_(conv->weight);
    net->append("conv" + number, conv);
    net->append("bn" + number, std::make_shared<BatchNorm2d>(out));
    // The study's ReLU behind the pooling, fused with it: a quarter of the elements, one pass less.
    net->append("pool" + number, std::make_shared<MaxPool2d>(2, 0, 0, true));
    channels = out;
    size /= 2;
  }
  net->append("flatten", std::make_shared<Flatten>());
  net->append("fc1", he_linear(channels * size * size, 256));
  net->append("bn4", std::make_shared<BatchNorm1d>(256));
  net->append("relu4", std::make_shared<ActivationLayer>(ActivationKind::relu));
  net->append("fc", he_linear(256, options.num_classes));
  net->set_head("fc");
  return net;
}

}  // namespace graft::models
