#include "stand_in.h"

namespace graft::stand_in {
State& state() {
  static auto* instance = new State;
  return *instance;
}
}  // namespace graft::stand_in

extern "C" {
int stand_in_calls(const char* function) { return graft::stand_in::state().calls[function]; }
void stand_in_fail(const char* function, int times) { graft::stand_in::state().fail[function] = times; }
void stand_in_slow(int candidate) { graft::stand_in::state().slow_candidate = candidate; }
int stand_in_last_candidate() { return graft::stand_in::state().last_candidate; }
}
