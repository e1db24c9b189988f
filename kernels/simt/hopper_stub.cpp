#include <graft/kernels/simt/group.h>
namespace graft::simt {
void prepare_mbarriers() {}
void prepare_tma() {}
bool perform_one_load() { return false; }
void check_stores_waited(const Thread&) {}
void prepare_wgmma() {}
void check_wgmma_waited(const Thread&) {}
}  // namespace graft::simt
