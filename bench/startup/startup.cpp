// A whole program in one file: LeNet-5's first training step on a batch of 32. Written as a newcomer would, it includes
// the umbrella header, and what programs do first. bench/compare_libtorch compiles and runs it beside its libtorch twin;
// with the argument `cuda` the step runs on a GPU.
#include <cstdio>
#include <string_view>

#include <graft/apps/support/start.h>
#include <graft/graft.h>

int main(int argc, char** argv) try {
  graft::program::limit_spinning("graft_startup", argv);
  graft::program::check_setup("graft_startup");
  const auto device = argc > 1 && std::string_view(argv[1]) == "cuda" ? graft::Device::cuda() : graft::Device::cpu();
  auto net = graft::models::lenet5();
  net->to(device);
  graft::optim::Sgd optimizer(net->parameters(), {.lr = 0.01, .momentum = 0.9});
  const graft::Tensor x = graft::randn({32, 1, 28, 28}).to(device);
  const graft::Tensor y = graft::Tensor::from(std::vector<std::int64_t>(32, 3), {32}).to(device);

  const graft::Tensor loss = graft::cross_entropy((*net)(x), y);
  loss.backward();
  optimizer.step();
  std::printf("loss %.4f\n", loss.item());
} catch (const graft::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
