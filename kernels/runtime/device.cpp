// Which CUDA devices there are, and whether they can be used.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <memory>
#include <mutex>
#include <vector>

#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/cuda_check.h>
#include <graft/kernels/runtime/fork.h>

namespace graft::runtime {

namespace {

/// What asking the driver gave, once.
struct Devices {
  int count = 0;
  std::string why_none;  // when count is 0
  std::vector<CudaProperties> properties;

  Devices() {
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status != cudaSuccess) count = 0;
    if (count == 0) {
      why_none = explain(status);
      cudaGetLastError();  // a failed question must not look like a failed call later
      return;
    }
    for (int i = 0; i < count; ++i) {
      cudaDeviceProp p{};
      CudaProperties& mine = properties.emplace_back();
      if (cudaGetDeviceProperties(&p, i) != cudaSuccess) {
        cudaGetLastError();
        continue;  // major stays 0: refused below
      }
      mine = {p.name, p.major, p.minor, p.multiProcessorCount, p.totalGlobalMem, p.sharedMemPerBlockOptin};
    }
  }

  static std::string explain(cudaError_t status) {
    int driver = 0;
    const bool has_driver = cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0;
    if (!has_driver)
      return "no NVIDIA driver is installed on this machine (libcuda.so was not found); use Device::cpu()";
    if (status == cudaErrorInsufficientDriver)
      return cat("the NVIDIA driver supports CUDA ", driver / 1000, ".", driver % 1000 / 10,
                 ", graft was built with CUDA ", CUDART_VERSION / 1000, ".", CUDART_VERSION % 1000 / 10,
                 ": update the driver, or use Device::cpu()");
    if (status == cudaSuccess || status == cudaErrorNoDevice)
      return "the NVIDIA driver sees no GPU (is CUDA_VISIBLE_DEVICES set to nothing?); use Device::cpu()";
    return cat("cudaGetDeviceCount: ", cudaGetErrorName(status), " (", cudaGetErrorString(status),
               "); use Device::cpu()");
  }
};

ForkMark asked;  // the driver, which starts with the first question

const Devices& devices() {
  static const auto* const all = [] {  // never destroyed: a program may use the device while it ends
    asked.set();
    return new Devices;
  }();
  return *all;
}

constexpr const char* kLostByFork =
    "this process was made by fork() after its parent had used CUDA (asking for devices included), which does not work "
    "in a child; start a program of its own (exec), fork before CUDA is used, or use Device::cpu()";

}  // namespace

int cuda_device_count() { return devices().count; }

std::string cuda_unavailable(int index) {
  try {
    const Devices& all = devices();
    if (all.count == 0) return all.why_none;
    if (asked.lost()) return kLostByFork;
    if (index < 0 || index >= all.count)
      return cat("there is no cuda:", index, ": this machine has ", all.count,
                 all.count == 1 ? " CUDA device" : " CUDA devices", ", expected cuda:0",
                 all.count == 1 ? std::string() : cat(" to cuda:", all.count - 1));
    const CudaProperties& p = all.properties[static_cast<std::size_t>(index)];
    const std::string why = no_code_for(GRAFT_CUDA_ARCHITECTURES, p.major, p.minor);
    return why.empty() ? why : cat("cuda:", index, " (", p.name, ") ", why);
  } catch (const std::exception& error) {
    return error.what();
  }
}

const CudaProperties& cuda_properties(int index) {
  const Devices& all = devices();
  check(index >= 0 && index < all.count, "cuda_properties: ", cuda_unavailable(index));
  return all.properties[static_cast<std::size_t>(index)];
}

bool cuda_lost_by_fork() noexcept { return asked.lost(); }

void require_device(int device) {
  constexpr int kKnown = 32;
  static std::atomic<bool> usable[kKnown] = {};
  if (device >= 0 && device < kKnown && usable[device].load(std::memory_order_relaxed) && !asked.lost()) return;
  const std::string why = cuda_unavailable(device);
  check(why.empty(), "Device::cuda(", device, ") cannot be used: ", why);
  if (device < kKnown) usable[device].store(true, std::memory_order_relaxed);
}

namespace {

// Devices that were made current, and so have a context; bit 31 stands for all beyond.
std::atomic<std::uint32_t> in_use{0};

std::uint32_t bit_of(int device) { return std::uint32_t{1} << std::clamp(device, 0, 31); }

void note_use(int device) {
  if ((in_use.load(std::memory_order_relaxed) & bit_of(device)) == 0)
    in_use.fetch_or(bit_of(device), std::memory_order_relaxed);
}

}  // namespace

void make_current(int device) {
  check(!asked.lost(), "Device::cuda(", device, ") cannot be used: ", kLostByFork);
  note_use(device);
  int now = -1;  // asked each time: other code of the program may change it
  if (cudaGetDevice(&now) == cudaSuccess && now == device) return;
  GRAFT_CUDA(cudaSetDevice, device);
}

void try_make_current(int device) noexcept {
  if (asked.lost()) return;
  int now = -1;
  if (cudaGetDevice(&now) == cudaSuccess && now == device) return;
  if (cudaSetDevice(device) != cudaSuccess) cudaGetLastError();
}

void make_current_in_use() {
  check(!asked.lost(), kLostByFork);
  const std::uint32_t used = in_use.load(std::memory_order_relaxed);
  int now = 0;
  if (used == 0 || (cudaGetDevice(&now) == cudaSuccess && (used & bit_of(now)) != 0)) return;
  GRAFT_CUDA(cudaSetDevice, std::countr_zero(used));
}

}  // namespace graft::runtime

namespace graft {

Device Device::best() { return runtime::cuda_unavailable(0).empty() ? Device::cuda(0) : Device::cpu(); }

}  // namespace graft
