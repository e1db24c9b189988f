// The host's side of the emulator: options of the emulated device, and what tests need beyond CUDA's own calls.
#pragma once

#include <cstddef>
#include <string>

#include <graft/kernels/api/error.h>

namespace graft::simt {

struct HostOptions {
  enum class Device { present, none, no_driver, sm70 };  // sm70: present, but of compute capability 7.0
  enum class Leaks { ignore, report, fail };
  Device device = Device::present;  // GRAFT_SIMT_DEVICE=none, nodriver, sm70
  int devices = 1;              // GRAFT_SIMT_DEVICES: all of one memory; told apart by which of them calls have used
  std::size_t memory =
      std::size_t{8} << 30;     // bytes of device memory; GRAFT_SIMT_MEMORY, with K, M or G behind the number
  Leaks leaks = Leaks::report;  // SIMT_LEAKS=ignore, report, fail: device memory and graphs never freed, at
                                // the end of the program; fail: exit code 1
};
/// The options in force.
HostOptions& host_options();

/// An option makes no sense: says so and ends the process with exit code 2.
[[noreturn]] void end_by(const Error& error);

/// After a kernel has failed every call returns cudaErrorLaunchFailure, as CUDA's do, until cudaDeviceReset(). This
/// ends that state and throws the queued work away, but leaves memory, streams and all else as they are.
void reset();

/// Whether a call that needs a context of the device has been made (on a GPU: hundreds of megabytes of its memory). A
/// call belongs to its thread's current device.
bool has_context(int device);

/// What has not been freed so far, one kind a line; empty when there is nothing.
std::string leak_report();

}  // namespace graft::simt
