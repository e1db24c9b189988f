// How large the library is that programs link.
#include <gtest/gtest.h>

#include <filesystem>

namespace {

#ifdef GRAFT_LIBRARY
TEST(Size, TheLibraryWithAllItsKernelsIsBelowThirtyMegabytes) {
  EXPECT_LT(std::filesystem::file_size(GRAFT_LIBRARY), 30'000'000u);
  EXPECT_GT(std::filesystem::file_size(GRAFT_LIBRARY), 3'000'000u) << "are the kernels in it?";
}
#endif

}  // namespace
