// Takes away every barrier of kernels/cuda, one at a time and kernel by kernel, and runs the op cases that reach it:
// one of them must notice. The checker reports a race or a read of what nobody wrote, or the results have other bits.
// So no barrier can be lost unseen, none is there for nothing, and none hides from the op cases.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <graft/kernels/registry/registry.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/simt/core.h>
#include <graft/kernels/simt/host.h>

#include "kernels/op_case.h"

namespace graft::test {
namespace {

namespace fs = std::filesystem;

// --- what the source says -------------------------------------------------------------------------------------------

/// A line of a file of kernels/cuda.
struct Line {
  std::string file;
  int number;
  auto operator<=>(const Line&) const = default;
};

std::string to_string(const Line& line) { return "kernels/cuda/" + line.file + ":" + std::to_string(line.number); }

/// All lines that call a barrier or a fence, or wait for asynchronous work.
std::set<Line> barriers_in_source() {
  static const std::regex call(
      R"(\b(__syncthreads(_count|_and|_or)?|__syncwarp|__threadfence|named_barrier_\w+|cluster_(arrive|wait)|cp_async_wait)\s*(<[^;]*>)?\()");
  static const std::regex comment("//.*");
  std::set<Line> lines;
  for (const auto& entry : fs::directory_iterator(fs::path(GRAFT_SOURCE_DIR) / "kernels/cuda")) {
    const std::string kind = entry.path().extension().string();
    if (kind != ".cu" && kind != ".cuh") continue;
    std::ifstream source(entry.path());
    std::string text;
    for (int number = 1; std::getline(source, text); ++number)
      if (std::regex_search(std::regex_replace(text, comment, ""), call))
        lines.insert({entry.path().filename().string(), number});
  }
  return lines;
}

// --- what ran -------------------------------------------------------------------------------------------------------

Line line_of(const simt::Site& site) { return {fs::path(site.file).filename().string(), site.line}; }

/// An op case in one dtype, and how many threads its kernels run: what a run costs.
struct TypedCase {
  const OpCase* op;
  DType dtype;
  std::uint64_t threads;

  std::string name() const { return op->name + " in " + graft::name(dtype); }
};

/// A barrier of one kernel in cases of one dtype, which runs an instance of the kernel's template of its own.
struct Barrier {
  simt::Site site;
  DType dtype;
  std::vector<TypedCase> reached_by;
  std::string noticed = "nothing";  // what told that it was gone

  std::string name() const {
    return to_string(line_of(site)) + " (" + site.what + ") in " + site.kernel + ", " + graft::name(dtype);
  }
};

const kernels::BackendTable& device_table() { return *kernels::find_backend(kernels::BackendId::cuda); }

/// In a word, what a report of the checker says.
std::string kind_of(const std::string& report) {
  const std::pair<const char*, const char*> kinds[] = {{"has yet to write", "copy under way"},
                                                       {"race", "race"},
                                                       {"uninitialised", "uninitialised read"},
                                                       {"deadlock", "deadlock"}};
  for (const auto& [text, kind] : kinds)
    if (report.find(text) != std::string::npos) return kind;
  return "other report";
}

/// Each test runs with the checker on and the schedule of the defaults, whatever the environment says.
class BarrierTest : public testing::Test {
 protected:
  BarrierTest() : before_(simt::options()) { simt::options() = {}; }
  ~BarrierTest() override { simt::options() = before_; }

  void SetUp() override {
    if (const std::string why = runtime::cuda_unavailable(); !why.empty()) GTEST_SKIP() << why;
  }

  /// Runs the case and returns the barriers that it met. The checker is off: to be fast.
  static std::vector<simt::Site> sites_of(const TypedCase& run) {
    simt::clear_sites();
    simt::options().check = false;
    run_case(*run.op, run.dtype, device_table());
    simt::options().check = true;
    return simt::sites();
  }

 private:
  const simt::Options before_;
};

class Barriers : public BarrierTest, public testing::WithParamInterface<OpFamily> {
 protected:
  static void TearDownTestSuite();

