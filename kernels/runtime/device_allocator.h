// The allocator of a device, for the runtime's own sources. Internal; no CUDA header.
#pragma once

#include <graft/kernels/runtime/caching_allocator.h>
#include <graft/kernels/runtime/streams.h>

namespace graft::runtime {

/// Throws Error where the device cannot be used.
CachingAllocator& device_allocator(int device);

}  // namespace graft::runtime
