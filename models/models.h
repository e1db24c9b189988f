// Networks. Each names its head.
#pragma once

#include <memory>
#include <vector>

#include <graft/kernels/api/export.h>
#include <graft/layers/layers.h>

namespace graft::models {

struct GRAFT_API StrokesNetOptions {
  std::int64_t num_classes = 1000;
  std::int64_t image_size = 28;  // at least 8
};
/// The network of the strokes study: three of [conv 3x3 (no bias: BatchNorm follows) -> BatchNorm -> max-pool 2 ->
/// ReLU] with 32, 64, 128 channels, flatten, linear to 256, BatchNorm, ReLU, head. Input (N, 1, S, S); He
/// initialisation. Head: "fc". At 28 pixels 388,576 parameters lie below the head (the study's 388,800 count 224
/// convolution biases, which BatchNorm cancels).
GRAFT_API std::shared_ptr<Sequential> strokes_net(StrokesNetOptions options = {});

struct GRAFT_API LeNet5Options {
  std::int64_t num_classes = 10;
};
/// LeNet-5 (LeCun et al., 1998) as commonly trained today: ReLU, max pooling. Input (N, 1, 28, 28). Head: "fc3".
GRAFT_API std::shared_ptr<Sequential> lenet5(LeNet5Options options = {});

struct GRAFT_API MlpOptions {
  std::int64_t in_features = 784;
  std::vector<std::int64_t> hidden = {256, 128};
  std::int64_t num_classes = 10;
  double dropout = 0;
};
/// Flatten, then linear + ReLU (+ dropout) for each hidden size ("fc1", ..), then the head ("head").
GRAFT_API std::shared_ptr<Sequential> mlp(MlpOptions options = {});

}  // namespace graft::models
