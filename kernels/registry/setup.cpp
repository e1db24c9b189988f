#include <graft/kernels/registry/setup.h>

#include <graft/kernels/registry/registry.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/parallel.h>
#ifdef GRAFT_WITH_ONEDNN
#include <graft/kernels/cpu/simd/kernels.h>
#endif

namespace graft {

void check_settings() {
  num_threads();
#ifdef GRAFT_WITH_ONEDNN
  kernels::cpu::vector_kernels();
#endif
  runtime::check_cuda_settings();
}

std::string slow_cpu_notice() {
  for (const kernels::BackendTable* table : kernels::backends(DeviceType::cpu))
    if (table->id == kernels::BackendId::cpu) return {};
  return "this build of graft is without oneDNN: what runs on the CPU runs on the slow reference backend, many times "
         "slower; to have the fast one, install oneDNN (Debian: libdnnl-dev) and build again";
}

}  // namespace graft
