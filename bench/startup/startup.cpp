// A whole program in one file: LeNet-5's first training step on a batch of 32. Written as a newcomer would, it includes
// the umbrella header. bench/compare_libtorch compiles and runs it beside its libtorch twin.
#include <cstdio>

#include <graft/graft.h>

int main() {
  auto net = graft::models::lenet5();
  graft::optim::Sgd optimizer(net->parameters(), {.lr = 0.01, .momentum = 0.9});
  const graft::Tensor x = graft::randn({32, 1, 28, 28});
  const graft::Tensor y = graft::Tensor::from(std::vector<std::int64_t>(32, 3), {32});

  const graft::Tensor loss = graft::cross_entropy((*net)(x), y);
  loss.backward();
  optimizer.step();
  std::printf("loss %.4f\n", loss.item());
}
