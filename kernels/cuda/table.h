// The backend of our own CUDA kernels.
#pragma once

#include <graft/kernels/api/table.h>

namespace graft::kernels::cuda {

const BackendTable& table();

}  // namespace graft::kernels::cuda