  /// Every barrier that the cases reach, with the cases that reach it, the cheapest first.
  static std::vector<Barrier> reached(const std::vector<OpCase>& cases) {
    std::vector<Barrier> all;
    for (const OpCase& op : cases)
      for (const DType dtype : dtypes_on(op, DeviceType::cuda)) {
        TypedCase run{&op, dtype, simt::stats().threads};
        const std::vector<simt::Site> sites = sites_of(run);
        run.threads = simt::stats().threads - run.threads;
        for (const simt::Site& site : sites) {
          auto at = std::find_if(all.begin(), all.end(),
                                 [&](const Barrier& known) { return known.site == site && known.dtype == dtype; });
          if (at == all.end()) at = all.insert(at, {site, dtype, {}});
          at->reached_by.push_back(run);
        }
      }
    for (Barrier& barrier : all)
      std::stable_sort(barrier.reached_by.begin(), barrier.reached_by.end(),
                       [](const TypedCase& a, const TypedCase& b) { return a.threads < b.threads; });
    return all;
  }

  /// What notices that `run` goes without the barrier; empty when nothing does.
  static std::string notices(const TypedCase& run, const simt::Site& site) {
    simt::options().omit = site;
    CaseRun without;
    std::string report;
    try {
      without = run_case(*run.op, run.dtype, device_table());
    } catch (const std::exception& error) {
      report = error.what();
      simt::reset();
    }
    simt::options().omit = {};
    // Nothing may be wrong with the barrier in its place; this run also tells the right bits.
    const CaseRun whole = run_case(*run.op, run.dtype, device_table());
    if (!report.empty()) return kind_of(report);
    for (std::size_t i = 0; i < whole.tensors->buffers().size(); ++i)
      if (!whole.tensors->buffers()[i]->same_bytes(*without.tensors->buffers()[i])) return "other bits";
    return "";
  }

  static inline std::vector<Barrier> seen_;  // by all tests of this process
};

// A line a file: its barriers; the same, a kernel and dtype each; and by what so many of those were noticed.
void Barriers::TearDownTestSuite() {
  struct Row {
    std::set<int> lines;
    std::set<std::string> names;
    std::map<std::string, int> noticed;
  };
  std::map<std::string, Row> table;
  for (const Barrier& barrier : seen_) {
    Row& row = table[line_of(barrier.site).file];
    row.lines.insert(barrier.site.line);
    if (row.names.insert(barrier.name()).second) ++row.noticed[barrier.noticed];
  }
  for (const auto& [file, row] : table) {
    std::printf("%-28s %2zu lines, %3zu with kernels and dtypes:", file.c_str(), row.lines.size(), row.names.size());
    for (const auto& [kind, count] : row.noticed) std::printf(" %d %s;", count, kind.c_str());
    std::printf("\n");
  }
}

TEST_P(Barriers, AreMissedWhenTheyAreGone) {
  const std::vector<OpCase> cases = GetParam().cases();
  const std::set<Line> in_source = barriers_in_source();
  for (Barrier& barrier : reached(cases)) {
    EXPECT_TRUE(in_source.contains(line_of(barrier.site)) &&
                barrier.site.file.find("kernels/cuda/") != std::string::npos)
        << barrier.site.file << ":" << barrier.site.line << ": barriers_in_source() does not find this "
        << barrier.site.what << ": name it there";
    for (const TypedCase& run : barrier.reached_by)
      if (const std::string notice = notices(run, barrier.site); !notice.empty()) {
        barrier.noticed = notice;
        std::printf("%s: %s, by %s\n", barrier.name().c_str(), notice.c_str(), run.name().c_str());
        break;
      }
    EXPECT_NE(barrier.noticed, "nothing") << barrier.name() << ": all " << barrier.reached_by.size()
                                          << " runs that reach it are right without it. Either it is redundant, or "
                                             "a case is missing that needs it";
    seen_.push_back(barrier);
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Barriers, testing::ValuesIn(op_families()),
                         [](const auto& family) { return family.param.name; });

class BarrierSites : public BarrierTest {};

TEST_F(BarrierSites, AreAllReached) {
  std::set<Line> unreached = barriers_in_source();
  ASSERT_FALSE(unreached.empty());
  const std::vector<OpCase> cases = all_op_cases();
  const auto reach = [&](const OpCase& op, DType dtype) {
    for (const simt::Site& site : sites_of({&op, dtype, 0})) unreached.erase(line_of(site));
  };
  for (const OpCase& op : cases)
    if (!unreached.empty()) reach(op, op.dtypes.front());
  for (const OpCase& op : cases)  // what only other dtypes reach
    for (const DType dtype : dtypes_on(op, DeviceType::cuda))
      if (!unreached.empty() && dtype != op.dtypes.front()) reach(op, dtype);
  for (const Line& line : unreached) ADD_FAILURE() << to_string(line) << ": no op case reaches this barrier";
}

}  // namespace
}  // namespace graft::test
