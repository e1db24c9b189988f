// What the tests of the CUDA device share.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include <graft/core/cuda.h>

namespace graft::test {

inline constexpr Device cpu = Device::cpu();
inline constexpr Device gpu = Device::cuda(0);

/// Skips where there is no device.
class DeviceTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = cuda::why_not(); !why.empty()) GTEST_SKIP() << why;
  }
};

}  // namespace graft::test
