// The cpu backend's rows.
#pragma once

#include <graft/kernels/api/table.h>

namespace graft::kernels::cpu {

const BackendTable& table();

}  // namespace graft::kernels::cpu
