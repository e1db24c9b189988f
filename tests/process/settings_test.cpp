// Environment variables: what makes no sense is refused by name, by the first op and by every program of ours at its
// start.
#include <dlfcn.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include <graft/apps/support/start.h>
#include <graft/kernels/registry/setup.h>
#include <graft/kernels/runtime/parallel.h>

#include "process/run.h"

namespace graft::test {
namespace {

using Environment = std::map<std::string, const char*>;

const Environment kNone = {{"GRAFT_NUM_THREADS", nullptr}, {"OMP_NUM_THREADS", nullptr}, {"GRAFT_CPU_ISA", nullptr}};

Environment with(Environment more) {
  more.insert(kNone.begin(), kNone.end());
  return more;
}

std::string said(const std::string& name, const Environment& environment) {
  return run_program({GRAFT_PROCESS_CASE, name}, environment).out;
}

TEST(Settings, ThreadCountsThatMakeNoSenseAreRefusedByName) {
  for (const char* value : {"abc", "-3", "0", "2x", "", "1e3", " 2", "1025", "40000", "100000", "1099511627776",
                            "99999999999999999999"}) {
    const std::string expected = cat("GRAFT_NUM_THREADS is '", value, "', expected a whole number from 1 to 1024");
    for (const char* name : {"setting_threads", "setting_first_op"}) {
      const std::string out = said(name, with({{"GRAFT_NUM_THREADS", value}}));
      EXPECT_NE(out.find("error: " + expected), std::string::npos) << name << ": " << out;
    }
  }
}

TEST(Settings, ThreadCountsThatMakeSenseAreTaken) {
  EXPECT_EQ(said("setting_threads", with({{"GRAFT_NUM_THREADS", "3"}, {"OMP_NUM_THREADS", "2"}})), "threads 3\n");
  EXPECT_EQ(said("setting_threads", with({{"GRAFT_NUM_THREADS", "1024"}})), "threads 1024\n");
  EXPECT_EQ(said("setting_threads", with({{"OMP_NUM_THREADS", "5"}})), "threads 5\n");
  EXPECT_EQ(said("setting_threads", with({{"OMP_NUM_THREADS", "4,2"}})), "threads 4\n");
  EXPECT_EQ(said("setting_threads", with({{"OMP_NUM_THREADS", " 4 , 2"}})), "threads 4\n");
}

// As OpenMP does, which says it itself.
TEST(Settings, OpenMpsThreadCountIsLeftAsideWhereOpenMpLeavesItAside) {
  const std::string usual = said("setting_threads", kNone);
  for (const char* value : {"abc", "0", "-3", "2x", ""}) {
    const std::string out = said("setting_threads", with({{"OMP_NUM_THREADS", value}}));
    EXPECT_NE(out.find(usual), std::string::npos) << value << ": " << out;
  }
  EXPECT_NE(said("setting_threads", with({{"OMP_NUM_THREADS", "100000"}})).find("error: OMP_NUM_THREADS is '100000'"),
            std::string::npos);
}

TEST(Settings, SetNumThreadsHasTheSameLimit) {
  const int before = num_threads();
  for (const int count : {0, -3, kMaxThreads + 1, 40000, 100000})
    EXPECT_ERROR(set_num_threads(count), "expected 1 to 1024");
  EXPECT_EQ(num_threads(), before);
}

#ifdef GRAFT_WITH_ONEDNN
TEST(Settings, TheBackendIsTheFastOne) { EXPECT_EQ(slow_cpu_notice(), ""); }
#else
TEST(Settings, TheSlowBackendIsTold) { EXPECT_NE(slow_cpu_notice().find("oneDNN"), std::string::npos); }
#endif

#ifdef GRAFT_PROGRAMS
struct Program {
  std::string path, name;
  std::vector<std::string> arguments;  // with which it ends soon
  int refusal;                         // its exit code for bad input
};

std::vector<Program> programs() {
  std::vector<Program> all;
  std::istringstream list(GRAFT_PROGRAMS);
  for (std::string path; std::getline(list, path, ':');) {
    const std::string name = path.substr(path.rfind('/') + 1);
    if (name == "mnist_finetune") all.push_back({path, name, {"--mnist", "none", "--threads", "1"}, 2});
    if (name == "graft_bench") all.push_back({path, name, {"--benchmark_list_tests"}, 1});
    if (name == "graft_throughput") all.push_back({path, name, {"--row", "none"}, 1});
    if (name == "graft_step_counts") all.push_back({path, name, {"--no-device", "--task", "mlp", "--batch", "2"}, 1});
    if (name == "graft_startup") all.push_back({path, name, {}, 1});
  }
  return all;
}

Ended run(const Program& one, const Environment& environment) {
  std::vector<std::string> command = {one.path};
  command.insert(command.end(), one.arguments.begin(), one.arguments.end());
  return run_program(command, environment);
}

TEST(Programs, AreAllKnown) {
  const std::string list = GRAFT_PROGRAMS;
  EXPECT_EQ(programs().size(), 1u + static_cast<std::size_t>(std::count(list.begin(), list.end(), ':'))) << list;
}

TEST(Programs, RefuseSettingsAtTheirStart) {
  for (const Program& one : programs())
    for (const auto& [variable, value] : {std::pair("GRAFT_NUM_THREADS", "2x"),
#ifdef GRAFT_WITH_ONEDNN
                                          std::pair("GRAFT_CPU_ISA", "avx1024"),
#endif
#ifdef GRAFT_WITH_CUDA
                                          std::pair("GRAFT_ALLOCATOR", "none"), std::pair("GRAFT_SYNC", "yes"),
                                          std::pair("GRAFT_PROFILE", "maybe"),
#endif
                                          std::pair("GRAFT_NUM_THREADS", "100000")}) {
      const Ended ended = run(one, with({{variable, value}}));
      EXPECT_EQ(ended.code, one.refusal) << one.name << ": " << ended.out;
      EXPECT_NE(ended.out.find(variable), std::string::npos) << one.name << ": " << ended.out;
      EXPECT_NE(ended.out.find(value), std::string::npos) << one.name << ": " << ended.out;
    }
}

TEST(Programs, TellOnceWhenTheCpuIsSlow) {
  for (const Program& one : programs()) {
    const std::string out = run(one, kNone).out, notice = "slow reference backend";
    std::size_t times = 0;
    for (std::size_t at = out.find(notice); at != std::string::npos; at = out.find(notice, at + 1)) ++times;
#ifdef GRAFT_WITH_ONEDNN
    EXPECT_EQ(times, 0u) << one.name << ": " << out;
#else
    EXPECT_EQ(times, 1u) << one.name << ": " << out;
#endif
  }
}

/// The value that libgomp says it works with, the last where the program was executed again; "" where none is said.
std::string spin_count(const Program& one, Environment environment) {
  environment.insert({{"OMP_DISPLAY_ENV", "verbose"}, {"GOMP_SPINCOUNT", nullptr}, {"OMP_WAIT_POLICY", nullptr}});
  const std::string out = run(one, with(environment)).out, label = "GOMP_SPINCOUNT = '";
  const std::size_t at = out.rfind(label);
  if (at == std::string::npos) return {};
  return out.substr(at + label.size(), out.find('\'', at + label.size()) - at - label.size());
}

TEST(Programs, LimitSpinningUnlessTheCallerChose) {
  num_threads();  // the same runtime as in the programs
  if (dlopen("libgomp.so.1", RTLD_NOW | RTLD_NOLOAD) == nullptr)
    GTEST_SKIP() << "the OpenMP runtime here is not GCC's and does not tell how long it spins";
  for (const Program& one : programs()) {
    const std::string ours = spin_count(one, {});
    EXPECT_EQ(ours, program::kSpinCount) << one.name;
    EXPECT_EQ(spin_count(one, {{"GOMP_SPINCOUNT", "5"}}), "5") << one.name;
    EXPECT_EQ(spin_count(one, {{"OMP_WAIT_POLICY", "passive"}}), "0") << one.name;
    EXPECT_EQ(spin_count(one, {{"OMP_WAIT_POLICY", "active"}}), "30000000000") << one.name;
  }
}
#endif

}  // namespace
}  // namespace graft::test
