// process_case <case> [<file>]
#include "cases.h"

namespace graft::test {

int run_setting_case(const std::string& name) {
  if (name == "setting_first_op") {
    say(cat("loss ", Job("").train()));
    return 0;
  }
  if (name != "setting_threads") return -1;
  say(cat("threads ", num_threads()));
  return 0;
}

}  // namespace graft::test

int main(int argc, char** argv) {
  using namespace graft::test;
  const std::string name = argc > 1 ? argv[1] : "", file = argc > 2 ? argv[2] : "";
  try {
    for (const int code : {run_exit_case(name, file), run_fork_case(name, file), run_setting_case(name)})
      if (code >= 0) return code;
  } catch (const graft::Error& error) {
    say(std::string("error: ") + error.what());
    return 1;
  }
  std::fprintf(stderr, "process_case: unknown case '%s'\n", name.c_str());
  return 2;
}
