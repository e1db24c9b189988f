// The library's exception, and string building without <sstream> in public headers.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include <graft/kernels/api/export.h>

namespace graft {

/// Every error the library throws. The message says what was refused, where, what came and what was expected.
class GRAFT_API Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// One argument of `cat`: text or a number, printed the short way.
class GRAFT_API Piece {
 public:
  Piece(std::string_view text) : text_(text) {}
  Piece(const std::string& text) : text_(text) {}
  Piece(const char* text) : text_(text) {}
  Piece(char c) : text_(1, c) {}
  Piece(bool value) : text_(value ? "true" : "false") {}
  Piece(int value) : text_(std::to_string(value)) {}
  Piece(unsigned value) : text_(std::to_string(value)) {}
  Piece(long value) : text_(std::to_string(value)) {}
  Piece(unsigned long value) : text_(std::to_string(value)) {}
  Piece(long long value) : text_(std::to_string(value)) {}
  Piece(unsigned long long value) : text_(std::to_string(value)) {}
  Piece(double value);
  Piece(float value) : Piece(static_cast<double>(value)) {}

  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

GRAFT_API std::string concat(std::initializer_list<Piece> pieces);

/// A piece of anything: text and numbers as they are, the rest by its to_string.
template <class T>
Piece piece_of(const T& value) {
  if constexpr (std::is_constructible_v<Piece, const T&>)
    return Piece(value);
  else
    return Piece(to_string(value));
}

/// Joins text, numbers and whatever has a to_string: cat("x has ", 3, " rows, shape ", x.shape()).
template <class... Parts>
std::string cat(const Parts&... parts) {
  return concat({piece_of(parts)...});
}

/// "388,800".
GRAFT_API std::string with_thousands(std::int64_t n);

/// Throws Error(cat(parts...)).
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw Error(concat({piece_of(parts)...}));
}

/// Throws Error(cat(parts...)) unless `ok`. Checked in every build type. Nothing is formatted while `ok`: hand over the
/// tensor or shape itself, not its to_string.
template <class... Parts>
inline void check(bool ok, const Parts&... parts) {
  if (!ok) [[unlikely]]
    fail(parts...);
}

}  // namespace graft
