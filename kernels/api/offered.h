// Backends that a program hands over while it runs, from a library of their own. They are asked only where a
// BackendScope asks for them by name: offering one changes nothing for anybody else.
#pragma once

#include <graft/kernels/api/table.h>

namespace graft::kernels {

/// Makes a backend known to the registry. The table must live as long as the process; offering it again changes
/// nothing. Throws Error when another table of the same id was offered before.
void offer_backend(const BackendTable& table);

/// What was offered under this id, or nullptr.
const BackendTable* offered_backend(BackendId id);

}  // namespace graft::kernels
