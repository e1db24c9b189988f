// Numbers of a command line, refused in the same words everywhere.
#pragma once

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>

#include <graft/kernels/api/error.h>

namespace graft::program {

/// The whole number that `text` is. Throws Error, which names the option, for anything else.
inline std::int64_t number(std::string_view option, const std::string& text, std::int64_t least, std::int64_t most) {
  std::int64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, value);
  check(code == std::errc() && stop == end && value >= least && value <= most, option, ": got '", text,
        "', expected a whole number from ", least, " to ", with_thousands(most));
  return value;
}

/// Seconds, 0 or more.
inline double seconds(std::string_view option, const std::string& text) {
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, value);
  check(code == std::errc() && stop == end && value >= 0 && value < 1e9, option, ": got '", text,
        "', expected seconds");
  return value;
}

}  // namespace graft::program
