// The backend of NVIDIA's libraries.
#pragma once

#include <graft/kernels/api/table.h>

namespace graft::kernels::vendor {

/// Its `supports` need neither the libraries nor a GPU; its `run` needs both.
const BackendTable& table();

}  // namespace graft::kernels::vendor
