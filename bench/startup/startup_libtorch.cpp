// startup.cpp with libtorch.
#include <cstdio>

#include <torch/torch.h>

int main() {
  namespace nn = torch::nn;
  nn::Sequential net(nn::Conv2d(nn::Conv2dOptions(1, 6, 5).padding(2)), nn::MaxPool2d(2), nn::ReLU(),
                     nn::Conv2d(6, 16, 5), nn::MaxPool2d(2), nn::ReLU(), nn::Flatten(), nn::Linear(400, 120),
                     nn::ReLU(), nn::Linear(120, 84), nn::ReLU(), nn::Linear(84, 10));
  torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.01).momentum(0.9));
  const torch::Tensor x = torch::randn({32, 1, 28, 28});
  const torch::Tensor y = torch::full({32}, 3, torch::kLong);

  const torch::Tensor loss = nn::functional::cross_entropy(net->forward(x), y);
  loss.backward();
  optimizer.step();
  std::printf("loss %.4f\n", loss.item<float>());
}
