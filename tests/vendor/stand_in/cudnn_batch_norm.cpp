// The stand-in for libcudnn: batch normalisation of one value a channel.
#include <cmath>
#include <vector>

#include "library.h"

using namespace graft::stand_in;

namespace {

constexpr std::size_t kWorkspace = 768;

bool is_channels(const Tensor& t, const Tensor& x) {
  return t.element == Element::f32 && t.size == std::array<std::int64_t, 4>{1, x.size[1], 1, 1} && t.stride[1] == 1;
}

double factor(const void* p) { return *static_cast<const float*>(p); }

cudnnStatus_t run(cudnnHandle_t handle, std::function<void()> work) {
  return queue(of<Library>(handle).stream, std::move(work)) ? CUDNN_STATUS_SUCCESS
                                                            : CUDNN_STATUS_EXECUTION_FAILED_CUDART;
}

float* floats(void* p) { return static_cast<float*>(p); }
const float* floats(const void* p) { return static_cast<const float*>(p); }

// f(n, h, w) for every element of a channel.
template <class F>
void for_each_of_channel(const Tensor& t, F&& f) {
  for (std::int64_t n = 0; n < t.size[0]; ++n)
    for (std::int64_t h = 0; h < t.size[2]; ++h)
      for (std::int64_t w = 0; w < t.size[3]; ++w) f(n, h, w);
}

// The backward, in both of its forms.
cudnnStatus_t backward(cudnnHandle_t handle, const Tensor& tx, const void* x, const Tensor& ty, const void* dy,
                       const Tensor& td, void* dx, const void* scale, void* dscale, void* dbias, const void* mean,
                       const void* inv_std, void* workspace, std::size_t bytes) {
  return run(handle, [=] {
    scribble(workspace, bytes);
    for (std::int64_t c = 0; c < tx.size[1]; ++c) {
      const double center = floats(mean)[c], inv = floats(inv_std)[c];
      double sum = 0, products = 0, count = 0;
      for_each_of_channel(tx, [&](std::int64_t n, std::int64_t h, std::int64_t w) {
        const double g = load(dy, ty.element, ty.at(n, c, h, w));
        sum += g;
        products += g * (load(x, tx.element, tx.at(n, c, h, w)) - center) * inv;
        ++count;
      });
      for_each_of_channel(tx, [&](std::int64_t n, std::int64_t h, std::int64_t w) {
        const double normalised = (load(x, tx.element, tx.at(n, c, h, w)) - center) * inv;
        const double g = load(dy, ty.element, ty.at(n, c, h, w));
        store(dx, td.element, td.at(n, c, h, w),
              floats(scale)[c] * inv * (g - sum / count - normalised * products / count));
      });
      floats(dscale)[c] = static_cast<float>(products);
      floats(dbias)[c] = static_cast<float>(sum);
    }
  });
}

}  // namespace

