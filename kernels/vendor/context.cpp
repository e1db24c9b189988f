#include <graft/kernels/vendor/context.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/cuda_check.h>
#include <graft/kernels/runtime/of_thread.h>
#include <graft/kernels/vendor/conv_plan.h>
#include <graft/kernels/vendor/matmul_plan.h>

namespace graft::kernels::vendor {
namespace {

// Contexts of threads that have ended, for those to come. Never destroyed: the libraries' own state may be gone when
// the process ends, and so may the device.
struct Idle {
  std::mutex mutex;
  std::map<int, std::vector<std::unique_ptr<Context>>> contexts;
};
Idle& idle() {
  static Idle* instance = new Idle;
  return *instance;
}

struct OfThread {
  std::map<int, std::unique_ptr<Context>> contexts;

  ~OfThread() {
    const std::lock_guard lock(idle().mutex);
    for (auto& [device, mine] : contexts) idle().contexts[device].push_back(std::move(mine));
  }

  Context& get(int device) {
    std::unique_ptr<Context>& mine = contexts[device];
    if (mine == nullptr) {
      {
        const std::lock_guard lock(idle().mutex);
        auto& waiting = idle().contexts[device];
        if (!waiting.empty()) {
          mine = std::move(waiting.back());
          waiting.pop_back();
        }
      }
      if (mine == nullptr) mine = std::make_unique<Context>(device);
    }
    return *mine;
  }
};

std::atomic<graft::vendor::Engines> chosen{graft::vendor::Engines::strict};

}  // namespace

Context::Context(int device) {
  check(libraries().missing.empty(), libraries().missing);
  // Starting up takes memory of the device, which a capture forbids and which is no part of it.
  const runtime::OutsideCapture outside;
  runtime::make_current(device);
  GRAFT_VENDOR(cublasLtCreate, &blas);
  try {
    GRAFT_VENDOR(cudnnCreate, &dnn);
  } catch (const Error&) {
    libraries().cublasLtDestroy(blas);
    throw;
  }
}

Context::~Context() = default;

Context& context(const Stream& stream) {
  thread_local OfThread* mine = nullptr;
  Context& found = runtime::of_thread(mine, [] { return std::make_unique<OfThread>(); }).get(stream.device.index);
  runtime::make_current(stream.device.index);
  GRAFT_VENDOR(cudnnSetStream, found.dnn, static_cast<cudaStream_t>(stream.native));
  return found;
}

graft::vendor::Engines engines() { return chosen.load(std::memory_order_relaxed); }
void set_engines(graft::vendor::Engines engines) { chosen.store(engines, std::memory_order_relaxed); }

}  // namespace graft::kernels::vendor
