#include <graft/kernels/vendor/table.h>

#include <graft/kernels/vendor/rows.h>

namespace graft::kernels::vendor {
namespace {

BackendTable make_table() {
  BackendTable table;
  table.id = BackendId::vendor;
  table.device = DeviceType::cuda;
  add_matmul(table);
  add_conv2d(table);
  add_softmax(table);
  add_pool(table);
  add_batch_norm(table);
  return table;
}

std::string gradients(const TensorRef& gx, const TensorRef& ggamma, const TensorRef& gbeta) {
  return cat("gx ", gx, ", ggamma ", ggamma, ", gbeta ", gbeta);
}

}  // namespace

const BackendTable& table() {
  static const BackendTable instance = make_table();
  return instance;
}

std::string describe(const MatmulArgs& args) {
  return cat("a ", args.a, ", b ", args.b, args.bias.defined() ? cat(", bias ", args.bias) : "", ", y ", args.y);
}
std::string describe(const Conv2dForwardArgs& args) {
  return cat("x ", args.x, ", w ", args.w, args.bias.defined() ? cat(", bias ", args.bias) : "", ", y ", args.y);
}
std::string describe(const Conv2dBackwardDataArgs& args) {
  return cat("gy ", args.gy, ", w ", args.w, ", gx ", args.gx);
}
std::string describe(const Conv2dBackwardWeightArgs& args) {
  return cat("x ", args.x, ", gy ", args.gy, args.gw.defined() ? cat(", gw ", args.gw) : "",
             args.gbias.defined() ? cat(", gbias ", args.gbias) : "");
}
std::string describe(const SoftmaxArgs& args) { return cat("x ", args.x); }
std::string describe(const SoftmaxBackwardArgs& args) { return cat("y ", args.y, ", gy ", args.gy); }
std::string describe(const MaxPoolArgs& args) { return cat("x ", args.x, ", y ", args.y); }
std::string describe(const AvgPoolArgs& args) { return cat("x ", args.x, ", y ", args.y); }
std::string describe(const AvgPoolBackwardArgs& args) { return cat("gy ", args.gy, ", gx ", args.gx); }
std::string describe(const AdaptiveAvgPoolArgs& args) { return cat("x ", args.x, ", y ", args.y); }
std::string describe(const AdaptiveAvgPoolBackwardArgs& args) { return cat("gy ", args.gy, ", gx ", args.gx); }
std::string describe(const BatchNormArgs& args) { return cat("x ", args.x, args.training ? ", training" : ""); }
std::string describe(const BatchNormBackwardArgs& args) {
  return cat("x ", args.x, ", ", gradients(args.gx, args.ggamma, args.gbeta));
}

Support check_sizes(const TensorRef& t) {
  if (t.dtype == DType::f64)
    return Support::no("serves f32, bf16 and f16: f64 is there for gradient checks, which our own kernels do");
  constexpr std::int64_t kMost = 0x7fffffff;
  if (t.numel() > kMost)
    return Support::no(
        cat("a tensor is ", t, ": expected no more than 2^31 - 1 elements, which cuDNN's descriptors count"));
  return Support::yes();
}

}  // namespace graft::kernels::vendor
