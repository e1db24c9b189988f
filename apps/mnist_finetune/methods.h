// The ways to train that the demo compares.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace graft::demo {

enum class Method : std::uint8_t {
  scratch,        // the same network, nothing copied
  random_frozen,  // an untrained trunk, frozen: what a head alone makes of random features
  head_only,      // option 1
  all_layers,     // option 2
  head_then_all,  // option 2, begun with the fitted head
};

/// "scratch", "random_frozen", ...: as report.json has it.
const char* key(Method method);
/// "from scratch", "random frozen trunk", ...: as people read it.
const char* title(Method method);

/// "head_only", "all_layers", "head_then_all", or "all" for the first two. Throws Error listing them otherwise.
std::vector<Method> parse_strategy_option(const std::string& text);

}  // namespace graft::demo
