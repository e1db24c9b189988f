// What the sources of the CUDA runtime share. Internal; no CUDA header.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include <graft/kernels/api/device.h>

/// Calls a function of the CUDA runtime; throws Error naming it unless it succeeds.
#define GRAFT_CUDA(function, ...) ::graft::runtime::check_cuda(static_cast<int>(function(__VA_ARGS__)), #function)

namespace graft::runtime {

/// As check_cuda of cuda.h, with what is known of the place: a failed kernel's likely names come from `stream`'s
/// launches.
void check_cuda(int status, const char* call, const Stream& stream);

/// Makes a device the calling thread's current one, as calls without a stream need. Does not look whether it is usable,
/// but throws Error where fork() lost it.
void make_current(int device);

/// The same for clean-up, which cannot throw.
void try_make_current(int device) noexcept;
/// For calls that belong to no device (page-locked memory): a thread that never chose one stands at device 0, where such
/// a call would make a context. Makes one current that has one already.
void make_current_in_use();

/// Throws Error with the reason unless the device can be used.
void require_device(int device);

/// Whether this process was made by fork() after its parent had used CUDA: nothing of it works here, and destructors
/// leave the parent's streams, events and memory alone.
bool cuda_lost_by_fork() noexcept;

/// "kernels last launched on this stream: a, b (newest last)", or "" when none are known.
std::string recent_launches(const Stream& stream);

/// The call has left an error that every later call will repeat (a kernel failed): the device's context is lost.
bool is_sticky(int status);

/// Throws Error naming `what` while the stream's work is being captured: it would wait, or keep a pointer of the host.
void refuse_while_capturing(const Stream& stream, const char* what);
/// The same while the calling thread captures any stream: CUDA takes a wait for anything for a mistake then, and ends
/// the capture.
void refuse_while_thread_captures(const char* what, Device device);

/// The number of the capture that the calling thread makes, the innermost; 0 for none. Numbers are never used again.
std::uint64_t capture_of_thread();

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
