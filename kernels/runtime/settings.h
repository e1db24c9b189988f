// Settings from environment variables. What makes no sense is refused by name, never guessed at.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string_view>

namespace graft::runtime {

/// The whole number in an environment variable; nothing where it is not set. Throws Error, which names the variable,
/// the value and what was expected, for anything but decimal digits of a number from `least` to `most`.
std::optional<std::int64_t> number_setting(const char* variable, std::int64_t least, std::int64_t most);

/// Which of the choices, by number; the first where the variable is not set or empty. Throws Error for anything else.
int choice_setting(const char* variable, std::initializer_list<std::string_view> choices);

/// Whether a switch is on: 1 is on; 0, nothing and not set are off. Throws Error for anything else.
bool switch_setting(const char* variable);

}  // namespace graft::runtime
