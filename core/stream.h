// The stream that the calling thread's ops run on.
#pragma once

#include <graft/kernels/api/device.h>

namespace graft {

Stream& current_stream(Device device);

}  // namespace graft
