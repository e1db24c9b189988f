#include "large/large.h"

#include <cmath>
#include <cstdio>

#include <graft/core/autograd/node.h>
#include <graft/core/ops/math.h>
#include <graft/core/ops/raw.h>
#include <graft/core/random.h>
#include <graft/kernels/api/offered.h>
#include <graft/kernels/registry/registry.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/device_memory.h>

#include "support/time_limit.h"

namespace graft::test::large {
namespace {

constexpr Device kDevice = Device::cuda(0);

void fill_with_nan(const Tensor& t) {
  const TensorRef ref = t.ref();
  runtime::set_bytes(ref.data, 0xff, static_cast<std::size_t>(ref.numel()) * size_of(ref.dtype), stream());
}

double unit_roundoff(DType dtype) {
  return dtype == DType::bf16 ? 0x1p-8 : dtype == DType::f16 ? 0x1p-11 : dtype == DType::f32 ? 0x1p-24 : 0x1p-53;
}

double sum_of_squares(const Tensor& x) { return sum(x * x).item(); }

}  // namespace

bool small_sizes() {
  static const bool emulated = runtime::cuda_unavailable().empty() && device_is_emulated();
  return emulated;
}

Stream& stream() { return current_stream(kDevice); }

double relative_error(const Tensor& y, const Tensor& truth) {
  const NoGrad no_grad;
  const double off = sum_of_squares(y.to(DType::f64) - truth), whole = sum_of_squares(truth);
  return std::sqrt(off / whole);
}

Tensors::Tensors(DType dtype) : dtype_(dtype), tested_(dtype) {}
Tensors::Tensors(const Tensors& tested) : dtype_(DType::f64), tested_(tested.dtype_), source_(&tested) {}

Tensor Tensors::next_input(const std::function<Tensor()>& make, bool converted) {
  if (source_ == nullptr) {
    inputs_.push_back(make());
  } else {
    const Tensor& same = source_->inputs_.at(next_++);
    inputs_.push_back(converted ? same.to(DType::f64) : same);
  }
  return inputs_.back();
}

Tensor Tensors::input(const Shape& shape, double low, double high, MemoryFormat format) {
  return next_input(
      [&] {
        Tensor t = Tensor::empty(shape, DType::f32, kDevice, format);
        uniform_(t, low, high);
        return t.to(dtype_);
      },
      true);
}

Tensor Tensors::wide_input(const Shape& shape, double low, double high) {
  return next_input(
      [&] {
        Tensor t = Tensor::empty(shape, DType::f32, kDevice);
        uniform_(t, low, high);
        return t;
      },
      true);
}

Tensor Tensors::labels(std::int64_t count, std::int64_t classes) {
  return next_input(
      [&] {
        std::vector<std::int64_t> values(static_cast<std::size_t>(count));
        for (std::int64_t& v : values)
          v = static_cast<std::int64_t>(default_generator().below(static_cast<std::uint64_t>(classes)));
        return Tensor::from(values, {count}, kDevice);
      },
      false);
}

Tensor Tensors::output(const std::string& name, const Shape& shape, double bound, MemoryFormat format) {
  return output_of(dtype_, name, shape, bound, format);
}

Tensor Tensors::output_of(DType dtype, const std::string& name, const Shape& shape, double bound, MemoryFormat format) {
  const Tensor t = Tensor::empty(shape, dtype, kDevice, format);
  fill_with_nan(t);
  outputs_.push_back({name, t, {}, bound});
  return t;
}

Tensor Tensors::scratch(DType dtype, const Shape& shape, MemoryFormat format) {
  scratch_.push_back(Tensor::empty(shape, dtype, kDevice, format));
  fill_with_nan(scratch_.back());
  return scratch_.back();
}

Tensor Tensors::in_out(const std::string& name, const Tensor& input, double bound) {
  const Tensor changed = input.clone();  // the truth begins with the same
  outputs_.push_back({name, changed, input, bound});
  return changed;
}

double Tensors::after(int roundings) const { return unit_roundoff(tested_) + roundings * 0x1p-24; }
double Tensors::sum(std::int64_t terms, int roundings) const {
  return after(roundings) + 0x1p-24 * std::sqrt(static_cast<double>(terms));
}
double Tensors::dot(std::int64_t terms, int roundings) const {
  const double cut_off = static_cast<double>(terms) / (8 * std::sqrt(3.0));
  return std::max(sum(terms, roundings), after(roundings) + (tested_ == DType::f32 ? 0 : 0x1p-24 * cut_off));
}
double Tensors::wide_sum(std::int64_t terms, int roundings) {
  return wide_after(roundings) + 0x1p-24 * std::sqrt(static_cast<double>(terms));
}

void Tensors::refill() {
  for (const Tensor& t : scratch_) fill_with_nan(t);
  for (Output& o : outputs_)
    if (o.before.defined())
      o.tensor.copy_(o.before);
    else
      fill_with_nan(o.tensor);
}

namespace {

void compare(const Case& c, const std::string& backend, const Tensors& tested, const Tensors& truth) {
  for (std::size_t i = 0; i < tested.outputs().size(); ++i) {
    const Tensors::Output& got = tested.outputs()[i];
    const Tensors::Output& want = truth.outputs()[i];
    const double norm = std::sqrt(sum_of_squares(want.tensor));
    EXPECT_TRUE(std::isfinite(norm) && norm > 0) << got.name << ": the truth has the norm " << norm;
    const double error = relative_error(got.tensor, want.tensor);
    std::printf("%-44s %-5s %-7s %-10s relative error %.3g of %.3g\n", c.name.c_str(), name(c.dtype), backend.c_str(),
                got.name.c_str(), error, got.bound);
    EXPECT_TRUE(error <= got.bound) << got.name << " of " << backend << ": relative error " << error << ", expected at most "
                                    << got.bound;
  }
}

}  // namespace

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Large);

