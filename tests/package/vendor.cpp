// Uses the vendor's backend of the installed package where there is one; else fails unless it is told why not.
#include <graft/graft.h>
#include <graft/kernels/vendor/vendor.h>

#include <cstdio>

int main() {
  using namespace graft;
  const kernels::Support support = vendor::enable();
  if (!support.ok) {
    std::printf("%s\n", support.reason.c_str());
    return support.reason.empty() ? 1 : 0;
  }
  const Tensor a = Tensor::from({1.0f, 2.0f, 3.0f, 4.0f}, {2, 2}, Device::cuda());
  const kernels::BackendScope scope(kernels::BackendId::vendor);
  return matmul(a, a).to_vector<float>() == std::vector<float>{7, 10, 15, 22} ? 0 : 1;
}
