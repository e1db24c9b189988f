// What belongs to one processor stands behind a macro that names it, so that the sources compile for others.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <istream>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

struct Use {
  int line;
  std::string text;
  bool guarded;
};

/// The lines that only a compiler for x86 takes: its headers, its intrinsics and builtins, assembly.
std::vector<Use> x86_uses(std::istream& file) {
  static const std::regex directive(R"(^\s*#\s*(ifdef|ifndef|if|elif|else|endif)\b(.*))");
  static const std::regex macro("__x86_64__|__i386__|__SSE[0-9_]*__|__AVX[0-9A-Z]*__");
  static const std::regex use(R"(include\s*<(\w*intrin|cpuid)\.h>|\b_mm\d*_\w+|\b__m(128|256|512)[di]?\b)"
                              R"(|__builtin_(ia32_|cpu_)\w+|\b(asm|__asm__|__asm)\b\s*(volatile|__volatile__)?\s*\()");
  std::vector<Use> all;
  std::vector<bool> guards;  // of the conditions around: whether each asks for x86
  std::string text;
  for (int line = 1; std::getline(file, text); ++line) {
    if (std::smatch match; std::regex_search(text, match, directive)) {
      const std::string kind = match[1], condition = match[2];
      const bool x86 = std::regex_search(condition, macro) && condition.find('!') == std::string::npos;
      if (kind == "if" || kind == "ifdef" || kind == "ifndef")
        guards.push_back(kind != "ifndef" && x86);
      else if (guards.empty())
        continue;  // unbalanced: the compiler will say so
      else if (kind == "endif")
        guards.pop_back();
      else
        guards.back() = kind == "elif" && x86;
      continue;
    }
    text = text.substr(0, text.find("//"));
    if (!std::regex_search(text, use)) continue;
    bool guarded = false;
    for (const bool guard : guards) guarded = guarded || guard;
    all.push_back({line, text, guarded});
  }
  return all;
}

// Each kind is seen, and what counts as behind a macro.
TEST(Portability, TheSearchKnowsWhatItLooksFor) {
  const auto guarded = [](const std::string& text) {
    std::istringstream file(text);
    std::string found;
    for (const Use& use : x86_uses(file)) found += use.guarded ? 'g' : 'x';
    return found;
  };
  EXPECT_EQ(guarded("#include <immintrin.h>\n#include <x86intrin.h>\n#include <emmintrin.h>\n#include <cpuid.h>\n"), "xxxx");
  EXPECT_EQ(guarded("v = _mm256_add_ps(a, b);\n__m128i x;\n__builtin_ia32_pause();\n"), "xxx");
  EXPECT_EQ(guarded("if (__builtin_cpu_supports(\"avx2\")) {}\nasm volatile(\"pause\");\n__asm__ (\"\");\n"), "xxx");
  EXPECT_EQ(guarded("// _mm_pause()\n#include <cstdint>\nint plasma(int);\n"), "");
  EXPECT_EQ(guarded("#if defined(__x86_64__)\n_mm_pause();\n#else\n_mm_pause();\n#endif\n_mm_pause();\n"), "gxx");
  EXPECT_EQ(guarded("#ifdef __AVX2__\n#ifndef NDEBUG\n_mm_pause();\n#endif\n#elif defined(__SSE2__)\n_mm_pause();\n#endif\n"), "gg");
  EXPECT_EQ(guarded("#ifndef __x86_64__\n_mm_pause();\n#endif\n#if !defined(__x86_64__)\n_mm_pause();\n#endif\n"), "xx");
}

TEST(Portability, WhatIsForX86IsGuarded) {
  const fs::path root = GRAFT_SOURCE_DIR;
  int guarded = 0;
  for (const char* folder : {"kernels", "core", "layers", "models", "transfer", "apps", "bench", "tests"})
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      static const std::regex source(R"(\.(h|cpp|inc|cu|cuh)$)");
      const std::string path = fs::relative(entry.path(), root).string();
      if (!entry.is_regular_file() || !std::regex_search(path, source)) continue;
      if (path.rfind("kernels/cuda/arch/", 0) == 0) continue;  // a GPU's assembly
      if (path == "tests/architecture/portability_test.cpp") continue;
      std::ifstream file(entry.path());
      for (const Use& use : x86_uses(file)) {
        EXPECT_TRUE(use.guarded) << path << ":" << use.line << " is for x86 alone:" << use.text;
        guarded += use.guarded;
      }
    }
  EXPECT_GT(guarded, 10) << "the vector kernels use intrinsics: the search misses them";
}

}  // namespace
