// What the tests of execution share: a schedule of threads and of asynchronous operations, and reports that name the
// line that a kernel marks.
#pragma once

#include "simt/emulated.h"

#include <cmath>
#include <random>

#include <graft/kernels/runtime/tensor_map.h>
#include <graft/kernels/simt/checker.h>

namespace graft::simt {

/// The line of the call that a report must name: MARK(__syncthreads()).
inline int marked_line = 0;
#define MARK(...) (::graft::simt::marked_line = __LINE__, __VA_ARGS__)

struct Schedule {
  Order order;
  bool lazy;
};
inline std::string schedule_name(const testing::TestParamInfo<Schedule>& info) {
  const Order order = info.param.order;
  return std::string(order == Order::Forward   ? "forward"
                     : order == Order::Reverse ? "reverse"
                                               : "random") +
         (info.param.lazy ? "_lazy" : "_eager");
}
inline const auto kSchedules =
    testing::Values(Schedule{Order::Forward, true}, Schedule{Order::Forward, false}, Schedule{Order::Reverse, true},
                    Schedule{Order::Reverse, false}, Schedule{Order::Random, true}, Schedule{Order::Random, false});

/// Under each schedule.
class Exec : public Emulated, public testing::WithParamInterface<Schedule> {
 protected:
  Exec() {
    options().order = GetParam().order;
    options().lazy_async = GetParam().lazy;
    options().seed = 5;
    marked_line = 0;
  }
  /// Whether the kernels are watched; what only the checker sees is asked for where they are.
  static bool checked() {
    checker::set_active(options().check);
    return checker::enabled();
  }
  static void expect_success(cudaError_t launched) {
    EXPECT_EQ(launched, cudaSuccess) << text_of(cudaErrorLaunchFailure);
    reset();
  }
  template <class... Matchers>
  static void expect_report(const char* file, cudaError_t launched, Matchers... matchers) {
    EXPECT_EQ(launched, cudaErrorLaunchFailure) << "nothing was reported";
    EXPECT_THAT(text_of(cudaErrorLaunchFailure),
                testing::AllOf(testing::HasSubstr(std::string(file) + ":" + std::to_string(marked_line) + ": "),
                               testing::HasSubstr("block ("), testing::HasSubstr("thread ("), matchers...));
    reset();
  }
};

inline LaunchDims clustered(unsigned blocks, unsigned threads, unsigned cluster, std::size_t shared_bytes = 0) {
  LaunchDims d = dims(blocks, threads, shared_bytes);
  d.cluster = dim3(cluster);
  return d;
}

/// Small multiples of 1/8, which sums of a few hundred products keep exactly.
inline std::vector<float> random_values(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& v : values) v = static_cast<float>(static_cast<int>(random() % 33) - 16) / 8;
  return values;
}
template <class T>
std::vector<T> as(const std::vector<float>& values) {
  std::vector<T> result(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) result[i] = static_cast<T>(values[i]);
  return result;
}

/// A dense tensor, innermost size first.
inline runtime::TensorLayout dense(const void* data, DType dtype, std::initializer_list<std::int64_t> sizes) {
  runtime::TensorLayout t;
  t.data = data;
  t.dtype = dtype;
  auto stride = static_cast<std::int64_t>(size_of(dtype));
  for (const std::int64_t size : sizes) {
    const auto d = static_cast<std::size_t>(t.rank++);
    t.sizes[d] = size;
    t.strides[d] = stride;
    stride *= size;
  }
  return t;
}

}  // namespace graft::simt
