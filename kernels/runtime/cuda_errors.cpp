// Statuses of the CUDA runtime as exceptions.
#include <cuda_runtime_api.h>

#include <cstdio>

#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/cuda_check.h>
#include <graft/kernels/runtime/tickets.h>

namespace graft::runtime {

bool is_sticky(int status) {
  switch (static_cast<cudaError_t>(status)) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorMpsClientTerminated:
#if CUDART_VERSION >= 12080
    case cudaErrorContained:
    case cudaErrorTensorMemoryLeak:
#endif
      return true;
    default:
      return false;
  }
}

namespace {

[[noreturn]] void fail_with(cudaError_t status, const char* call, const std::string& where, const std::string& more) {
  const std::string text =
      cat(call, where, ": ", cudaGetErrorName(status), " (", cudaGetErrorString(status), ")", more);
  cudaGetLastError();  // so that no later call of somebody else reports it again; a sticky one stays
  fail(text);
}

}  // namespace

void check_cuda(int status, const char* call, const Stream& stream) {
  if (status == cudaSuccess) [[likely]]
    return;
  std::string more;
  if (is_sticky(status)) {
    drop_tickets();
    more = "; a kernel failed while it ran, and the device cannot be used by this process any more";
    if (const std::string launches = recent_launches(stream); !launches.empty())
      more += cat("; ", launches, "; run with GRAFT_SYNC=1 to find which");
  }
  fail_with(static_cast<cudaError_t>(status), call, cat(" on ", to_string(stream.device)), more);
}

void check_cuda(int status, const char* call) {
  if (status == cudaSuccess) [[likely]]
    return;
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess) device = 0;
  if (is_sticky(status)) check_cuda(status, call, Stream{Device::cuda(device), nullptr});
  fail_with(static_cast<cudaError_t>(status), call, cat(" on cuda:", device), "");
}

std::string readable_bytes(std::size_t bytes) {
  const char* const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  int unit = 0;
  auto value = static_cast<double>(bytes);
  while (value >= 1024 && unit < 4) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.2f %s", value, units[unit]);
  return text;
}

}  // namespace graft::runtime
