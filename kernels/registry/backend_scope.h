// Choosing a backend, and counting the ops that ran: what a program may ask of the registry.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <graft/kernels/api/export.h>
#include <graft/kernels/api/support.h>

namespace graft::kernels {

/// While it lives, ops of this thread run on this backend only; nothing falls back silently.
class GRAFT_API BackendScope {
 public:
  explicit BackendScope(BackendId id);
  ~BackendScope();
  BackendScope(const BackendScope&) = delete;
  BackendScope& operator=(const BackendScope&) = delete;

 private:
  int previous_;
};

/// How often each op has run in this process, by the op's name ("conv2d_backward_weight"): what tests and profiles ask.
GRAFT_API std::uint64_t kernel_calls(std::string_view op);
GRAFT_API std::uint64_t kernel_calls();
struct GRAFT_API KernelCount {
  std::string op;
  std::uint64_t calls = 0;
};
GRAFT_API std::vector<KernelCount> kernel_counts();
GRAFT_API void reset_kernel_counts();

}  // namespace graft::kernels
