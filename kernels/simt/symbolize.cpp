#include <graft/kernels/simt/symbolize.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <spawn.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <vector>

extern char** environ;

namespace graft::simt {
namespace {

// addr2line at work on one file: addresses go in, each answered by pairs of lines (function, file:line), inlined frames
// first.
struct Translator {
  FILE *to = nullptr, *from = nullptr;
  pid_t owner = 0;
};

bool start(Translator& translator, const char* path) {
  int question[2], answer[2];
  if (pipe2(question, O_CLOEXEC) != 0) return false;
  if (pipe2(answer, O_CLOEXEC) != 0) {
    close(question[0]);
    close(question[1]);
    return false;
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, question[0], 0);
  posix_spawn_file_actions_adddup2(&actions, answer[1], 1);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  const char* arguments[] = {"addr2line", "-a", "-i", "-e", path, nullptr};
  pid_t child = 0;
  const int failed = posix_spawnp(&child, "addr2line", &actions, nullptr, const_cast<char**>(arguments), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(question[0]);
  close(answer[1]);
  if (failed != 0) {
    close(question[1]);
    close(answer[0]);
    return false;
  }
  translator = {fdopen(question[1], "w"), fdopen(answer[0], "r"), getpid()};
  return true;
}

bool read_line(FILE* from, std::string& line) {
  line.clear();
  for (int c; (c = std::fgetc(from)) != EOF;) {
    if (c == '\n') return true;
    line += static_cast<char>(c);
  }
  return false;
}

// "file:line", without "(discriminator n)"; nothing for "??:0".
std::string cleaned(std::string line) {
  if (const auto space = line.find(" (discriminator"); space != std::string::npos) line.resize(space);
  if (line.compare(0, 2, "??") == 0 || line.find(':') == std::string::npos) return {};
  return line.back() == '?' ? std::string() : line;
}

}  // namespace

SourcePlace source_place(std::uintptr_t address) {
  static auto& cache = *new std::map<std::uintptr_t, SourcePlace>;
  static auto& translators = *new std::map<std::string, Translator>;
  if (const auto known = cache.find(address); known != cache.end()) return known->second;

  Dl_info info{};
  link_map* map = nullptr;
  if (dladdr1(reinterpret_cast<void*>(address), &info, reinterpret_cast<void**>(&map), RTLD_DL_LINKMAP) == 0 ||
      map == nullptr)
    return {};
  const std::string path = map->l_name[0] != '\0' ? map->l_name : "/proc/" + std::to_string(getpid()) + "/exe";
  Translator& translator = translators[path];
  if (translator.owner != getpid() && !start(translator, path.c_str())) return {};

  // The call itself is before its return address. A second address, 0, marks the end of the first one's answer.
  std::fprintf(translator.to, "0x%zx\n0x0\n", static_cast<std::size_t>(address - 1 - map->l_addr));
  std::fflush(translator.to);
  std::vector<std::string> frames;
  std::string line;
  bool complete = read_line(translator.from, line);  // the address, repeated
  while (complete && (complete = read_line(translator.from, line)) && line.compare(0, 2, "0x") != 0)
    if (std::string place = cleaned(line); !place.empty()) frames.push_back(std::move(place));
  if (complete) read_line(translator.from, line);  // the answer to 0

  SourcePlace result;
  if (!frames.empty()) {
    // An instruction's stand-in (global.h) is not the place, its caller is.
    while (frames.size() > 1 && frames.front().find("kernels/simt/") != std::string::npos) frames.erase(frames.begin());
    const auto colon = frames.front().rfind(':');
    result = {frames.front().substr(0, colon), std::atoi(frames.front().c_str() + colon + 1)};
    // The outermost frame is the launcher's; the kernel's own line is the last frame in a .cu or test file that
    // differs.
    for (auto frame = frames.rbegin(); frame != frames.rend(); ++frame) {
      const std::string file = frame->substr(0, frame->rfind(':'));
      const bool launcher = file.find("/usr/") == 0 || file.find("launch.cuh") != std::string::npos;
      if (launcher) continue;
      if (*frame != frames.front()) result.caller = *frame;
      break;
    }
  }
  return cache[address] = result;
}

}  // namespace graft::simt
