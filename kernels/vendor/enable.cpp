#include <graft/kernels/api/offered.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/vendor/context.h>
#include <graft/kernels/vendor/table.h>
#include <graft/kernels/vendor/vendor.h>

namespace graft::vendor {

kernels::Support enable(const Options& options) {
  using kernels::Support;
  // The device first: the libraries are large, and of no use without one.
  if (const std::string why = runtime::cuda_unavailable(); !why.empty())
    return Support::no(cat("graft::vendor needs a CUDA device: ", why));
  if (const std::string& missing = kernels::vendor::libraries().missing; !missing.empty())
    return Support::no(cat("graft::vendor: ", missing));
  try {
    kernels::vendor::context(runtime::default_stream(0));  // do they start on this device?
  } catch (const Error& error) {
    return Support::no(cat("graft::vendor cannot start the libraries on cuda:0: ", error.what()));
  }
  kernels::vendor::set_engines(options.engines);
  kernels::offer_backend(kernels::vendor::table());
  return Support::yes();
}

}  // namespace graft::vendor
