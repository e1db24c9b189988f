// The house rules that a machine can check: who may include whom, what public headers may include, how long a file may
// be.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

const fs::path kRoot = GRAFT_SOURCE_DIR;

/// What each folder may include besides itself (docs/architecture.md draws the arrows).
const std::map<std::string, std::set<std::string>>& allowed() {
  static const std::map<std::string, std::set<std::string>> table = [] {
    std::map<std::string, std::set<std::string>> t;
    t["kernels/api"] = {};
    t["kernels/runtime"] = {"kernels/api"};
    for (const char* backend : {"kernels/cpu", "kernels/reference", "kernels/cuda", "kernels/vendor", "kernels/simt"})
      t[backend] = {"kernels/api", "kernels/runtime"};
    t["kernels/cuda"].insert("kernels/simt");  // launch.cuh and arch/ only: see TwoWorldsMeetInOnePlace
    // Not kernels/vendor: that library offers its table itself (api/offered.h), and graft stands without it.
    t["kernels/registry"] = {"kernels/api", "kernels/runtime", "kernels/cpu", "kernels/reference", "kernels/cuda"};
    t["core"] = {"kernels/api", "kernels/runtime", "kernels/registry"};
    t["layers"] = t["core"];
    t["layers"].insert("core");
    t["models"] = t["layers"];
    t["models"].insert("layers");
    t["transfer"] = t["models"];  // the transfer library never names a model
    return t;
  }();
  return table;
}

std::string folder_of(const std::string& path) {
  std::string best;
  for (const auto& [folder, may] : allowed())
    if (path.rfind(folder + "/", 0) == 0 && folder.size() > best.size()) best = folder;
  return best;
}

bool is_source(const fs::path& path) {
  static const std::set<std::string> kinds = {".h", ".cpp", ".cu", ".cuh", ".inc"};
  return kinds.contains(path.extension().string());
}

/// Paths from the root of all sources below the given folders.
std::vector<std::string> sources(const std::vector<std::string>& folders) {
  std::vector<std::string> all;
  for (const std::string& folder : folders) {
    if (!fs::exists(kRoot / folder)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(kRoot / folder))
      if (entry.is_regular_file() && is_source(entry.path())) all.push_back(fs::relative(entry.path(), kRoot).string());
  }
  std::sort(all.begin(), all.end());
  return all;
}

std::vector<std::string> library_sources() { return sources({"kernels", "core", "layers", "models", "transfer"}); }

struct Include {
  int line;
  std::string target;
  bool quoted;
};

std::vector<Include> includes_of(const std::string& path) {
  static const std::regex pattern(R"(^\s*#\s*include\s*([<"])([^>"]+)[>"])");
  std::ifstream file(kRoot / path);
  std::vector<Include> all;
  std::string text;
  for (int line = 1; std::getline(file, text); ++line)
    if (std::smatch match; std::regex_search(text, match, pattern)) all.push_back({line, match[2], match[1] == "\""});
  return all;
}

TEST(Architecture, FindsTheSources) { EXPECT_GT(library_sources().size(), 80u); }

TEST(Architecture, IncludesFollowTheArrows) {
  for (const std::string& path : library_sources()) {
    const std::string from = folder_of(path);
    ASSERT_FALSE(from.empty()) << path << " is in no folder that the architecture knows";
    for (const Include& include : includes_of(path)) {
      if (include.target.rfind("graft/", 0) != 0) continue;
      if (include.target == "graft/version.h") continue;  // a number, and above nothing
      const std::string target = include.target.substr(6), to = folder_of(target);
      EXPECT_FALSE(to.empty()) << path << ":" << include.line << " includes " << include.target
                               << ", which the library must not (apps, bench, tests and the umbrella are above it)";
      EXPECT_TRUE(to == from || allowed().at(from).contains(to))
          << path << ":" << include.line << ": " << from << " may not include " << to;
      EXPECT_TRUE(fs::exists(kRoot / target)) << path << ":" << include.line << " includes a file that is not there";
    }
  }
}

TEST(Architecture, TwoWorldsMeetInOnePlace) {
  for (const std::string& path : sources({"kernels/cuda"})) {
    if (path == "kernels/cuda/launch.cuh" || path.rfind("kernels/cuda/arch/", 0) == 0) continue;
    for (const Include& include : includes_of(path))
      EXPECT_NE(include.target.rfind("graft/kernels/simt/", 0), 0u)
          << path << ":" << include.line << ": only launch.cuh and arch/ may know the emulator";
  }
}

// A header found by a relative path would escape the rule above.
TEST(Architecture, LibraryFilesAreIncludedByTheirFullPath) {
  for (const std::string& path : library_sources()) {
    if (path.find("/simd/") != std::string::npos) continue;  // parts of one translation unit
    for (const Include& include : includes_of(path)) {
      const bool sibling = include.quoted && fs::exists((kRoot / path).parent_path() / include.target);
      const bool from_root = fs::exists(kRoot / include.target);
      EXPECT_FALSE(sibling || from_root) << path << ":" << include.line << ": write <graft/...> for " << include.target;
    }
  }
}

TEST(Architecture, PublicHeadersIncludeNoBackendsLibrary) {
  static const std::regex foreign("^(cuda|cudnn|cublas|dnnl|oneapi|nvtx|omp\\.h|nlohmann|zlib)");
  for (const std::string& path :
       sources({"kernels/api", "kernels/runtime", "kernels/registry", "core", "layers", "models", "transfer"})) {
    if (fs::path(path).extension() != ".h") continue;
    for (const Include& include : includes_of(path))
      EXPECT_FALSE(std::regex_search(include.target, foreign)) << path << ":" << include.line << ": " << include.target;
  }
  // The one header of kernels/vendor that is installed.
  for (const Include& include : includes_of("kernels/vendor/vendor.h"))
    EXPECT_FALSE(std::regex_search(include.target, foreign))
        << "kernels/vendor/vendor.h:" << include.line << ": " << include.target;
}

TEST(Architecture, HeadersHaveAGuard) {
  for (const std::string& path : library_sources()) {
    if (fs::path(path).extension() != ".h") continue;
    std::ifstream file(kRoot / path);
    const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    EXPECT_NE(text.find("#pragma once"), std::string::npos) << path;
  }
}

TEST(Architecture, FilesStayShort) {
  constexpr int kLongest = 600;
  for (const std::string& path :
       sources({"kernels", "core", "layers", "models", "transfer", "apps", "bench", "tests"})) {
    std::ifstream file(kRoot / path);
    const auto lines = std::count(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>(), '\n');
    EXPECT_LE(lines, kLongest) << path << ": one idea a file";
  }
}

}  // namespace
