// Found before the toolkit's header when a .cu file is compiled for the emulator: types, enums and prototypes are
// NVIDIA's own; the runtime library is the emulator's, and the device side comes from device.h.
#pragma once

#define __launch_bounds__(...)
#define __shared__ use_the_macros_of_launch_cuh_instead_of_raw_shared

#include_next <cuda_runtime.h>

#include <graft/kernels/simt/device.h>
