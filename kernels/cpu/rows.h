// What each file of this folder adds to the backend's table.
#pragma once

#include <graft/kernels/api/table.h>

namespace graft::kernels::cpu {

void add_elementwise(BackendTable& table);
void add_copy(BackendTable& table);
void add_matmul(BackendTable& table);
void add_conv2d(BackendTable& table);
void add_softmax(BackendTable& table);
void add_pool(BackendTable& table);
void add_batch_norm(BackendTable& table);
void add_layer_norm(BackendTable& table);
void add_reduce(BackendTable& table);
void add_gather(BackendTable& table);
void add_random(BackendTable& table);
void add_optim(BackendTable& table);
void add_affine(BackendTable& table);
void add_chain(BackendTable& table);

}  // namespace graft::kernels::cpu
