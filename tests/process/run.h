// Runs a program with an environment of its own and collects what it says.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/temporary_folder.h"

namespace graft::test {

struct Ended {
  int code = -1;    // exit code; 128 + n where signal n ended it, as shells have it
  std::string out;  // stdout and stderr together
};

/// Variables with a value are set, those without are taken away. The program runs in a folder of its own and is ended
/// after `seconds`.
inline Ended run_program(const std::vector<std::string>& command,
                         const std::map<std::string, const char*>& environment = {}, unsigned seconds = 250) {
  const TemporaryFolder folder;
  const std::string log = folder / "log";
  std::vector<char*> raw;
  for (const std::string& word : command) raw.push_back(const_cast<char*>(word.c_str()));
  raw.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    const int file = open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    dup2(file, STDOUT_FILENO);
    dup2(file, STDERR_FILENO);
    for (const auto& [name, value] : environment)
      value != nullptr ? setenv(name.c_str(), value, 1) : unsetenv(name.c_str());
    alarm(seconds);
    if (chdir(folder.path().c_str()) == 0) execv(raw[0], raw.data());
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  Ended ended;
  ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  ended.out = get_file(log);
  return ended;
}

}  // namespace graft::test
