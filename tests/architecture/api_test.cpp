// What an installed header declares, a shared library exports: each function and class there carries GRAFT_API.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

const fs::path kRoot = GRAFT_SOURCE_DIR;

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream file(kRoot / path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

/// The headers that programs reach, as cmake/InstallHeaders.cmake finds them.
void reach(const std::string& path, std::set<std::string>& reached) {
  static const std::regex include(R"(^\s*#\s*include\s*<graft/([^>]+)>.*)");
  if (!reached.insert(path).second) return;
  for (const std::string& line : lines_of(path))
    if (std::smatch match; std::regex_match(line, match, include)) reach(match[1], reached);
}

/// The declarations of a header's text that begin in the first column and lack GRAFT_API. Left out are templates,
/// inline functions, and the ops' arguments (plain structures ending in Args, which no exported class has as a member).
std::vector<std::string> unmarked(const std::vector<std::string>& lines) {
  static const std::regex type(R"(^(class|struct)\b.*\{.*)"), function(R"(^[A-Za-z\[][^=(]*\b(operator\S+|\w+)\(.*)");
  static const std::regex other(
      R"(^(template|inline|constexpr|using|namespace|enum|extern|friend|return|static|#|\}).*)");
  static const std::regex arguments(R"(^struct \w+Args \{.*)");
  std::vector<std::string> found;
  bool of_template = false;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string& line = lines[i];
    if (line.empty() || line[0] == ' ' || line.rfind("//", 0) == 0) continue;
    const bool after_template = of_template;
    of_template = line.rfind("template", 0) == 0 && line.find_first_of(";{") == std::string::npos;
    if (after_template || std::regex_match(line, other) || line.find("GRAFT_API") != std::string::npos) continue;
    if (std::regex_match(line, type)) {
      if (!std::regex_match(line, arguments)) found.push_back(line);
    } else if (std::regex_match(line, function)) {
      found.push_back(line);
    }
  }
  return found;
}

TEST(Api, IsMarkedInEveryInstalledHeader) {
  std::set<std::string> headers;
  reach("graft.h", headers);
  reach("kernels/vendor/vendor.h", headers);
  EXPECT_GT(headers.size(), 40u);
  int marked = 0;
  for (const std::string& header : headers) {
    if (header == "kernels/api/export.h") continue;
    const std::vector<std::string> lines = lines_of(header);
    for (const std::string& line : lines) marked += line.find("GRAFT_API") != std::string::npos;
    for (const std::string& line : unmarked(lines))
      ADD_FAILURE() << header << ": without GRAFT_API a program cannot use this of a shared library: " << line;
  }
  EXPECT_GT(marked, 200);
}

TEST(Api, NothingElseIsMarked) {
  std::set<std::string> headers;
  reach("graft.h", headers);
  reach("kernels/vendor/vendor.h", headers);
  for (const char* folder : {"kernels", "core", "layers", "models", "transfer"})
    for (const auto& entry : fs::recursive_directory_iterator(kRoot / folder)) {
      const std::string path = fs::relative(entry.path(), kRoot).string();
      if (!entry.is_regular_file() || headers.contains(path)) continue;
      for (const std::string& line : lines_of(path))
        EXPECT_EQ(line.find("GRAFT_API"), std::string::npos) << path << " is not installed: " << line;
    }
}

TEST(Api, TheCheckFindsWhatIsUnmarked) {
  EXPECT_EQ(unmarked({"Tensor relu(const Tensor& x);", "struct Options {", "class Loader final : public Module {",
                      "std::vector<std::int64_t> positions(int k,", "void set(Tensor& t, Generator& g = make());",
                      "Shape operator+(const Shape& a, const Shape& b);"})
                .size(),
            6u);
  EXPECT_TRUE(unmarked({"GRAFT_API Tensor relu(const Tensor& x);", "struct GRAFT_API Options {", "class Node;",
                        "struct UnaryArgs {", "inline Tensor add(Tensor a) { return a; }", "template <class T>",
                        "Piece piece_of(const T& value) {", "using Schedule = std::function<double(int)>;", "}"})
                  .empty());
}

}  // namespace
