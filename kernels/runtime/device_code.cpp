// Which devices the code runs on that nvcc made for a list of architectures.
#include <algorithm>
#include <charconv>

#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/cuda.h>

namespace graft::runtime {

std::string no_code_for(std::string_view architectures, int major, int minor) {
  constexpr int kOldest = 80;  // compute capability 8.0: cp.async and bf16 products
  const int device = 10 * major + minor;
  std::string names;
  bool fits = false;
  for (std::string_view rest = architectures; !rest.empty();) {
    const std::string_view one = rest.substr(0, rest.find(' '));
    rest.remove_prefix(std::min(rest.size(), one.size() + 1));
    int built = 0;
    const char* const end = std::from_chars(one.data(), one.data() + one.size(), built).ptr;
    const std::string_view kind = one.substr(static_cast<std::size_t>(end - one.data()));
    const bool family = built / 10 == major && built <= device;  // whose code runs
    if (kind == "a")
      fits = fits || built == device;
    else  // PTX of the first goes along, which later devices compile; with "f" for its family only
      fits = fits || family || (kind.empty() && names.empty() && built <= device);
    names += (names.empty() ? "sm_" : ", sm_") + std::string(one);
  }
  if (fits && device >= kOldest) return {};
  return cat("has compute capability ", major, ".", minor, ", this build has code for ", names,
             device < kOldest ? ": 8.0 (Ampere) is the oldest that graft knows; use Device::cpu()"
                              : cat(", which does not run there; build with -DGRAFT_CUDA_ARCHITECTURES=", device,
                                    ", or use Device::cpu()"));
}

}  // namespace graft::runtime
