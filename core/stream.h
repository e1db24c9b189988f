// The stream that the calling thread's ops run on.
#pragma once

#include <graft/kernels/api/device.h>

namespace graft {

/// On a CUDA device its default stream, or what a StreamScope (core/cuda.h) says. Throws Error where the device cannot
/// be used.
Stream& current_stream(Device device);

}  // namespace graft
