// Nothing of the library is destroyed when the program ends: ops may run in handlers of std::atexit and in destructors
// of static objects, which come after the library's own would.
#include <gtest/gtest.h>

#include <cstdio>
#include <set>
#include <sstream>
#include <string>

namespace {

#ifdef GRAFT_ARCHIVE

std::string output_of(const std::string& command) {
  std::string text;
  FILE* const pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return text;
  char piece[4096];
  for (std::size_t n = 0; (n = std::fread(piece, 1, sizeof piece, pipe)) > 0;) text.append(piece, n);
  pclose(pipe);
  return text;
}

// Objects with destructors register them with these functions.
TEST(Lifetime, TheLibraryHasNoStaticOrThreadLocalDestructors) {
  const std::string symbols = output_of("nm -A --undefined-only '" GRAFT_ARCHIVE "'");
  ASSERT_NE(symbols.find("registry.cpp"), std::string::npos) << "is nm (binutils) there, and " GRAFT_ARCHIVE "?";
  const std::set<std::string> fine = {
      "of_thread.cpp.o __cxa_thread_atexit",  // frees what threads have, and leaves them something to go on with
      "tickets.cpp.o __cxa_atexit",           // gives device memory back, and destroys nothing that is used later
  };
  std::istringstream lines(symbols);
  for (std::string line; std::getline(lines, line);) {
    const bool registers = line.ends_with(" __cxa_atexit") || line.ends_with(" __cxa_thread_atexit");
    if (!registers) continue;
    const std::size_t object = line.find(".a:") + 3;  // "libgraft.a:storage.cpp.o:      U __cxa_atexit"
    const std::string found = line.substr(object, line.find(':', object) - object) + line.substr(line.rfind(' '));
    EXPECT_TRUE(fine.contains(found)) << found << ": make it trivially destructible, or leak it (auto& x = *new X)";
  }
}

#endif

}  // namespace
