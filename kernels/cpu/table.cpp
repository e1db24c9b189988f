#include <graft/kernels/cpu/table.h>

#include <graft/kernels/cpu/rows.h>

namespace graft::kernels::cpu {
namespace {

BackendTable make_table() {
  BackendTable table;
  table.id = BackendId::cpu;
  table.device = DeviceType::cpu;
  add_elementwise(table);
  add_copy(table);
  add_matmul(table);
  add_conv2d(table);
  add_softmax(table);
  add_pool(table);
  add_batch_norm(table);
  add_layer_norm(table);
  add_reduce(table);
  add_gather(table);
  add_random(table);
  add_optim(table);
  add_affine(table);
  add_chain(table);
  return table;
}

}  // namespace

const BackendTable& table() {
  static const BackendTable instance = make_table();
  return instance;
}

}  // namespace graft::kernels::cpu
