// One OpenMP runtime in the process, oneDNN's, whatever the compiler.
#include <gtest/gtest.h>

#include <link.h>

#include <set>
#include <string>
#include <thread>
#include <vector>

#include <graft/kernels/runtime/parallel.h>

namespace graft {
namespace {

// The files of the OpenMP runtimes that are loaded.
std::set<std::string> openmp_runtimes() {
  std::set<std::string> found;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* data) {
        const std::string path = info->dlpi_name, file = path.substr(path.rfind('/') + 1);
        for (const char* name : {"libgomp.", "libgomp-", "libomp.", "libomp-", "libiomp5."})
          if (file.rfind(name, 0) == 0) static_cast<std::set<std::string>*>(data)->insert(file);
        return 0;
      },
      &found);
  return found;
}

TEST(OpenMP, TheProcessHasOneRuntime) {
  const std::set<std::string> found = openmp_runtimes();
  std::string names;
  for (const std::string& name : found) names += name + " ";
  EXPECT_EQ(found.size(), 1u) << names << ": oneDNN and graft must have the same (cmake/FindOpenMPRuntime.cmake)";
}

// A compiler that leaves the parallel region out would pass every other test.
TEST(OpenMP, LoopsRunOnSeveralThreads) {
  const int before = num_threads();
  set_num_threads(3);
  std::vector<std::thread::id> threads(3);
  parallel_for(3, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) threads[static_cast<std::size_t>(i)] = std::this_thread::get_id();
  });
  set_num_threads(before);
  EXPECT_EQ(std::set<std::thread::id>(threads.begin(), threads.end()).size(), 3u);
}

}  // namespace
}  // namespace graft
