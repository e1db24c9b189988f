#include <graft/apps/mnist_finetune/methods.h>
#include <graft/kernels/api/error.h>

namespace graft::demo {

const char* key(Method method) {
  constexpr const char* keys[] = {"scratch", "random_frozen", "head_only", "all_layers", "head_then_all"};
  return keys[static_cast<int>(method)];
}

const char* title(Method method) {
  constexpr const char* titles[] = {"from scratch", "random frozen trunk", "option 1: head only",
                                    "option 2: all layers", "option 2: head, then all"};
  return titles[static_cast<int>(method)];
}

std::vector<Method> parse_strategy_option(const std::string& text) {
  if (text == "all") return {Method::head_only, Method::all_layers};
  for (const Method method : {Method::head_only, Method::all_layers, Method::head_then_all})
    if (text == key(method)) return {method};
  fail("--strategy: unknown strategy '", text, "', expected head_only, all_layers, head_then_all or all");
}

}  // namespace graft::demo
