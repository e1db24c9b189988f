#include <graft/layers/init.h>
#include <graft/layers/layers.h>

namespace graft {

Conv2d::Conv2d(std::int64_t in, std::int64_t out, std::int64_t kernel, Conv2dOptions options) : options_(options) {
  check(in >= 1 && out >= 1 && kernel >= 1, "Conv2d: ", in, " inputs, ", out, " outputs and a kernel of ", kernel,
        ", expected at least 1 of each");
  check(options.stride >= 1 && options.dilation >= 1 && options.padding >= 0, "Conv2d: stride ", options.stride,
        ", dilation ", options.dilation, " and padding ", options.padding,
        ", expected a stride and a dilation of at least 1 and a padding of at least 0");
  check(options.groups >= 1 && in % options.groups == 0 && out % options.groups == 0, "Conv2d: ", options.groups,
        " groups of ", in, " inputs and ", out, " outputs, expected a divisor of both");
  weight = register_parameter("weight", Tensor::empty({out, in / options.groups, kernel, kernel}, DType::f32,
                                                      Device::cpu(), MemoryFormat::channels_last));
  init::kaiming_uniform_(weight);
  if (options.bias) {
    bias = register_parameter("bias", Tensor::empty({out}));
    init::bias_uniform_(bias, weight);
  }
}

Tensor Conv2d::forward(const Tensor& x) {
  const std::int64_t in = weight.size(1) * options_.groups;
  if (x.dim() != 4 || x.size(1) != in) [[unlikely]]
    fail(title(), ": x is ", to_string(x), ", expected (N, ", in, ", H, W)");
  Conv2dGeometry geometry;
  geometry.stride_h = geometry.stride_w = options_.stride;
  geometry.padding_h = geometry.padding_w = options_.padding;
  geometry.dilation_h = geometry.dilation_w = options_.dilation;
  geometry.groups = options_.groups;
  const std::int64_t reach = options_.dilation * (weight.size(2) - 1) + 1;
  if (x.size(2) + 2 * options_.padding < reach || x.size(3) + 2 * options_.padding < reach) [[unlikely]]
    fail(title(), ": x is ", to_string(x), ", expected images of at least ", reach - 2 * options_.padding,
         " pixels a side for the kernel to fit");
  return conv2d(x, weight, bias, geometry);
}

std::string Conv2d::describe() const {
  std::string text =
      cat("Conv2d(", weight.size(1) * options_.groups, ", ", weight.size(0), ", kernel_size=", weight.size(2));
  if (options_.stride != 1) text += cat(", stride=", options_.stride);
  if (options_.padding != 0) text += cat(", padding=", options_.padding);
  if (options_.dilation != 1) text += cat(", dilation=", options_.dilation);
  if (options_.groups != 1) text += cat(", groups=", options_.groups);
  if (!bias.defined()) text += ", bias=false";
  return text + ")";
}

}  // namespace graft
