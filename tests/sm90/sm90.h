// What the tests of Hopper's instructions share. They run on a GPU of compute capability 9.0, and on the emulator.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/tensor_map.h>

#include "sm90/kernels/launches.h"
#include "support/emulated_device.h"
#include "support/time_limit.h"

namespace graft::test::sm90 {

inline Stream stream() { return runtime::default_stream(0); }

/// An array on the device.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<T>& values)
      : count_(values.size()), data_(runtime::device_allocate(bytes(), stream())) {
    runtime::copy_to_device(data_, values.data(), bytes(), stream());
  }
  /// Filled with bytes of ones (NaN), so that what nobody writes is seen.
  explicit DeviceArray(std::size_t count) : count_(count), data_(runtime::device_allocate(bytes(), stream())) {
    runtime::set_bytes(data_, 0xff, bytes(), stream());
  }
  ~DeviceArray() { runtime::device_free(data_, stream()); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  operator T*() const { return static_cast<T*>(data_); }
  std::vector<T> values() const {
    std::vector<T> result(count_);
    runtime::copy_to_host(result.data(), data_, bytes(), stream());
    runtime::synchronize(stream());
    return result;
  }

 private:
  std::size_t bytes() const { return count_ * sizeof(T); }
  std::size_t count_;
  void* data_;
};

/// Skips where the device has no such instructions. A kernel that hangs ends the program (support/time_limit.h): a test
/// has 10 seconds on a GPU, where each takes far less than one.
class Sm90Test : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = runtime::cuda_unavailable(); !why.empty()) GTEST_SKIP() << why;
    const runtime::CudaProperties& p = runtime::cuda_properties(0);
    if (p.major != 9 || p.minor != 0)
      GTEST_SKIP() << p.name << " has compute capability " << p.major << "." << p.minor
                   << "; code for sm_90a runs on 9.0 only";
    const auto* const test = testing::UnitTest::GetInstance()->current_test_info();
    limit_ = std::make_unique<TimeLimit>(std::string(test->test_suite_name()) + "." + test->name(),
                                         std::chrono::seconds(device_is_emulated() ? 280 : 10));
  }
  void TearDown() override { limit_.reset(); }
  static bool emulated() { return device_is_emulated(); }

 private:
  std::unique_ptr<TimeLimit> limit_;
};

/// Small multiples of 1/8, which sums of many products keep exactly.
inline std::vector<float> random_values(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& v : values) v = static_cast<float>(static_cast<int>(random() % 33) - 16) / 8;
  return values;
}

}  // namespace graft::test::sm90
