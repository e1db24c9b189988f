// The stand-in for libcudnn: handles, descriptors, and the operations that are functions of their own.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "library.h"

namespace graft::stand_in {
namespace {

std::string& last_error() {
  thread_local std::string text;
  return text;
}

struct Pooling {
  cudnnPoolingMode_t mode{};
  std::int64_t kernel_h = 0, kernel_w = 0, padding_h = 0, padding_w = 0, stride_h = 0, stride_w = 0;
};

double factor(const void* p) { return *static_cast<const float*>(p); }

cudnnStatus_t run(cudnnHandle_t handle, std::function<void()> work) {
  return queue(of<Library>(handle).stream, std::move(work)) ? CUDNN_STATUS_SUCCESS
                                                            : CUDNN_STATUS_EXECUTION_FAILED_CUDART;
}

// The positions of a window that lie inside the picture.
template <class F>
std::int64_t for_each_inside(const Pooling& p, const Tensor& x, std::int64_t row, std::int64_t column, F&& f) {
  std::int64_t inside = 0;
  for (std::int64_t r = 0; r < p.kernel_h; ++r)
    for (std::int64_t s = 0; s < p.kernel_w; ++s) {
      const std::int64_t h = row * p.stride_h - p.padding_h + r, w = column * p.stride_w - p.padding_w + s;
      if (h < 0 || h >= x.size[2] || w < 0 || w >= x.size[3]) continue;
      ++inside;
      f(h, w);
    }
  return inside;
}

bool fits(const Pooling& p, const Tensor& x, const Tensor& y) {
  return x.size[0] == y.size[0] && x.size[1] == y.size[1] &&
         y.size[2] == 1 + (x.size[2] + 2 * p.padding_h - p.kernel_h) / p.stride_h &&
         y.size[3] == 1 + (x.size[3] + 2 * p.padding_w - p.kernel_w) / p.stride_w;
}

double divisor(const Pooling& p, std::int64_t inside) {
  return static_cast<double>(p.mode == CUDNN_POOLING_AVERAGE_COUNT_INCLUDE_PADDING ? p.kernel_h * p.kernel_w : inside);
}

}  // namespace

bool element_of(cudnnDataType_t type, Element& element) {
  if (type == CUDNN_DATA_FLOAT) return element = Element::f32, true;
  if (type == CUDNN_DATA_HALF) return element = Element::f16, true;
  if (type == CUDNN_DATA_BFLOAT16) return element = Element::bf16, true;
  return false;
}

cudnnStatus_t refuse(cudnnStatus_t status, const char* why) {
  last_error() = why;
  return status;
}

}  // namespace graft::stand_in

using namespace graft::stand_in;

