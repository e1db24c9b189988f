// Evaluation of any forward function over a loader's batches. Internal to transfer.
#pragma once

#include <functional>

#include <graft/core/data/loader.h>
#include <graft/transfer/evaluate.h>

namespace graft::transfer {

Evaluation score(const std::function<Tensor(const Tensor&)>& forward, data::Loader& loader);

}  // namespace graft::transfer
