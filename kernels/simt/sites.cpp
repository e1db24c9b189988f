// Which barriers the kernels have, learnt by running them, and the one that a negative test takes away.
#include <graft/kernels/simt/group.h>

#include <algorithm>

namespace graft::simt {
namespace {

// Seen lately in this kernel: nearly every barrier finds itself here, so that noting a site costs a comparison.
struct Seen {
  const char* file;
  int line;
};
Seen seen[256];

std::vector<Site>& all() {
  static auto* const sites = new std::vector<Site>;
  return *sites;
}

std::string kernel_name;
bool omits = false;

void note(Loc where, const char* what) {
  const OutsideKernel outside;
  const Site site{where.file, where.line, what, kernel_name};
  if (std::find(all().begin(), all().end(), site) == all().end()) all().push_back(site);
}

}  // namespace

std::vector<Site> sites() { return all(); }

void clear_sites() {
  all().clear();
  std::fill(std::begin(seen), std::end(seen), Seen{});
}

void prepare_sites(const char* kernel) {
  if (kernel == nullptr) kernel = "";
  if (kernel_name != kernel) {
    std::fill(std::begin(seen), std::end(seen), Seen{});
    kernel_name = kernel;
  }
  const Site& omit = settings.omit;
  omits = omit.line != 0 && (omit.kernel.empty() || omit.kernel == kernel_name);
}

bool omitted(Loc where, const char* what) {
  Seen& slot =
      seen[(static_cast<unsigned>(where.line) ^ reinterpret_cast<std::uintptr_t>(where.file) >> 4) % std::size(seen)];
  if (slot.line != where.line || slot.file != where.file) {
    slot = {where.file, where.line};
    note(where, what);
  }
  return omits && settings.omit.line == where.line && settings.omit.file == where.file;
}

}  // namespace graft::simt
