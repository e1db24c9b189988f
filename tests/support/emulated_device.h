// Whether cuda:0 is the emulator: what takes an instant on a GPU takes minutes there, so tests choose their sizes by it.
// A question of run time: the same objects are linked with either.
#pragma once

#include <graft/kernels/runtime/cuda.h>

namespace graft::test {

/// cuda:0 must be usable.
inline bool device_is_emulated() { return runtime::cuda_properties(0).name == "SIMT emulator"; }

}  // namespace graft::test
