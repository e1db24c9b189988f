// The library is used while the program ends: by handlers of std::atexit, and by destructors of static objects that are
// older than the first op, after the main thread's thread_local objects are gone.
#include <cmath>
#include <cstdlib>
#include <thread>

#include "cases.h"

namespace graft::test {
namespace {

struct AtEnd {
  std::function<void()> work;
  ~AtEnd() {
    if (work) work();
  }
};
AtEnd of_static_object;

Job* job = nullptr;  // never destroyed
double loss_before = 0;

void whole_job() {
  guarded([] {
    const double loss = job->evaluate();
    check(std::abs(loss - loss_before) < 1e-4 * loss_before, "the loss was ", loss_before, " and is ", loss);
    job->train();
    job->save();
    say("end: evaluated, trained and saved");
  });
}

void first_job() {
  guarded([] {
    job = new Job("");
    say(job->train() > 0 ? "end: trained" : "end: no loss");
  });
}

}  // namespace

int run_exit_case(const std::string& name, const std::string& file) {
  if (name == "exit_atexit" || name == "exit_other_thread") {
    std::atexit(whole_job);  // the very first thing: it is called after everything that the library may register
  } else if (name == "exit_static") {
    of_static_object.work = whole_job;
  } else if (name == "exit_first_op_in_atexit") {
    std::atexit(first_job);
    return 0;
  } else if (name == "exit_first_op_in_static") {
    of_static_object.work = first_job;
    return 0;
  } else {
    return -1;
  }
  set_num_threads(2);
  job = new Job(file);
  job->train();
  loss_before = job->evaluate();
  if (name == "exit_other_thread") {
    std::thread([] {
      job->evaluate();
      std::exit(0);
    }).join();
  }
  return 0;
}

}  // namespace graft::test
