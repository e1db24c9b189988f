// What an Error says, for tests of refusals.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include <graft/kernels/api/error.h>

namespace graft::test {

/// What `f` threw as Error, or "" when it threw nothing.
template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

inline void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in: " << text;
}

}  // namespace graft::test

/// Expects that `statement` throws Error with `fragment` in its text.
#define EXPECT_ERROR(statement, fragment)                                                                    \
  do {                                                                                                       \
    const std::string graft_text = ::graft::test::error_of([&] { (void)(statement); });                      \
    EXPECT_NE(graft_text, "") << "no Error from " #statement;                                                \
    EXPECT_NE(graft_text.find(fragment), std::string::npos) << graft_text << "\nshould say: " << (fragment); \
  } while (false)
