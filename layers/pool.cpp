#include <graft/layers/layers.h>

namespace graft {
namespace {

PoolGeometry geometry_of(const char* kind, std::int64_t kernel, std::int64_t stride, std::int64_t padding) {
  check(kernel >= 1 && stride >= 0, kind, ": a kernel of ", kernel, " and a stride of ", stride,
        ", expected a kernel of at least 1 and a stride of at least 1 (0: the kernel's size)");
  check(padding >= 0 && 2 * padding <= kernel, kind, ": a padding of ", padding, ", expected 0 to half the kernel of ",
        kernel);
  PoolGeometry geometry;
  geometry.kernel_h = geometry.kernel_w = kernel;
  geometry.stride_h = geometry.stride_w = stride == 0 ? kernel : stride;
  geometry.padding_h = geometry.padding_w = padding;
  return geometry;
}

std::string arguments(const PoolGeometry& g) {
  std::string text = cat("kernel_size=", g.kernel_h);
  if (g.stride_h != g.kernel_h) text += cat(", stride=", g.stride_h);
  if (g.padding_h != 0) text += cat(", padding=", g.padding_h);
  return text;
}

bool fits(const Tensor& x, const PoolGeometry& g) {
  return x.dim() == 4 && x.size(2) + 2 * g.padding_h >= g.kernel_h && x.size(3) + 2 * g.padding_w >= g.kernel_w;
}

[[noreturn]] void refuse(const std::string& title, const Tensor& x, const PoolGeometry& g) {
  fail(title, ": x is ", to_string(x), ", expected (N, C, H, W) of at least ", g.kernel_h - 2 * g.padding_h,
       " pixels a side");
}

}  // namespace

MaxPool2d::MaxPool2d(std::int64_t kernel, std::int64_t stride, std::int64_t padding, bool relu)
    : geometry_(geometry_of("MaxPool2d", kernel, stride, padding)), relu_(relu) {}

Tensor MaxPool2d::forward(const Tensor& x) {
  if (!fits(x, geometry_)) [[unlikely]]
    refuse(title(), x, geometry_);
  return max_pool2d(x, geometry_, relu_);
}

std::string MaxPool2d::describe() const { return cat("MaxPool2d(", arguments(geometry_), relu_ ? ", relu)" : ")"); }

AvgPool2d::AvgPool2d(std::int64_t kernel, std::int64_t stride, std::int64_t padding, bool count_include_pad)
    : geometry_(geometry_of("AvgPool2d", kernel, stride, padding)) {
  geometry_.count_include_pad = count_include_pad;
}

Tensor AvgPool2d::forward(const Tensor& x) {
  if (!fits(x, geometry_)) [[unlikely]]
    refuse(title(), x, geometry_);
  return avg_pool2d(x, geometry_);
}

std::string AvgPool2d::describe() const {
  return cat("AvgPool2d(", arguments(geometry_), geometry_.count_include_pad ? ")" : ", count_include_pad=false)");
}

AdaptiveAvgPool2d::AdaptiveAvgPool2d(std::int64_t height, std::int64_t width) : height_(height), width_(width) {
  check(height >= 1 && width >= 1, "AdaptiveAvgPool2d: an output of ", height, " x ", width,
        ", expected at least 1 x 1");
}

Tensor AdaptiveAvgPool2d::forward(const Tensor& x) {
  if (x.dim() != 4) [[unlikely]]
    fail(title(), ": x is ", to_string(x), ", expected (N, C, H, W)");
  return adaptive_avg_pool2d(x, height_, width_);
}

std::string AdaptiveAvgPool2d::describe() const { return cat("AdaptiveAvgPool2d(", height_, ", ", width_, ")"); }

}  // namespace graft
