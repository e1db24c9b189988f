// Launches: the device's limits, and the way of a grid into a stream.
//
// Dynamic shared memory above 48 KB must be opted into on a real device, kernel by kernel. Here all that a block may
// have counts as opted in: launch.cuh is the only launcher, its other half always opts in, and a kernel's name is all
// that it tells the emulator.
#include <graft/kernels/simt/checker.h>
#include <graft/kernels/simt/runtime_state.h>

namespace graft::simt {
namespace {

using namespace runtime;

std::string text(const dim3& d) { return std::to_string(d.x) + "x" + std::to_string(d.y) + "x" + std::to_string(d.z); }

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
  run_grid(named, body);
  if (!last_report().empty()) fail_for_good(last_report());
}

}  // namespace

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
  const auto work = [dims, name, body = std::move(body)] { run(dims, name, body); };
  return queue(*target, work, cudaGraphNodeTypeKernel, name.c_str());
}

}  // namespace graft::simt
