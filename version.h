// The version of these headers, and of the library that a program runs with. CMake takes its own from here.
#pragma once

#include <graft/kernels/api/export.h>

#define GRAFT_VERSION_MAJOR 0
#define GRAFT_VERSION_MINOR 1
#define GRAFT_VERSION_PATCH 0

#define GRAFT_VERSION_JOIN_(a, b, c) #a "." #b "." #c
#define GRAFT_VERSION_TEXT_(a, b, c) GRAFT_VERSION_JOIN_(a, b, c)
/// "0.1.0"
#define GRAFT_VERSION GRAFT_VERSION_TEXT_(GRAFT_VERSION_MAJOR, GRAFT_VERSION_MINOR, GRAFT_VERSION_PATCH)

namespace graft {

/// GRAFT_VERSION of the library at run time. A program that was compiled against headers of another version than the
/// shared library it found differs from it here.
GRAFT_API const char* version();

}  // namespace graft
