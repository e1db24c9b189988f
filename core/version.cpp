#include <graft/version.h>

namespace graft {

const char* version() { return GRAFT_VERSION; }

}  // namespace graft
