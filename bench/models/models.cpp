// train/<network>/<batch> and inference/<network>/<batch>: whole steps on a batch in memory. items_per_second are
// images.
#include <support.h>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/nn.h>
#include <graft/core/optim/optimizer.h>
#include <graft/models/models.h>

namespace graft::bench {
namespace {

void add_network(const std::string& name, std::int64_t batch, std::int64_t classes,
                 const std::function<std::shared_ptr<Module>()>& make) {
  const Work work{.items = static_cast<double>(batch)};
  const std::string what = name + "/" + std::to_string(batch);
  const Shape input{batch, 1, 28, 28};
  add("train/" + what, work, [=] {
    const auto net = make();
    const Tensor x = randn(input), y = random_labels(batch, classes);
    auto optimizer = std::make_shared<optim::AdamW>(net->parameters(), optim::AdamOptions{.lr = 1e-4});
    return [=] {
      cross_entropy(net->forward(x), y).backward();
      optimizer->step();
      optimizer->zero_grad();
    };
  });
  add("inference/" + what, work, [=] {
    const auto net = make();
    net->eval();
    const Tensor x = randn(input);
    return [=] {
      const NoGrad no_grad;
      net->forward(x);
    };
  });
}

}  // namespace

void add_models() {
  for (const std::int64_t batch : {32, 128, 512})
    add_network("strokes_net", batch, 1000, [] { return models::strokes_net(); });
  add("inference/strokes_net/1", {.items = 1}, [] {
    const auto net = models::strokes_net();
    net->eval();
    const Tensor x = randn({1, 1, 28, 28});
    return [=] {
      const NoGrad no_grad;
      net->forward(x);
    };
  });
  add_network("lenet5", 128, 10, [] { return models::lenet5(); });
  add_network("mlp", 128, 10, [] { return models::mlp(); });
}

}  // namespace graft::bench