#define REFUSE_UNLESS(condition) \
  if (!(condition)) return refuse(CUDNN_STATUS_BAD_PARAM, "!(" #condition ")")
#define MAYBE_FAIL() \
  if (fails(__func__)) return refuse(CUDNN_STATUS_NOT_SUPPORTED, "the test wants it")

extern "C" {

cudnnStatus_t cudnnBatchNormalizationForwardInference(cudnnHandle_t handle, cudnnBatchNormMode_t mode,
                                                      const void* alpha, const void* beta,
                                                      const cudnnTensorDescriptor_t x_, const void* x,
                                                      const cudnnTensorDescriptor_t y_, void* y,
                                                      const cudnnTensorDescriptor_t channels, const void* scale,
                                                      const void* bias, const void* mean, const void* variance,
                                                      double eps) {
  MAYBE_FAIL();
  const Tensor tx = of<Tensor>(x_), ty = of<Tensor>(y_);
  REFUSE_UNLESS(mode == CUDNN_BATCHNORM_SPATIAL && is_channels(of<Tensor>(channels), tx) && tx.size == ty.size);
  REFUSE_UNLESS(scale != nullptr && bias != nullptr && mean != nullptr && variance != nullptr);
  return run(handle, [=, a = factor(alpha), b = factor(beta)] {
    for_each(tx, [&](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
      const double centered = load(x, tx.element, tx.at(n, c, h, w)) - floats(mean)[c];
      blend(y, ty, ty.at(n, c, h, w), a,
            floats(scale)[c] * centered / std::sqrt(eps + floats(variance)[c]) + floats(bias)[c], b);
    });
  });
}

cudnnStatus_t cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize(
    cudnnHandle_t, cudnnBatchNormMode_t, cudnnBatchNormOps_t, const cudnnTensorDescriptor_t,
    const cudnnTensorDescriptor_t, const cudnnTensorDescriptor_t, const cudnnTensorDescriptor_t,
    const cudnnActivationDescriptor_t, std::size_t* bytes) {
  *bytes = kWorkspace;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnGetBatchNormalizationBackwardExWorkspaceSize(
    cudnnHandle_t, cudnnBatchNormMode_t, cudnnBatchNormOps_t, const cudnnTensorDescriptor_t,
    const cudnnTensorDescriptor_t, const cudnnTensorDescriptor_t, const cudnnTensorDescriptor_t,
    const cudnnTensorDescriptor_t, const cudnnTensorDescriptor_t, const cudnnActivationDescriptor_t,
    std::size_t* bytes) {
  *bytes = kWorkspace;
  return CUDNN_STATUS_SUCCESS;
}
// Odd channels: none; even channels: some, which asks for the plain backward.
cudnnStatus_t cudnnGetBatchNormalizationTrainingExReserveSpaceSize(cudnnHandle_t, cudnnBatchNormMode_t,
                                                                   cudnnBatchNormOps_t,
                                                                   const cudnnActivationDescriptor_t,
                                                                   const cudnnTensorDescriptor_t x,
                                                                   std::size_t* bytes) {
  *bytes = of<Tensor>(x).size[1] % 2 == 0 ? 512 : 0;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBatchNormalizationForwardTrainingEx(
    cudnnHandle_t handle, cudnnBatchNormMode_t mode, cudnnBatchNormOps_t ops, const void* alpha, const void* beta,
    const cudnnTensorDescriptor_t x_, const void* x, const cudnnTensorDescriptor_t, const void*,
    const cudnnTensorDescriptor_t y_, void* y, const cudnnTensorDescriptor_t channels, const void* scale,
    const void* bias, double average, void* running_mean, void* running_variance, double eps, void* save_mean,
    void* save_inv_std, cudnnActivationDescriptor_t, void* workspace, std::size_t bytes, void* reserve,
    std::size_t reserved) {
  MAYBE_FAIL();
  const Tensor tx = of<Tensor>(x_), ty = of<Tensor>(y_);
  REFUSE_UNLESS(mode != CUDNN_BATCHNORM_PER_ACTIVATION && ops == CUDNN_BATCHNORM_OPS_BN);
  REFUSE_UNLESS(is_channels(of<Tensor>(channels), tx) && tx.size == ty.size);
  REFUSE_UNLESS(scale != nullptr && bias != nullptr && (running_mean != nullptr) == (running_variance != nullptr));
  REFUSE_UNLESS(bytes >= kWorkspace && workspace != nullptr);
  REFUSE_UNLESS((tx.size[1] % 2 != 0) || (reserved >= 512 && reserve != nullptr));
  return run(handle, [=, a = factor(alpha), b = factor(beta)] {
    scribble(workspace, bytes);
    scribble(reserve, reserved);
    for (std::int64_t c = 0; c < tx.size[1]; ++c) {
      double mean = 0, m2 = 0, count = 0;
      for_each_of_channel(tx, [&](std::int64_t n, std::int64_t h, std::int64_t w) {
        mean += load(x, tx.element, tx.at(n, c, h, w));
        ++count;
      });
      mean /= count;
      for_each_of_channel(tx, [&](std::int64_t n, std::int64_t h, std::int64_t w) {
        m2 += std::pow(load(x, tx.element, tx.at(n, c, h, w)) - mean, 2);
      });
      const double inv_std = 1 / std::sqrt(m2 / count + eps);
      for_each_of_channel(tx, [&](std::int64_t n, std::int64_t h, std::int64_t w) {
        const double normalised = (load(x, tx.element, tx.at(n, c, h, w)) - mean) * inv_std;
        blend(y, ty, ty.at(n, c, h, w), a, floats(scale)[c] * normalised + floats(bias)[c], b);
      });
      const auto move = [&](void* to, double value) {
        if (to != nullptr) floats(to)[c] = static_cast<float>((1 - average) * floats(to)[c] + average * value);
      };
      move(running_mean, mean);
      move(running_variance, m2 / (count - 1));
      if (save_mean != nullptr) floats(save_mean)[c] = static_cast<float>(mean);
      if (save_inv_std != nullptr) floats(save_inv_std)[c] = static_cast<float>(inv_std);
    }
  });
}

cudnnStatus_t cudnnBatchNormalizationBackward(cudnnHandle_t handle, cudnnBatchNormMode_t mode, const void* alpha_data,
                                              const void* beta_data, const void* alpha_parameters,
                                              const void* beta_parameters, const cudnnTensorDescriptor_t x_,
                                              const void* x, const cudnnTensorDescriptor_t dy_, const void* dy,
                                              const cudnnTensorDescriptor_t dx_, void* dx,
                                              const cudnnTensorDescriptor_t channels, const void* scale, void* dscale,
                                              void* dbias, double, const void* mean, const void* inv_std) {
  MAYBE_FAIL();
  const Tensor tx = of<Tensor>(x_);
  REFUSE_UNLESS(mode != CUDNN_BATCHNORM_PER_ACTIVATION && is_channels(of<Tensor>(channels), tx));
  REFUSE_UNLESS(factor(alpha_data) == 1 && factor(beta_data) == 0 && factor(alpha_parameters) == 1 &&
                factor(beta_parameters) == 0);
  REFUSE_UNLESS(dx != nullptr && dscale != nullptr && dbias != nullptr && scale != nullptr);
  return backward(handle, tx, x, of<Tensor>(dy_), dy, of<Tensor>(dx_), dx, scale, dscale, dbias, mean, inv_std, nullptr,
                  0);
}

cudnnStatus_t cudnnBatchNormalizationBackwardEx(
    cudnnHandle_t handle, cudnnBatchNormMode_t mode, cudnnBatchNormOps_t ops, const void* alpha_data,
    const void* beta_data, const void* alpha_parameters, const void* beta_parameters, const cudnnTensorDescriptor_t x_,
    const void* x, const cudnnTensorDescriptor_t, const void*, const cudnnTensorDescriptor_t dy_, const void* dy,
    const cudnnTensorDescriptor_t, void*, const cudnnTensorDescriptor_t dx_, void* dx,
    const cudnnTensorDescriptor_t channels, const void* scale, const void*, void* dscale, void* dbias, double,
    const void* mean, const void* inv_std, cudnnActivationDescriptor_t, void* workspace, std::size_t bytes,
    void* reserve, std::size_t) {
  MAYBE_FAIL();
  const Tensor tx = of<Tensor>(x_);
  REFUSE_UNLESS(mode != CUDNN_BATCHNORM_PER_ACTIVATION && ops == CUDNN_BATCHNORM_OPS_BN);
  REFUSE_UNLESS(is_channels(of<Tensor>(channels), tx) && bytes >= kWorkspace && workspace != nullptr);
  REFUSE_UNLESS(reserve != nullptr || tx.size[1] % 2 != 0);  // it wants what the forward kept
  REFUSE_UNLESS(factor(alpha_data) == 1 && factor(beta_data) == 0 && factor(alpha_parameters) == 1 &&
                factor(beta_parameters) == 0);
  REFUSE_UNLESS(dx != nullptr && dscale != nullptr && dbias != nullptr && scale != nullptr);
  return backward(handle, tx, x, of<Tensor>(dy_), dy, of<Tensor>(dx_), dx, scale, dscale, dbias, mean, inv_std,
                  workspace, bytes);
}

}  // extern "C"
