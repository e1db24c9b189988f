#include <graft/kernels/cuda/table.h>

#include <graft/kernels/cuda/rows.h>

namespace graft::kernels::cuda {
namespace {

BackendTable make_table() {
  BackendTable table;
  table.id = BackendId::cuda;
  table.device = DeviceType::cuda;
  add_unary(table);
  add_binary(table);
  add_copy(table);
  add_matmul(table);
  add_conv2d(table);
  add_softmax(table);
  add_cross_entropy(table);
  add_pool(table);
  add_batch_norm(table);
  add_layer_norm(table);
  add_reduce(table);
  add_squared_norm(table);
  add_gather(table);
  add_random(table);
  add_optim(table);
  add_affine(table);
  add_training(table);
  add_chain(table);
  return table;
}

}  // namespace

const BackendTable& table() {
  static const BackendTable instance = make_table();
  return instance;
}

}  // namespace graft::kernels::cuda
