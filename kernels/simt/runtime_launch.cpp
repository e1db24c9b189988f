// Launches: the device's limits, what a kernel has been allowed beyond them, and the way of a grid into a stream.
//
// Static and dynamic shared memory of more than 48 KB together must be opted into, kernel by kernel. A kernel's static
// variables become known here only when its first block makes them. Where they are known a launch that has not opted in
// is refused as on a device; where not, the block that makes one too many is reported.
#include <graft/kernels/simt/checker.h>
#include <graft/kernels/simt/runtime_state.h>

#include <algorithm>
#include <map>

namespace graft::simt {
namespace {

using namespace runtime;

std::string text(const dim3& d) { return std::to_string(d.x) + "x" + std::to_string(d.y) + "x" + std::to_string(d.z); }

constexpr std::size_t kForAll = 48 * 1024;

struct Function {
  std::size_t statics = 0, dynamic = 0;  // static bytes seen, dynamic ones allowed
  bool ran = false, opted_in = false;
};
std::map<const void*, Function>& functions() {
  static auto* const all = new std::map<const void*, Function>;
  return *all;
}

struct Refusal {
  cudaError_t error = cudaSuccess;
  std::string why;
};

Refusal refusal_of(const LaunchDims& dims) {
  const dim3 &grid = dims.grid, &block = dims.block, &cluster = dims.cluster;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || block.x == 0 || block.y == 0 || block.z == 0 || cluster.x == 0 ||
      cluster.y == 0 || cluster.z == 0)
    return {cudaErrorInvalidConfiguration, "a size is 0"};
  if (grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535)
    return {cudaErrorInvalidConfiguration, "a grid of at most 2147483647x65535x65535 blocks is possible"};
  const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
  if (block.x > 1024 || block.y > 1024 || block.z > 64 || threads > 1024)
    return {cudaErrorInvalidConfiguration, "a block of at most 1024 threads, 1024x1024x64 at most, is possible"};
  if (threads % 32 != 0)
    return {cudaErrorNotSupported, "kernels run in whole warps: the threads of a block must be a multiple of 32"};
  if (dims.smem > options().shared_limit)
    return {cudaErrorInvalidValue, "a block may have " + std::to_string(options().shared_limit) +
                                       " bytes of shared memory, not " + std::to_string(dims.smem)};
  if (const Function& function = functions()[dims.kernel]; function.opted_in) {
    if (dims.smem > function.dynamic)
      return {cudaErrorInvalidValue, "the kernel opted in to " + std::to_string(function.dynamic) +
                                         " bytes of dynamic shared memory, not " + std::to_string(dims.smem)};
  } else if (function.statics + dims.smem > kForAll) {
    return {cudaErrorInvalidValue, std::to_string(function.statics) + " bytes of static and " +
                                       std::to_string(dims.smem) +
                                       " of dynamic shared memory are more than 48 KB and were not opted in to"};
  }
  if (std::uint64_t{cluster.x} * cluster.y * cluster.z > 8)
    return {cudaErrorInvalidClusterSize, "a cluster of at most 8 blocks is possible"};
  if (grid.x % cluster.x != 0 || grid.y % cluster.y != 0 || grid.z % cluster.z != 0)
    return {cudaErrorInvalidConfiguration, "the grid does not consist of whole clusters"};
  return {};
}

void run(const LaunchDims& dims, const std::string& name, const std::function<void()>& body) {
  clear_report();
  checker::set_active(options().check);
  LaunchDims named = dims;
  named.name = name.c_str();
  take_static_bytes();
  run_grid(named, body);
  if (dims.kernel != nullptr) {
    Function& function = functions()[dims.kernel];
    function.statics = std::max(function.statics, take_static_bytes());
    function.ran = true;
  }
  if (!last_report().empty()) fail_for_good(last_report());
}

}  // namespace

void runtime::allow_dynamic_shared(const void* kernel, std::size_t bytes) {
  Function& function = functions()[kernel];
  function.opted_in = true;
  function.dynamic = bytes;
}

std::size_t runtime::static_shared_of(const void* kernel) {
  const auto found = functions().find(kernel);
  return found != functions().end() && found->second.ran ? found->second.statics : kForAll;
}

int enqueue(void* stream, std::function<void()> operation, const char* what) {
  GRAFT_SIMT_ENTER();
  CUstream_st* const target = find_stream(static_cast<cudaStream_t>(stream));
  if (target == nullptr) return refuse(cudaErrorInvalidResourceHandle, "no such stream (destroyed?)");
  return queue(*target, std::move(operation), cudaGraphNodeTypeHost, what);
}

int enqueue_launch(void* stream, const LaunchDims& dims, std::function<void()> body) {
  GRAFT_SIMT_ENTER();
  CUstream_st* const target = find_stream(static_cast<cudaStream_t>(stream));
  if (target == nullptr) return refuse(cudaErrorInvalidResourceHandle, "no such stream (destroyed?)");
  const std::string name = dims.name != nullptr ? dims.name : "kernel";
  if (Refusal refusal = refusal_of(dims); refusal.error != cudaSuccess) {
    const std::string why = name + ", grid " + text(dims.grid) + ", block " + text(dims.block) + ", cluster " +
                            text(dims.cluster) + ": " + refusal.why;
    if (target->capture != nullptr) invalidate(*target->capture, why);
    return refuse(refusal.error, why);
  }
  LaunchDims allowed = dims;
  allowed.shared_limit = functions()[dims.kernel].opted_in ? options().shared_limit : kForAll;
  const auto work = [allowed, name, body = std::move(body)] { run(allowed, name, body); };
  return queue(*target, work, cudaGraphNodeTypeKernel, name.c_str());
}

}  // namespace graft::simt
