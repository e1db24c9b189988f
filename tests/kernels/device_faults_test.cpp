// Faults that kernels find in their data: an index or a target outside, a division by zero. The device tells of them
// when the host next waits, with what the CPU's error says, stays usable, and touches no memory beside the tensors.
#include <algorithm>
#include <functional>
#include <limits>
#include <regex>
#include <string>
#include <vector>

#include <graft/kernels/reference/table.h>
#include <graft/kernels/registry/registry.h>
#include <graft/kernels/runtime/cuda.h>

#include "op_case.h"
#include "support/errors.h"

namespace graft::test {
namespace {

using namespace kernels;

constexpr std::int64_t kFar = std::numeric_limits<std::int64_t>::max();

struct Fault {
  std::string name;
  std::function<Launch(Maker&)> build;
};

void PrintTo(const Fault& fault, std::ostream* out) { *out << fault.name; }
std::string fault_name(const testing::TestParamInfo<Fault>& info) { return info.param.name; }

// `count` zeros, but for `value` at `position`.
std::vector<double> zeros_but(std::int64_t count, std::int64_t position, std::int64_t value) {
  std::vector<double> values(static_cast<std::size_t>(count));
  values[static_cast<std::size_t>(position)] = static_cast<double>(value);
  return values;
}

// The op with one bad entry in its index.
Fault index_select(const std::string& name, const Shape& x, int axis, std::int64_t n, std::int64_t position,
                   std::int64_t value) {
  return {"index_select_" + name, [=](Maker& make) {
            Shape y = x;
            y[axis] = n;
            const TensorRef index = make.values_of(DType::i64, {n}, zeros_but(n, position, value));
            return launch(IndexSelectArgs{make.input(x), index, make.output("y", y), axis});
          }};
}

Fault index_select_backward(const std::string& name, const Shape& x, int axis, std::int64_t n, std::int64_t position,
                            std::int64_t value) {
  return {"index_select_backward_" + name, [=](Maker& make) {
            Shape y = x;
            y[axis] = n;
            const TensorRef index = make.values_of(DType::i64, {n}, zeros_but(n, position, value));
            return launch(IndexSelectBackwardArgs{make.input(y), index, make.output("gx", x), axis});
          }};
}

Fault gather(const std::string& name, const Shape& x, const Shape& index_shape, int axis, std::int64_t position,
             std::int64_t value) {
  return {"gather_" + name, [=](Maker& make) {
            const TensorRef index =
                make.values_of(DType::i64, index_shape, zeros_but(index_shape.numel(), position, value));
            return launch(GatherArgs{make.input(x), index, make.output("y", index_shape), axis});
          }};
}

Fault gather_backward(const std::string& name, const Shape& x, const Shape& index_shape, int axis,
                      std::int64_t position, std::int64_t value) {
  return {"gather_backward_" + name, [=](Maker& make) {
            const TensorRef index =
                make.values_of(DType::i64, index_shape, zeros_but(index_shape.numel(), position, value));
            return launch(GatherBackwardArgs{make.input(index_shape), index, make.output("gx", x), axis});
          }};
}

Fault cross_entropy(const std::string& name, Reduction reduction, std::int64_t position, std::int64_t value) {
  return {"cross_entropy_" + name, [=](Maker& make) {
            CrossEntropyArgs args;
            args.logits = make.input({9, 5});
            args.targets = make.values_of(DType::i64, {9}, zeros_but(9, position, value));
            args.loss = make.wide_output("loss", reduction == Reduction::none ? Shape{9} : Shape{});
            args.row_max = make.wide_output("row_max", {9});
            args.log_sum = make.wide_output("log_sum", {9});
            args.scale = make.wide_output("scale", {});
            args.reduction = reduction;
            return launch(args);
          }};
}

Fault division(DType dtype) {
  return {std::string("division_") + graft::name(dtype), [=](Maker& make) {
            std::vector<double> divisors(33, 3);
            divisors[17] = 0;
            const TensorRef a = make.whole(dtype, {33}, -100, 100);
            const TensorRef b = make.values_of(dtype, {33}, divisors);
            return launch(BinaryArgs{BinaryOp::div, a, b, make.output_of(dtype, "y", {33})});
          }};
}

Fault scalar_division() {
  return {"division_scalar_by_tensor", [](Maker& make) {
            std::vector<double> divisors(33, 3);
            divisors[31] = 0;
            const TensorRef x = make.values_of(DType::i64, {33}, divisors);
            return launch(BinaryScalarArgs{BinaryOp::div, x, 7, true, make.output_of(DType::i64, "y", {33})});
          }};
}

// The far values lie beyond any address: reading there would end the process.
std::vector<Fault> faults() {
  return {
      index_select("just_above", {5, 7}, 0, 9, 3, 5),
      index_select("negative", {5, 8}, 0, 9, 8, -1),
      index_select("far", {2, 5, 3}, 1, 4, 0, kFar),
      index_select("far_below", {2, 5, 3}, 2, 4, 2, -kFar),
      index_select("empty_axis", {0, 3}, 0, 1, 0, 0),
      index_select_backward("just_above", {5, 7}, 0, 9, 3, 5),
      index_select_backward("negative", {5, 8}, 0, 9, 8, -1),
      index_select_backward("far", {2, 5, 3}, 1, 4, 0, kFar),
      index_select_backward("long", {5, 8}, 0, 1100, 1027, 5),
      index_select_backward("long_far", {2, 5, 3}, 1, 1100, 0, -kFar),
      index_select_backward("empty_axis", {0, 3}, 0, 1, 0, 0),
      gather("just_above", {5, 7}, {5, 9}, 1, 13, 7),
      gather("far", {2, 5, 3}, {2, 4, 2}, 1, 11, kFar),
      gather("empty_axis", {1, 0}, {1, 1}, 1, 0, 0),
      gather_backward("just_above", {5, 7}, {5, 9}, 1, 13, 7),
      gather_backward("far", {2, 5, 3}, {2, 4, 2}, 1, 11, -kFar),
      gather_backward("long", {2, 7}, {2, 1100}, 1, 1500, 7),
      gather_backward("empty_axis", {1, 0}, {1, 1}, 1, 0, 0),
      cross_entropy("just_above", Reduction::mean, 4, 5),
      cross_entropy("negative", Reduction::sum, 8, -1),
      cross_entropy("far", Reduction::none, 0, kFar),
      division(DType::i32),
      division(DType::i64),
      scalar_division(),
  };
}

// What an error says of the fault.
struct Facts {
  std::string op;     // "index_select_backward"; empty for a division
  std::string entry;  // "index[3] is 5: expected 0 to 4": position, value and range; or the division by zero
};

Facts facts_of(const std::string& message) {
  std::smatch match;
  const std::regex outside(R"((\w+): (\w+\[\d+\] is -?\d+: expected 0 to -?\d+))");
  if (std::regex_search(message, match, outside)) return {match.str(1), match.str(2)};
  const std::string zero = "integer division by zero";
  return {"", message.find(zero) != std::string::npos ? zero : "no fault is named in: " + message};
}

class DeviceFaultTest : public testing::TestWithParam<Fault> {
 protected:
  void SetUp() override {
    if (const std::string why = runtime::cuda_unavailable(); !why.empty()) GTEST_SKIP() << why;
    device_ = backends(DeviceType::cuda).front();  // there is none in a build without CUDA
    stream_ = stream_of(DeviceType::cuda);
  }
  const BackendTable* device_ = nullptr;
  Stream stream_;
};

TEST_P(DeviceFaultTest, TellsWhatTheCpuTells) {
  Maker on_cpu(DType::f32, true, {}, 5);
  const Launch truth = GetParam().build(on_cpu);
  const Facts expected = facts_of(error_of([&] { truth.run(reference::table()); }));

  Maker make(DType::f32, false, {}, 5, Device::cuda(0));
  const Launch launch = GetParam().build(make);
  make.seal();
  ASSERT_TRUE(launch.supports(*device_).ok) << launch.supports(*device_).reason;
  launch.run(*device_);
  const std::string message = error_of([&] { runtime::synchronize(stream_); });
  EXPECT_EQ(facts_of(message).entry, expected.entry);
  // The device names the family: index_select also for index_select_backward.
  EXPECT_TRUE(expected.op.starts_with(facts_of(message).op)) << message << "\nexpected " << expected.op;

  // Told once; nothing was written beside the tensors, and the device goes on.
  EXPECT_EQ(error_of([&] { runtime::synchronize(stream_); }), "");
  make.download();
  for (const auto& buffer : make.buffers()) EXPECT_EQ(buffer->damage(), "") << buffer->name;
}

INSTANTIATE_TEST_SUITE_P(Data, DeviceFaultTest, testing::ValuesIn(faults()), fault_name);

class DeviceAfterFaultTest : public DeviceFaultTest {};

// Row 1 of the index is bad; what the other rows select is right, and so is all of the next op.
TEST_P(DeviceAfterFaultTest, WorksOn) {
  Maker make(DType::f32, false, {}, 5, Device::cuda(0));
  const Launch launch = GetParam().build(make);
  const TensorRef x = make.values({4, 2}, {0, 1, 10, 11, 20, 21, 30, 31});
  const TensorRef bad = make.values_of(DType::i64, {3}, {3, 4, 2}), good = make.values_of(DType::i64, {3}, {1, 0, 3});
  const TensorRef first = make.output("first", {3, 2}), second = make.output("second", {3, 2});
  make.seal();
  Stream stream = stream_;
  launch.run(*device_);
  device_->row<IndexSelectArgs>().run({x, bad, first, 0}, stream);
  // Two faults before the host looks: one is told.
  EXPECT_NE(error_of([&] { runtime::synchronize(stream_); }), "");
  EXPECT_EQ(error_of([&] { runtime::synchronize(stream_); }), "");
  device_->row<IndexSelectArgs>().run({x, good, second, 0}, stream);
  EXPECT_EQ(error_of([&] { runtime::synchronize(stream_); }), "");
  make.download();
  const std::vector<double> selected = make.read(first);
  EXPECT_EQ(std::vector<double>(selected.begin(), selected.begin() + 2), (std::vector<double>{30, 31}));
  EXPECT_EQ(std::vector<double>(selected.begin() + 4, selected.end()), (std::vector<double>{20, 21}));
  EXPECT_EQ(make.read(second), (std::vector<double>{10, 11, 0, 1, 30, 31}));
}

INSTANTIATE_TEST_SUITE_P(Data, DeviceAfterFaultTest,
                         testing::Values(index_select("just_above", {5, 7}, 0, 9, 3, 5),
                                         gather_backward("long", {2, 7}, {2, 1100}, 1, 1500, 7)),
                         fault_name);

}  // namespace
}  // namespace graft::test
