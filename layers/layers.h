// The layers.
#pragma once

#include <graft/core/ops/nn.h>
#include <graft/core/random.h>
#include <graft/kernels/api/export.h>
#include <graft/layers/module.h>

namespace graft {

/// y = x weight^T + bias. weight (out, in), bias (out).
class GRAFT_API Linear final : public Module {
 public:
  struct Options {
    bool bias = true;
  };
  Linear(std::int64_t in, std::int64_t out) : Linear(in, out, Options{}) {}
  Linear(std::int64_t in, std::int64_t out, Options options);
  Tensor forward(const Tensor& x) override;
  std::string describe() const override;
  std::int64_t in_features() const { return weight.size(1); }
  std::int64_t out_features() const { return weight.size(0); }
  Tensor weight, bias;
};

struct GRAFT_API Conv2dOptions {
  std::int64_t stride = 1, padding = 0, dilation = 1, groups = 1;
  bool bias = true;
};

/// weight (out, in / groups, kernel, kernel), channels-last.
class GRAFT_API Conv2d final : public Module {
 public:
  Conv2d(std::int64_t in, std::int64_t out, std::int64_t kernel, Conv2dOptions options = {});
  Tensor forward(const Tensor& x) override;
  std::string describe() const override;
  Tensor weight, bias;

 private:
  Conv2dOptions options_;
};

/// Shared by BatchNorm1d and BatchNorm2d: weight, bias; buffers running_mean, running_var, num_batches_tracked (as
/// PyTorch's).
class GRAFT_API BatchNorm : public Module {
 public:
  struct Options {
    double eps = 1e-5;
    double momentum = 0.1;
    bool affine = true;
  };
  Tensor forward(const Tensor& x) override;
  bool is_deterministic() const override { return !is_training(); }
  std::string describe() const override;
  Tensor weight, bias, running_mean, running_var, num_batches_tracked;

 protected:
  BatchNorm(const char* kind, int min_rank, int max_rank, std::int64_t features, Options options);
  /// Stays f32 beside bf16 and f16 activations: running sums of small steps need the bits.
  DType own_dtype(DType dtype) const override;

 private:
  const char* kind_;
  int min_rank_, max_rank_;
  Options options_;
};

/// (N, C) or (N, C, L).
class GRAFT_API BatchNorm1d final : public BatchNorm {
 public:
  explicit BatchNorm1d(std::int64_t features, Options options) : BatchNorm("BatchNorm1d", 2, 3, features, options) {}
  explicit BatchNorm1d(std::int64_t features) : BatchNorm1d(features, Options()) {}
};

/// (N, C, H, W).
class GRAFT_API BatchNorm2d final : public BatchNorm {
 public:
  explicit BatchNorm2d(std::int64_t features, Options options) : BatchNorm("BatchNorm2d", 4, 4, features, options) {}
  explicit BatchNorm2d(std::int64_t features) : BatchNorm2d(features, Options()) {}
};

/// Over the last shape.rank() dimensions.
class GRAFT_API LayerNorm final : public Module {
 public:
  explicit LayerNorm(const Shape& shape, double eps = 1e-5);
  Tensor forward(const Tensor& x) override;
  std::string describe() const override;
  Tensor weight, bias;

 private:
  double eps_;
};

class GRAFT_API MaxPool2d final : public Module {
 public:
  /// stride 0: the kernel's size. `relu` fuses a ReLU behind the pooling.
  explicit MaxPool2d(std::int64_t kernel, std::int64_t stride = 0, std::int64_t padding = 0, bool relu = false);
  Tensor forward(const Tensor& x) override;
  std::string describe() const override;

 private:
  PoolGeometry geometry_;
  bool relu_;
};

class GRAFT_API AvgPool2d final : public Module {
 public:
  explicit AvgPool2d(std::int64_t kernel, std::int64_t stride = 0, std::int64_t padding = 0,
                     bool count_include_pad = true);
  Tensor forward(const Tensor& x) override;
  std::string describe() const override;

 private:
  PoolGeometry geometry_;
};

class GRAFT_API AdaptiveAvgPool2d final : public Module {
 public:
  AdaptiveAvgPool2d(std::int64_t height, std::int64_t width);
  Tensor forward(const Tensor& x) override;
  std::string describe() const override;

 private:
  std::int64_t height_, width_;
};

enum class ActivationKind : std::uint8_t { relu, relu6, gelu, sigmoid, tanh, hardswish, silu };

class GRAFT_API ActivationLayer final : public Module {
 public:
  explicit ActivationLayer(ActivationKind kind) : kind_(kind) {}
  Tensor forward(const Tensor& x) override;
  std::string describe() const override;

 private:
  ActivationKind kind_;
};

/// In training zeroes elements with probability p and scales the rest by 1 / (1 - p).
class GRAFT_API Dropout final : public Module {
 public:
  /// Draws from its own generator when given a seed, else from the default one.
  explicit Dropout(double p = 0.5);
  Dropout(double p, std::uint64_t seed);
  Tensor forward(const Tensor& x) override;
  bool is_deterministic() const override { return !is_training() || p_ == 0; }
  std::string describe() const override;

 private:
  double p_;
  bool own_generator_ = false;
  Generator generator_;
};

/// (N, C, H, W) -> (N, C H W), in logical CHW order.
class GRAFT_API Flatten final : public Module {
 public:
  explicit Flatten(int start = 1, int end = -1) : start_(start), end_(end) {}
  Tensor forward(const Tensor& x) override;
  std::string describe() const override;

 private:
  int start_, end_;
};

/// Modules one after the other, each with a name.
class GRAFT_API Sequential : public Module {
 public:
  Sequential() = default;
  /// Names are "0", "1", ..
  explicit Sequential(std::vector<std::shared_ptr<Module>> parts);
  /// Adds a part behind the others; returns *this.
  Sequential& append(const std::string& name, std::shared_ptr<Module> part);
  Sequential& append(std::shared_ptr<Module> part);
  Tensor forward(const Tensor& x) override;
  std::string describe() const override { return "Sequential"; }
  std::vector<std::pair<std::string, std::shared_ptr<Module>>> chain() const override { return children(); }
};

}  // namespace graft