TEST_P(Large, AgreesWithF64) {
  if (const std::string why = runtime::cuda_unavailable(); !why.empty()) GTEST_SKIP() << why;
  const Case& c = GetParam();
  const TimeLimit limit(c.name, std::chrono::seconds(device_is_emulated() ? 280 : 60));
  const NoGrad no_grad;
  manual_seed(1);
  {
    Tensors tested(c.dtype);
    const std::vector<Step> steps = c.build(tested);
    Tensors truth(tested);
    const std::vector<Step> true_steps = c.build(truth);
    const kernels::BackendTable& ours = *kernels::find_backend(kernels::BackendId::cuda);
    const auto run = [&](const std::vector<Step>& all, const kernels::BackendTable& table) {
      for (const Step& s : all) {
        const kernels::Support support = s.supports(table);
        if (!support.ok) return support;
        s.run(table);
      }
      return kernels::Support::yes();
    };
    const kernels::Support true_support = run(true_steps, ours), support = run(steps, ours);
    ASSERT_TRUE(true_support.ok) << "in f64: " << true_support.reason;
    ASSERT_TRUE(support.ok) << support.reason;
    compare(c, "ours", tested, truth);
    if (const auto* vendor = kernels::offered_backend(kernels::BackendId::vendor); vendor != nullptr && c.vendor) {
      tested.refill();
      const kernels::Support has = run(steps, *vendor);
      if (has.ok)
        compare(c, "vendor", tested, truth);
      else if (has.reason != "has no such op")
        std::printf("%-44s %-5s vendor declines: %s\n", c.name.c_str(), name(c.dtype), has.reason.c_str());
    }
  }
  if (!device_is_emulated()) runtime::device_release_cache(0);  // the next case's sizes are others
}

// The comparison itself: a NaN, or one wrong element of a million, must not pass.
TEST(LargeComparison, SeesWhatIsWrong) {
  if (const std::string why = runtime::cuda_unavailable(); !why.empty()) GTEST_SKIP() << why;
  std::vector<float> values(small_sizes() ? 10'000 : 1'000'000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 17) / 16;
  const Shape shape = {static_cast<std::int64_t>(values.size())};
  const Tensor truth = Tensor::from(values, shape, kDevice).to(DType::f64);
  EXPECT_EQ(relative_error(Tensor::from(values, shape, kDevice), truth), 0);
  values[1234] += 1;
  const double error = relative_error(Tensor::from(values, shape, kDevice), truth);
  EXPECT_GT(error, 1e-3);
  EXPECT_LT(error, 2e-2);
  values[1234] = NAN;
  EXPECT_FALSE(relative_error(Tensor::from(values, shape, kDevice), truth) <= 1e30);
  const Tensor poisoned = Tensor::empty(shape, DType::bf16, kDevice);
  fill_with_nan(poisoned);
  EXPECT_FALSE(relative_error(poisoned, truth) <= 1e30);
}

}  // namespace graft::test::large
