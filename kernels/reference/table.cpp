#include <graft/kernels/reference/table.h>

#include <graft/kernels/reference/internal.h>

namespace graft::kernels::reference {

const BackendTable& table() {
  static const BackendTable instance = [] {
    BackendTable t;
    t.id = BackendId::reference;
    t.device = DeviceType::cpu;
    add_elementwise(t);
    add_matmul(t);
    add_conv2d(t);
    add_softmax(t);
    add_pool(t);
    add_norm(t);
    add_reduce(t);
    add_gather(t);
    add_random(t);
    add_optim(t);
    add_affine(t);
    add_training(t);
    add_chain(t);
    return t;
  }();
  return instance;
}

}  // namespace graft::kernels::reference
