// What the sources of the CUDA runtime share. Internal; no CUDA header.
#pragma once

#include <cstddef>
#include <string>

#include <graft/kernels/api/device.h>

/// Calls a function of the CUDA runtime; throws Error naming it unless it succeeds.
#define GRAFT_CUDA(function, ...) ::graft::runtime::check_cuda(static_cast<int>(function(__VA_ARGS__)), #function)

namespace graft::runtime {

/// As check_cuda of cuda.h, with what is known of the place: a failed kernel's likely names come from `stream`'s
/// launches.
void check_cuda(int status, const char* call, const Stream& stream);

/// Makes a device the calling thread's current one, as calls without a stream need. Does not look whether it is usable.
void make_current(int device);

/// Throws Error with the reason unless the device can be used.
void require_device(int device);

/// "kernels last launched on this stream: a, b (newest last)", or "" when none are known.
std::string recent_launches(const Stream& stream);

/// The call has left an error that every later call will repeat (a kernel failed): the device's context is lost.
bool is_sticky(int status);

/// Throws Error naming `what` while the stream's work is being captured: it would wait, or keep a pointer of the host.
void refuse_while_capturing(const Stream& stream, const char* what);

/// While it lives, calls that a capture forbids (allocating, asking an event) are allowed to the calling thread: they
/// are the runtime's own business and no part of what is captured.
class OutsideCapture {
 public:
  OutsideCapture();
  ~OutsideCapture();
  OutsideCapture(const OutsideCapture&) = delete;
  OutsideCapture& operator=(const OutsideCapture&) = delete;

 private:
  int mode_;  // what to go back to
};

/// "3.00 GiB".
std::string readable_bytes(std::size_t bytes);

}  // namespace graft::runtime
