#include <graft/models/models.h>

namespace graft::models {

std::shared_ptr<Sequential> mlp(MlpOptions options) {
  check(options.in_features >= 1, "mlp: in_features is ", options.in_features, ", expected at least 1");
  check(options.num_classes >= 1, "mlp: num_classes is ", options.num_classes, ", expected at least 1");
  check(options.dropout >= 0 && options.dropout < 1, "mlp: dropout is ", options.dropout,
        ", expected 0 or more and below 1");
  auto net = std::make_shared<Sequential>();
  net->append("flatten", std::make_shared<Flatten>());
  std::int64_t width = options.in_features;
  for (std::size_t i = 0; i < options.hidden.size(); ++i) {
    const std::string number = std::to_string(i + 1);
    net->append("fc" + number, std::make_shared<Linear>(width, options.hidden[i]));
    net->append("relu" + number, std::make_shared<ActivationLayer>(ActivationKind::relu));
    if (options.dropout > 0) net->append("dropout" + number, std::make_shared<Dropout>(options.dropout));
    width = options.hidden[i];
  }
  net->append("head", std::make_shared<Linear>(width, options.num_classes));
  net->set_head("head");
  return net;
}

}  // namespace graft::models
