#include <graft/kernels/vendor/libraries.h>

#include <dlfcn.h>

#include <cstdlib>
#include <sstream>
#include <vector>

#include <graft/kernels/api/error.h>

namespace graft::kernels::vendor {
namespace {

// A library without its path is what the system's loader looks for.
std::vector<std::string> places(const std::string& library) {
  if (const char* only = std::getenv("GRAFT_VENDOR_LIBRARIES"); only != nullptr && *only != '\0')
    return {cat(only, "/", library)};
  std::vector<std::string> all = {library};
  std::string folder;
  for (std::stringstream built_with(GRAFT_VENDOR_FOLDERS); std::getline(built_with, folder, ':');)
    all.push_back(cat(folder, "/", library));
  return all;
}

void* open_library(const std::string& library, const char* what, std::string& missing) {
  std::string tried;
  for (const std::string& place : places(library)) {
    if (void* handle = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL)) return handle;
    const char* why = dlerror();
    tried += cat(tried.empty() ? "" : "; ", why != nullptr ? why : place.c_str());
  }
  missing = cat(what, " cannot be opened (", tried, "): install it, or set GRAFT_VENDOR_LIBRARIES to the folder that ",
                library, " lies in");
  return nullptr;
}

template <class Function>
void find(void* library, const char* name, const char* file, Function& function, std::string& missing) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr && missing.empty())
    missing = cat(file, " has no function ", name, ": it is too old or too new");
}

Libraries open_all() {
  Libraries all;
  const std::string lt_file = cat("libcublasLt.so.", CUBLAS_VER_MAJOR), dnn_file = cat("libcudnn.so.", CUDNN_MAJOR);
  void* lt = open_library(lt_file, "cuBLASLt", all.missing);
  if (lt == nullptr) return all;
  void* dnn = open_library(dnn_file, "cuDNN", all.missing);
  if (dnn == nullptr) return all;
#define GRAFT_FIND(function) find(lt, #function, lt_file.c_str(), all.function, all.missing);
  GRAFT_CUBLASLT_FUNCTIONS(GRAFT_FIND)
#undef GRAFT_FIND
#define GRAFT_FIND(function) find(dnn, #function, dnn_file.c_str(), all.function, all.missing);
  GRAFT_CUDNN_FUNCTIONS(GRAFT_FIND)
#undef GRAFT_FIND
  return all;
}

}  // namespace

const Libraries& libraries() {
  static const auto* const all = new Libraries(open_all());  // never destroyed: a program may run ops while it ends
  return *all;
}

void check_status(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) [[likely]]
    return;
  const Libraries& all = libraries();
  fail(call, ": ", all.cublasLtGetStatusName(status), " (", all.cublasLtGetStatusString(status), ")");
}

void check_status(cudnnStatus_t status, const char* call) {
  if (status == CUDNN_STATUS_SUCCESS) [[likely]]
    return;
  const Libraries& all = libraries();
  char more[512] = "";
  all.cudnnGetLastErrorString(more, sizeof more);
  fail(call, ": ", all.cudnnGetErrorString(status),
       more[0] != '\0' ? cat(" (", static_cast<const char*>(more), ")") : "");
}

}  // namespace graft::kernels::vendor
