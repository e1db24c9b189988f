// Reads what ptxas said of every kernel when nvcc built it: no register may spill, on any architecture.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

struct Usage {
  std::string function, architecture;
  int spill_stores = 0, spill_loads = 0;
};

/// One entry a function and architecture, in the order of the report.
std::vector<Usage> parse(std::istream& report) {
  static const std::regex entry(R"(Compiling entry function '(\S+)' for '(\S+)')");
  static const std::regex properties(R"(Function properties for (\S+))");
  static const std::regex spills(R"((\d+) bytes spill stores, (\d+) bytes spill loads)");
  std::vector<Usage> all;
  std::string line, function, architecture;
  std::smatch match;
  while (std::getline(report, line)) {
    if (std::regex_search(line, match, entry)) architecture = match[2];
    if (std::regex_search(line, match, properties)) function = match[1];
    if (std::regex_search(line, match, spills))
      all.push_back({function, architecture, std::stoi(match[1]), std::stoi(match[2])});
  }
  return all;
}

TEST(Ptxas, ReadsAReport) {
  std::istringstream report(
      "ptxas info    : Compiling entry function '_Z1kPf' for 'sm_80'\n"
      "ptxas info    : Function properties for _Z1kPf\n"
      "    8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads\n"
      "ptxas info    : Used 255 registers, used 1 barriers, 16 bytes smem\n");
  const std::vector<Usage> all = parse(report);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].function, "_Z1kPf");
  EXPECT_EQ(all[0].architecture, "sm_80");
  EXPECT_EQ(all[0].spill_stores, 12);
  EXPECT_EQ(all[0].spill_loads, 16);
}

#ifdef GRAFT_PTXAS_REPORTS
TEST(Ptxas, NoKernelSpills) {
  int kernels = 0;
  for (const auto& source : fs::directory_iterator(fs::path(GRAFT_SOURCE_DIR) / "kernels/cuda")) {
    if (source.path().extension() != ".cu") continue;
    std::ifstream report(fs::path(GRAFT_PTXAS_REPORTS) / (source.path().stem().string() + ".log"));
    ASSERT_TRUE(report.good()) << source.path() << " has no report: was it built by nvcc?";
    std::map<std::string, std::set<std::string>> architectures;
    std::string spilling;
    for (const Usage& usage : parse(report)) {
      ++kernels;
      architectures[usage.function].insert(usage.architecture);
      if (usage.spill_stores + usage.spill_loads != 0)
        spilling += "\n  " + usage.function + " on " + usage.architecture;
    }
    EXPECT_TRUE(spilling.empty()) << source.path().filename() << " spills:" << spilling;
    for (const auto& [function, built_for] : architectures)
      EXPECT_EQ(built_for.size(), architectures.begin()->second.size())
          << source.path().filename() << ": " << function << " is not built for every architecture";
  }
  EXPECT_GT(kernels, 100) << "the reports look incomplete";
}
#endif

}  // namespace
