// A consumer's shared library with graft inside: what it offers is this function.
#include <graft/graft.h>

double consumers_own_sum() { return graft::sum(graft::Tensor::ones({3})).item(); }
