// What every program of ours does first. In a header alone, so that a program of one file stays one.
#pragma once

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include <unistd.h>

#include <graft/kernels/registry/setup.h>

namespace graft::program {

/// How long libgomp's waiting threads spin before they sleep: bench/compare_spinning measures it.
inline constexpr const char* kSpinCount = "10000";

/// Why the program cannot execute itself again with the same effect; "" where it can. `path`: of the program.
inline std::string cannot_execute_again(std::string& path) {
  char link[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", link, sizeof link);
  if (length <= 0 || static_cast<std::size_t>(length) == sizeof link) return "/proc/self/exe cannot be read";
  path.assign(link, static_cast<std::size_t>(length));
  const std::string file = path.substr(path.rfind('/') + 1);
  if (file.starts_with("ld-") || file == "ld.so") return "it was started through " + path;
  const char* const preloaded = std::getenv("LD_PRELOAD");
  if (preloaded != nullptr && std::strstr(preloaded, "vgpreload") != nullptr) return "valgrind would not follow";
  if (access(path.c_str(), X_OK) != 0) path = "/proc/self/exe";  // replaced while it runs; the name in ps changes
  return {};
}

/// To be called first in main. OpenMP's waiting threads spin, and where other programs want the cores that slows
/// training tenfold (docs/performance.md, "A machine that others use too"). Unless the caller has set GOMP_SPINCOUNT or
/// OMP_WAIT_POLICY, this sets GOMP_SPINCOUNT. libgomp reads it when it is loaded, long before main, so the program is
/// executed once more: the same process, arguments and open files. Where that cannot be, a line on stderr says so.
/// (LLVM's OpenMP reads KMP_BLOCKTIME at its first use.)
inline void limit_spinning(const char* name, char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  setenv("KMP_BLOCKTIME", "0", 0);
  std::string path, why = cannot_execute_again(path);
  if (why.empty()) {
    if (setenv("GOMP_SPINCOUNT", kSpinCount, 1) == 0) execv(path.c_str(), argv);
    why = "the program cannot be executed again: " + std::string(std::strerror(errno));
  }
  std::fprintf(stderr,
               "%s: threads that wait will spin (%s): where other programs use the cores too, set GOMP_SPINCOUNT=%s\n",
               name, why.c_str(), kSpinCount);
}

/// To be called before any work. Throws Error where an environment variable of graft's makes no sense. Says on stderr
/// when this build's CPU backend is the slow one.
inline void check_setup(const char* name) {
  check_settings();
  if (const std::string notice = slow_cpu_notice(); !notice.empty())
    std::fprintf(stderr, "%s: %s\n", name, notice.c_str());
}

}  // namespace graft::program
