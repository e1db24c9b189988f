#include <graft/kernels/runtime/settings.h>

#include <charconv>
#include <cstdlib>
#include <string>
#include <string_view>

#include <graft/kernels/api/error.h>

namespace graft::runtime {

std::optional<std::int64_t> number_setting(const char* variable, std::int64_t least, std::int64_t most) {
  const char* const value = std::getenv(variable);
  if (value == nullptr) return std::nullopt;
  const std::string_view text = value;
  std::int64_t number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  check(code == std::errc() && end == text.data() + text.size() && number >= least && number <= most, variable, " is '",
        text, "', expected a whole number from ", least, " to ", most, ", or the variable not set");
  return number;
}

int choice_setting(const char* variable, std::initializer_list<std::string_view> choices) {
  const char* const value = std::getenv(variable);
  if (value == nullptr || *value == '\0') return 0;
  std::string expected;
  int number = 0;
  for (const std::string_view choice : choices) {
    if (choice == value) return number;
    expected += cat(number == 0 ? "" : number + 1 == static_cast<int>(choices.size()) ? " or " : ", ", choice);
    ++number;
  }
  fail(variable, " is '", value, "', expected ", expected);
}

bool switch_setting(const char* variable) {
  const char* const value = std::getenv(variable);
  const std::string_view text = value == nullptr ? "" : value;
  check(text.empty() || text == "0" || text == "1", variable, " is '", text, "', expected 1 (on) or 0 (off)");
  return text == "1";
}

}  // namespace graft::runtime
