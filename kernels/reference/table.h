// The reference backend's rows.
#pragma once

#include <graft/kernels/api/table.h>

namespace graft::kernels::reference {

const BackendTable& table();

}  // namespace graft::kernels::reference
