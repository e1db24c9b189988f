// Errors: names, texts, the last error of each thread, and the failure that stays.
#include <graft/kernels/simt/runtime_state.h>

#include <cstdlib>
#include <cstring>

namespace graft::simt {
namespace runtime {
namespace {

struct ErrorText {
  cudaError_t error;
  const char *name, *text;
};
#define GRAFT_ERROR(name, text) \
  { name, #name, text }
constexpr ErrorText kErrors[] = {
    GRAFT_ERROR(cudaSuccess, "no error"),
    GRAFT_ERROR(cudaErrorInvalidValue, "invalid argument"),
    GRAFT_ERROR(cudaErrorMemoryAllocation, "out of memory"),
    GRAFT_ERROR(cudaErrorInitializationError, "initialization error"),
    GRAFT_ERROR(cudaErrorCudartUnloading, "driver shutting down"),
    GRAFT_ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    GRAFT_ERROR(cudaErrorInvalidPitchValue, "invalid pitch argument"),
    GRAFT_ERROR(cudaErrorInvalidHostPointer, "invalid host pointer"),
    GRAFT_ERROR(cudaErrorInvalidDevicePointer, "invalid device pointer"),
    GRAFT_ERROR(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
    GRAFT_ERROR(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version"),
    GRAFT_ERROR(cudaErrorInvalidDeviceFunction, "invalid device function"),
    GRAFT_ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    GRAFT_ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
    GRAFT_ERROR(cudaErrorNoKernelImageForDevice, "no kernel image is available for execution on the device"),
    GRAFT_ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    GRAFT_ERROR(cudaErrorNotReady, "device not ready"),
    GRAFT_ERROR(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    GRAFT_ERROR(cudaErrorLaunchOutOfResources, "too many resources requested for launch"),
    GRAFT_ERROR(cudaErrorLaunchFailure, "unspecified launch failure"),
    GRAFT_ERROR(cudaErrorNotPermitted, "operation not permitted"),
    GRAFT_ERROR(cudaErrorNotSupported, "operation not supported"),
    GRAFT_ERROR(cudaErrorInvalidClusterSize, "invalid cluster size"),
    GRAFT_ERROR(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    GRAFT_ERROR(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture"),
    GRAFT_ERROR(cudaErrorStreamCaptureMerge, "operation would result in a merge of separate capture sequences"),
    GRAFT_ERROR(cudaErrorStreamCaptureUnmatched, "capture was not ended in the same stream as it began"),
    GRAFT_ERROR(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work"),
    GRAFT_ERROR(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream"),
    GRAFT_ERROR(cudaErrorStreamCaptureImplicit,
                "operation would make the legacy stream depend on a capturing blocking stream"),
    GRAFT_ERROR(cudaErrorCapturedEvent, "operation not permitted on an event last recorded in a capturing stream"),
    GRAFT_ERROR(cudaErrorStreamCaptureWrongThread,
                "attempt to terminate a thread-local capture sequence from another thread"),
    GRAFT_ERROR(cudaErrorGraphExecUpdateFailure,
                "the graph update was not performed because it included changes which violated constraints "
                "specific to instantiated graph update"),
    GRAFT_ERROR(cudaErrorUnknown, "unknown error"),
};
#undef GRAFT_ERROR

const ErrorText* find_text(cudaError_t error) {
  for (const ErrorText& text : kErrors)
    if (text.error == error) return &text;
  return nullptr;
}

struct Failure {
  bool failed = false;
  std::string report;
};
Failure& failure() {
  static auto* const f = new Failure;
  return *f;
}

thread_local cudaError_t last_error = cudaSuccess;
thread_local cudaError_t explained = cudaSuccess;
thread_local unsigned host_functions = 0;
std::string& explanation_of_thread() {
  static thread_local std::string explanation;
  return explanation;
}

}  // namespace

Lock lock() {
  static auto* const mutex = new std::recursive_mutex;
  return Lock(*mutex);
}

cudaError_t obstacle() {
  switch (host_options().device) {
    case HostOptions::Device::none:
      return cudaErrorNoDevice;
    case HostOptions::Device::no_driver:
      return cudaErrorInsufficientDriver;
    default:
      break;
  }
  if (host_functions > 0) return cudaErrorNotPermitted;
  return failure().failed ? cudaErrorLaunchFailure : cudaSuccess;
}

cudaError_t remember(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

cudaError_t refuse(cudaError_t error, std::string explanation) {
  explained = error;
  explanation_of_thread() = std::move(explanation);
  return remember(error);
}

void fail_for_good(std::string report) {
  if (failure().failed) return;
  failure().failed = true;
  failure().report = std::move(report);
}
bool has_failed() { return failure().failed; }
void clear_failure() {
  failure() = {};
  last_error = explained = cudaSuccess;
  clear_report();
}

HostFunction::HostFunction() { ++host_functions; }
HostFunction::~HostFunction() { --host_functions; }

}  // namespace runtime

void reset() {
  const runtime::Lock guard = runtime::lock();
  runtime::drop_queued();
  runtime::clear_failure();
}

}  // namespace graft::simt

using namespace graft::simt::runtime;

extern "C" {

cudaError_t CUDARTAPI cudaGetLastError() {
  const Lock guard = lock();
  const cudaError_t error = has_failed() ? cudaErrorLaunchFailure : last_error;
  last_error = cudaSuccess;
  return error;
}

cudaError_t CUDARTAPI cudaPeekAtLastError() {
  const Lock guard = lock();
  return has_failed() ? cudaErrorLaunchFailure : last_error;
}

const char* CUDARTAPI cudaGetErrorName(cudaError_t error) {
  const auto* const known = find_text(error);
  return known != nullptr ? known->name : "unrecognized error code";
}

const char* CUDARTAPI cudaGetErrorString(cudaError_t error) {
  const Lock guard = lock();
  const auto* const known = find_text(error);
  std::string text = known != nullptr ? known->text : "unrecognized error code";
  if (error == cudaErrorLaunchFailure && has_failed())
    text += ": " + failure().report;
  else if (error != cudaSuccess && error == explained)
    text += ": " + explanation_of_thread();
  static auto* const texts = new std::set<std::string>;  // callers keep the pointers
  return texts->insert(std::move(text)).first->c_str();
}

}  // extern "C"
