// What a program can ask before it works: whether its settings make sense, and whether the CPU will be slow.
#pragma once

#include <string>

#include <graft/kernels/api/export.h>

namespace graft {

/// Reads every environment variable of graft's that has one of several values or a number (README, "Settings"). Throws
/// Error, which names variable, value and what was expected, for one that makes no sense; the first op that needs it
/// would throw the same.
GRAFT_API void check_settings();

/// What is to be said about this build's CPU backends: that only the slow reference backend serves the CPU, and what to
/// do; "" where there is the fast one.
GRAFT_API std::string slow_cpu_notice();

}  // namespace graft
