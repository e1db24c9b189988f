#include <graft/kernels/runtime/of_thread.h>

#include <vector>

namespace graft::runtime::detail {
namespace {

struct Destruction {
  void (*destroy)(void*);
  void* slot;
};

thread_local bool ended = false;  // still there when Ends is not

struct Ends {
  std::vector<Destruction> all;
  ~Ends() {
    ended = true;
    for (auto end = all.rbegin(); end != all.rend(); ++end) end->destroy(end->slot);
  }
};

}  // namespace

void at_thread_end(void (*destroy)(void*), void* slot) {
  if (ended) return;
  thread_local Ends ends;
  ends.all.push_back({destroy, slot});
}

}  // namespace graft::runtime::detail
