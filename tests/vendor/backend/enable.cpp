// Makes the vendor's rows known before the op cases run: over the stand-ins for the libraries where the device is
// emulated, over the real ones with a GPU.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/vendor/vendor.h>

namespace graft::test {
namespace {

class VendorBackend : public testing::Environment {
 public:
  void SetUp() override {
#ifdef GRAFT_STAND_INS
    setenv("GRAFT_VENDOR_LIBRARIES", GRAFT_STAND_INS, 1);
#endif
    const kernels::Support support = vendor::enable();
#ifdef GRAFT_STAND_INS
    EXPECT_TRUE(support.ok || !runtime::cuda_unavailable().empty()) << support.reason;
#endif
    if (!support.ok) std::printf("the vendor's rows are not run: %s\n", support.reason.c_str());
  }
};

[[maybe_unused]] const testing::Environment* const backend = testing::AddGlobalTestEnvironment(new VendorBackend);

}  // namespace
}  // namespace graft::test
