#include <graft/core/cuda.h>

#include <graft/core/stream.h>
#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/cuda_launch.h>

namespace graft::cuda {
namespace {

int index_of(Device device, const char* call) {
  check(device.is_cuda(), "cuda::", call, ": the device is ", device, ", expected a CUDA device");
  return device.index;
}

}  // namespace

bool is_available(int index) { return why_not(index).empty(); }
std::string why_not(int index) { return runtime::cuda_unavailable(index); }
int device_count() { return runtime::cuda_device_count(); }
std::string device_name(int index) { return runtime::cuda_properties(index).name; }

void synchronize(Device device) {
  if (device.is_cuda()) runtime::synchronize(current_stream(device));
}

void set_synchronous(bool on) { runtime::set_synchronous_launches(on); }

MemoryStats memory_stats(Device device) { return runtime::device_memory_stats(index_of(device, "memory_stats")); }
void reset_peak_memory(Device device) { runtime::device_reset_peak(index_of(device, "reset_peak_memory")); }
void release_cache(Device device) { runtime::device_release_cache(index_of(device, "release_cache")); }

void record_stream(const Tensor& tensor, const graft::Stream& stream) {
  check(tensor.device() == stream.device, "cuda::record_stream: the tensor is ", tensor, ", the stream of ",
        stream.device);
  runtime::device_record_stream(tensor.storage()->data(), stream);
}

}  // namespace graft::cuda