#define REFUSE_UNLESS(condition) \
  if (!(condition)) return refuse(CUDNN_STATUS_BAD_PARAM, "!(" #condition ")")
#define MAYBE_FAIL() \
  if (fails(__func__)) return refuse(CUDNN_STATUS_NOT_SUPPORTED, "the test wants it")

extern "C" {

std::size_t cudnnGetVersion() { return CUDNN_VERSION; }
const char* cudnnGetErrorString(cudnnStatus_t status) {
  return status == CUDNN_STATUS_BAD_PARAM       ? "CUDNN_STATUS_BAD_PARAM"
         : status == CUDNN_STATUS_NOT_SUPPORTED ? "CUDNN_STATUS_NOT_SUPPORTED"
                                                : "CUDNN_STATUS_NOT_INITIALIZED";
}
void cudnnGetLastErrorString(char* text, std::size_t room) {
  std::strncpy(text, last_error().c_str(), room - 1);
  text[room - 1] = '\0';
}

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  if (fails("cudnnCreate")) return refuse(CUDNN_STATUS_NOT_INITIALIZED, "the test wants it");
  *handle = reinterpret_cast<cudnnHandle_t>(new Library);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  of<Library>(handle).stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

// --- descriptors ----------------------------------------------------------------------------------------------------

cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t* descriptor) {
  *descriptor = reinterpret_cast<cudnnTensorDescriptor_t>(new Tensor);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t descriptor) {
  delete &of<Tensor>(descriptor);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetTensor4dDescriptorEx(cudnnTensorDescriptor_t descriptor, cudnnDataType_t type, int n, int c,
                                           int h, int w, int ns, int cs, int hs, int ws) {
  auto& t = of<Tensor>(descriptor);
  REFUSE_UNLESS(element_of(type, t.element));
  REFUSE_UNLESS(n > 0 && c > 0 && h > 0 && w > 0);
  REFUSE_UNLESS(ns > 0 && cs > 0 && hs > 0 && ws > 0);
  t.size = {n, c, h, w};
  t.stride = {ns, cs, hs, ws};
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnCreatePoolingDescriptor(cudnnPoolingDescriptor_t* descriptor) {
  *descriptor = reinterpret_cast<cudnnPoolingDescriptor_t>(new Pooling);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroyPoolingDescriptor(cudnnPoolingDescriptor_t descriptor) {
  delete &of<Pooling>(descriptor);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetPooling2dDescriptor(cudnnPoolingDescriptor_t descriptor, cudnnPoolingMode_t mode,
                                          cudnnNanPropagation_t nan, int kernel_h, int kernel_w, int padding_h,
                                          int padding_w, int stride_h, int stride_w) {
  REFUSE_UNLESS(nan == CUDNN_PROPAGATE_NAN);
  REFUSE_UNLESS(kernel_h > padding_h && kernel_w > padding_w && stride_h > 0 && stride_w > 0);
  of<Pooling>(descriptor) = {mode, kernel_h, kernel_w, padding_h, padding_w, stride_h, stride_w};
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnCreateActivationDescriptor(cudnnActivationDescriptor_t* descriptor) {
  *descriptor = reinterpret_cast<cudnnActivationDescriptor_t>(new int);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroyActivationDescriptor(cudnnActivationDescriptor_t descriptor) {
  delete &of<int>(descriptor);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetActivationDescriptor(cudnnActivationDescriptor_t, cudnnActivationMode_t mode,
                                           cudnnNanPropagation_t nan, double) {
  REFUSE_UNLESS(mode == CUDNN_ACTIVATION_RELU && nan == CUDNN_PROPAGATE_NAN);
  return CUDNN_STATUS_SUCCESS;
}

// --- element by element ---------------------------------------------------------------------------------------------

cudnnStatus_t cudnnActivationForward(cudnnHandle_t handle, cudnnActivationDescriptor_t, const void* alpha,
                                     const cudnnTensorDescriptor_t x_, const void* x, const void* beta,
                                     const cudnnTensorDescriptor_t y_, void* y) {
  MAYBE_FAIL();
  const Tensor tx = of<Tensor>(x_), ty = of<Tensor>(y_);
  REFUSE_UNLESS(tx.size == ty.size && tx.element == ty.element);
  return run(handle, [=, a = factor(alpha), b = factor(beta)] {
    for_each(tx, [&](auto... at) {
      const double value = load(x, tx.element, tx.at(at...));
      blend(y, ty, ty.at(at...), a, value > 0 || std::isnan(value) ? value : 0, b);
    });
  });
}

cudnnStatus_t cudnnAddTensor(cudnnHandle_t handle, const void* alpha, const cudnnTensorDescriptor_t a_, const void* a,
                             const void* beta, const cudnnTensorDescriptor_t c_, void* c) {
  MAYBE_FAIL();
  const Tensor ta = of<Tensor>(a_), tc = of<Tensor>(c_);
  for (std::size_t i = 0; i < 4; ++i) REFUSE_UNLESS(ta.size[i] == tc.size[i] || ta.size[i] == 1);
  return run(handle, [=, by = factor(alpha), keep = factor(beta)] {
    for_each(tc, [&](std::int64_t n, std::int64_t k, std::int64_t h, std::int64_t w) {
      const auto within = [&](std::size_t i, std::int64_t at) { return ta.size[i] == 1 ? 0 : at; };
      const double value = load(a, ta.element, ta.at(within(0, n), within(1, k), within(2, h), within(3, w)));
      blend(c, tc, tc.at(n, k, h, w), by, value, keep);
    });
  });
}

cudnnStatus_t cudnnConvolutionBackwardBias(cudnnHandle_t handle, const void* alpha, const cudnnTensorDescriptor_t dy_,
                                           const void* dy, const void* beta, const cudnnTensorDescriptor_t db_,
                                           void* db) {
  MAYBE_FAIL();
  const Tensor ty = of<Tensor>(dy_), tb = of<Tensor>(db_);
  REFUSE_UNLESS((tb.size == std::array<std::int64_t, 4>{1, ty.size[1], 1, 1}) && tb.element == ty.element);
  return run(handle, [=, a = factor(alpha), b = factor(beta)] {
    std::vector<double> sums(static_cast<std::size_t>(ty.size[1]));
    for_each(ty, [&](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
      sums[static_cast<std::size_t>(c)] += load(dy, ty.element, ty.at(n, c, h, w));
    });
    for (std::int64_t c = 0; c < ty.size[1]; ++c)
      blend(db, tb, tb.at(0, c, 0, 0), a, sums[static_cast<std::size_t>(c)], b);
  });
}

// --- softmax over C H W of each picture -----------------------------------------------------------------------------

cudnnStatus_t cudnnSoftmaxForward(cudnnHandle_t handle, cudnnSoftmaxAlgorithm_t algorithm, cudnnSoftmaxMode_t mode,
                                  const void* alpha, const cudnnTensorDescriptor_t x_, const void* x, const void* beta,
                                  const cudnnTensorDescriptor_t y_, void* y) {
  MAYBE_FAIL();
  const Tensor t = of<Tensor>(x_), ty = of<Tensor>(y_);
  REFUSE_UNLESS(mode == CUDNN_SOFTMAX_MODE_INSTANCE && t.size == ty.size && t.stride == ty.stride);
  REFUSE_UNLESS(algorithm != CUDNN_SOFTMAX_FAST);  // overflows
  return run(handle, [=, a = factor(alpha), b = factor(beta)] {
    const std::int64_t n = t.numel() / t.size[0];
    for (std::int64_t row = 0; row < t.size[0]; ++row) {
      const auto at = [&](std::int64_t i) { return load(x, t.element, row * n + i); };
      double greatest = -std::numeric_limits<double>::infinity(), sum = 0;
      for (std::int64_t i = 0; i < n; ++i) greatest = std::fmax(greatest, at(i));
      for (std::int64_t i = 0; i < n; ++i) sum += std::exp(at(i) - greatest);
      for (std::int64_t i = 0; i < n; ++i) {
        const double shifted = at(i) - greatest;
        blend(y, ty, row * n + i, a, algorithm == CUDNN_SOFTMAX_LOG ? shifted - std::log(sum) : std::exp(shifted) / sum,
              b);
      }
    }
  });
}

cudnnStatus_t cudnnSoftmaxBackward(cudnnHandle_t handle, cudnnSoftmaxAlgorithm_t algorithm, cudnnSoftmaxMode_t mode,
                                   const void* alpha, const cudnnTensorDescriptor_t y_, const void* y,
                                   const cudnnTensorDescriptor_t dy_, const void* dy, const void* beta,
                                   const cudnnTensorDescriptor_t dx_, void* dx) {
  MAYBE_FAIL();
  const Tensor t = of<Tensor>(y_);
  REFUSE_UNLESS(mode == CUDNN_SOFTMAX_MODE_INSTANCE);
  REFUSE_UNLESS(t.stride == of<Tensor>(dy_).stride && t.stride == of<Tensor>(dx_).stride);
  return run(handle, [=, a = factor(alpha), b = factor(beta)] {
    const std::int64_t n = t.numel() / t.size[0];
    const bool log = algorithm == CUDNN_SOFTMAX_LOG;
    for (std::int64_t row = 0; row < t.size[0]; ++row) {
      double sum = 0;
      for (std::int64_t i = row * n; i < (row + 1) * n; ++i)
        sum += load(dy, t.element, i) * (log ? 1 : load(y, t.element, i));
      for (std::int64_t i = row * n; i < (row + 1) * n; ++i) {
        const double p = load(y, t.element, i), g = load(dy, t.element, i);
        blend(dx, t, i, a, log ? g - std::exp(p) * sum : p * (g - sum), b);
      }
    }
  });
}

// --- pooling --------------------------------------------------------------------------------------------------------

cudnnStatus_t cudnnPoolingForward(cudnnHandle_t handle, const cudnnPoolingDescriptor_t pooling, const void* alpha,
                                  const cudnnTensorDescriptor_t x_, const void* x, const void* beta,
                                  const cudnnTensorDescriptor_t y_, void* y) {
  MAYBE_FAIL();
  const Pooling p = of<Pooling>(pooling);
  const Tensor tx = of<Tensor>(x_), ty = of<Tensor>(y_);
  REFUSE_UNLESS(fits(p, tx, ty) && tx.element == ty.element);
  return run(handle, [=, a = factor(alpha), b = factor(beta)] {
    for_each(ty, [&](std::int64_t n, std::int64_t c, std::int64_t row, std::int64_t column) {
      double greatest = -std::numeric_limits<double>::infinity(), sum = 0;
      const std::int64_t inside = for_each_inside(p, tx, row, column, [&](std::int64_t h, std::int64_t w) {
        const double value = load(x, tx.element, tx.at(n, c, h, w));
        if (value > greatest || std::isnan(value)) greatest = value;
        sum += value;
      });
      const bool max = p.mode == CUDNN_POOLING_MAX || p.mode == CUDNN_POOLING_MAX_DETERMINISTIC;
      blend(y, ty, ty.at(n, c, row, column), a, max ? greatest : sum / divisor(p, inside), b);
    });
  });
}

cudnnStatus_t cudnnPoolingBackward(cudnnHandle_t handle, const cudnnPoolingDescriptor_t pooling, const void* alpha,
                                   const cudnnTensorDescriptor_t y_, const void* y, const cudnnTensorDescriptor_t dy_,
                                   const void* dy, const cudnnTensorDescriptor_t x_, const void* x, const void* beta,
                                   const cudnnTensorDescriptor_t dx_, void* dx) {
  MAYBE_FAIL();
  const Pooling p = of<Pooling>(pooling);
  const Tensor ty = of<Tensor>(dy_), tx = of<Tensor>(dx_);
  REFUSE_UNLESS(fits(p, tx, ty) && of<Tensor>(y_).size == ty.size && of<Tensor>(x_).size == tx.size);
  REFUSE_UNLESS(x != nullptr && y != nullptr);
  REFUSE_UNLESS(p.mode == CUDNN_POOLING_AVERAGE_COUNT_INCLUDE_PADDING ||
                p.mode == CUDNN_POOLING_AVERAGE_COUNT_EXCLUDE_PADDING);
  return run(handle, [=, a = factor(alpha), b = factor(beta)] {
    std::vector<double> sums(static_cast<std::size_t>(tx.numel()));
    const auto place = [&](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) -> double& {
      return sums[static_cast<std::size_t>(((n * tx.size[1] + c) * tx.size[2] + h) * tx.size[3] + w)];
    };
    for_each(ty, [&](std::int64_t n, std::int64_t c, std::int64_t row, std::int64_t column) {
      const std::int64_t inside = for_each_inside(p, tx, row, column, [](auto...) {});
      const double share = load(dy, ty.element, ty.at(n, c, row, column)) / divisor(p, inside);
      for_each_inside(p, tx, row, column, [&](std::int64_t h, std::int64_t w) { place(n, c, h, w) += share; });
    });
    for_each(tx, [&](auto... at) { blend(dx, tx, tx.at(at...), a, place(at...), b); });
  });
}

}  // extern "C"
