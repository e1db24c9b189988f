// The library at awkward moments of a process: while it ends, after fork(). Each case is a process of its own
// (program/), so that one that crashes or hangs is a failed test.
#include <gtest/gtest.h>

#include <filesystem>

#include <graft/core/io/safetensors.h>

#include "process/run.h"

namespace graft::test {
namespace {

class Process : public ::testing::Test {
 protected:
  Ended run_case(const std::string& name) {
    std::map<std::string, const char*> environment;
    // To LeakSanitizer a child of fork() leaks what the threads had that are not in it.
    if (name.starts_with("fork_")) environment["ASAN_OPTIONS"] = "detect_leaks=0";
    return run_program({GRAFT_PROCESS_CASE, name, weights_}, environment);
  }

  /// Exit code 0, no error, and this among what was said.
  void expect_good(const std::string& name, const std::string& said) {
    const Ended ended = run_case(name);
    EXPECT_EQ(ended.code, 0) << ended.out;
    EXPECT_EQ(ended.out.find("error"), std::string::npos) << ended.out;
    EXPECT_NE(ended.out.find(said), std::string::npos) << ended.out;
  }
  void expect_weights() { EXPECT_EQ(io::read_safetensors(weights_).at("fc3.weight").shape(), (Shape{10, 84})); }

  TemporaryFolder folder_;
  std::string weights_ = folder_ / "weights.safetensors";
};

constexpr const char* kWhole = "end: evaluated, trained and saved";

TEST_F(Process, AHandlerOfAtexitEvaluatesTrainsAndSaves) {
  expect_good("exit_atexit", kWhole);
  expect_weights();
}

TEST_F(Process, AStaticObjectsDestructorEvaluatesTrainsAndSaves) {
  expect_good("exit_static", kWhole);
  expect_weights();
}

TEST_F(Process, AThreadThatEndsTheProcessMayGoOnInItsHandlers) {
  expect_good("exit_other_thread", kWhole);
  expect_weights();
}

TEST_F(Process, TheFirstOpMayComeInAHandlerOfAtexit) { expect_good("exit_first_op_in_atexit", "end: trained"); }
TEST_F(Process, TheFirstOpMayComeInAStaticObjectsDestructor) { expect_good("exit_first_op_in_static", "end: trained"); }

TEST_F(Process, AChildOfForkEvaluatesTrainsAndSaves) {
  expect_good("fork_trains", "ok\nok\n");
  expect_weights();
}

TEST_F(Process, AChildOfForkHasOneThreadAndIsToldSo) { expect_good("fork_thread_counts", "ok\nok\n"); }
TEST_F(Process, AChildOfForkMayStartThreadsOfItsOwn) { expect_good("fork_threads_in_child", "ok\n"); }
TEST_F(Process, AForkBeforeTheFirstOpCostsNothing) { expect_good("fork_before_threads", "ok\n"); }
TEST_F(Process, ALoaderInAChildOfForkSaysSoAndLetsItselfBeDestroyed) { expect_good("fork_loader", "ok\n"); }
TEST_F(Process, AForkWaitsForTheLockOfTheHostsMemory) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer's own allocator does not survive a fork while another thread allocates";
#endif
  expect_good("fork_while_allocating", "ok\n");
}

#ifdef GRAFT_WITH_CUDA
TEST_F(Process, TheDeviceInAChildOfForkIsRefusedByName) { expect_good("fork_device", "ok\n"); }
TEST_F(Process, AForkBeforeTheDeviceIsUsedCostsNothing) { expect_good("fork_before_device", "ok\n"); }
#endif

}  // namespace
}  // namespace graft::test
