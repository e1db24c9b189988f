#include <graft/models/models.h>

namespace graft::models {

std::shared_ptr<Sequential> lenet5(LeNet5Options options) {
  check(options.num_classes >= 1, "lenet5: num_classes is ", options.num_classes, ", expected at least 1");
  const auto relu = [] { return std::make_shared<ActivationLayer>(ActivationKind::relu); };
  auto net = std::make_shared<Sequential>();
  net->append("conv1", std::make_shared<Conv2d>(1, 6, 5, Conv2dOptions{.padding = 2}));  // (N, 6, 28, 28)
  net->append("pool1", std::make_shared<MaxPool2d>(2, 0, 0, true));                      // (N, 6, 14, 14), then ReLU
  net->append("conv2", std::make_shared<Conv2d>(6, 16, 5));                              // (N, 16, 10, 10)
  net->append("pool2", std::make_shared<MaxPool2d>(2, 0, 0, true));                      // (N, 16, 5, 5), then ReLU
  net->append("flatten", std::make_shared<Flatten>());
  net->append("fc1", std::make_shared<Linear>(400, 120));
  net->append("relu1", relu());
  net->append("fc2", std::make_shared<Linear>(120, 84));
  net->append("relu2", relu());
  net->append("fc3", std::make_shared<Linear>(84, options.num_classes));
  net->set_head("fc3");
  return net;
}

}  // namespace graft::models
