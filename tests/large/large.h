// Each op at the sizes that the benchmark suites time, against the f64 kernels on the same device from the same rounded
// inputs: what small cases cannot show is how the large tiles behave over many steps of their main loop. In the emulator,
// where such sizes take hours, the smallest that reach the same tiles with more than three steps.
//
// What is compared is ||y - truth|| / ||truth||, over all elements of an output, which begins as NaN. The bounds are
// derived, not measured. With u = 2^-24, the unit roundoff of float, in which everything is computed, and s that of the
// dtype in which y is stored (bf16: 2^-8, f16: 2^-11, f32: 2^-24):
//
// 0           copies and maxima in one dtype: nothing is rounded
// after(k)    s + k u: k roundings one after another, each at most u of a value no greater than the result; functions of
//             CUDA's library count as 4 (the programming guide's table has at most 4 ulp for those used here)
// sum(n, k)   after(k) and a sum of n terms, rounded to nearest. The rounding of partial sum i is an error of at most
//             u |s_i|, of u |s_i| / sqrt(3) in the mean, and as likely up as down. Terms of either sign: |s_i| grows as
//             sqrt(i), and the errors add up to u sqrt(n / 6) of the last partial sum; terms of one sign: |s_i| grows as
//             i, and they add up to u sqrt(n) / 3. Sums in parts are better. The bound takes u sqrt(n), twice the larger.
// dot(n, k)   after(k) and a sum of n products by a matrix kernel. f32: as sum. bf16 and f16: tensor cores add eight
//             products or more at once and cut off what does not fit, an error of u |s_i| in the mean, always towards
//             zero. Over m = n / 8 partial sums these add up to u m / sqrt(3) of the last one (either sign) or u m / 2
//             (one sign). The bound takes n u / (8 sqrt(3)) where that is more than u sqrt(n).
//
// A norm over thousands of elements is as good as its mean value, so the statistics above hold closely; a scalar output
// is made of terms of one sign, and its error by n, not by chance.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <graft/core/tensor.h>
#include <graft/kernels/api/table.h>

#include "support/emulated_device.h"

namespace graft::test::large {

using kernels::TensorRef;

/// Whether the sizes are to be those of the emulator.
bool small_sizes();

/// The tensors of one run: of the dtype under test, or of the truth in f64, which takes the same inputs.
class Tensors {
 public:
  explicit Tensors(DType dtype);
  /// The truth of `tested`, which has made its inputs.
  explicit Tensors(const Tensors& tested);

  DType dtype() const { return dtype_; }
  /// The dtype of statistics and optimiser state.
  DType wide() const { return dtype_ == DType::f64 ? DType::f64 : DType::f32; }

  /// Uniform on [low, high), rounded to the dtype under test.
  Tensor input(const Shape& shape, double low = -1, double high = 1, MemoryFormat format = MemoryFormat::contiguous);
  Tensor images(const Shape& shape, double low = -1, double high = 1) {
    return input(shape, low, high, MemoryFormat::channels_last);
  }
  Tensor wide_input(const Shape& shape, double low = -1, double high = 1);
  /// i64 in [0, classes).
  Tensor labels(std::int64_t count, std::int64_t classes);

  /// Filled with NaN; compared under the bound.
  Tensor output(const std::string& name, const Shape& shape, double bound, MemoryFormat format = MemoryFormat::contiguous);
  Tensor output_images(const std::string& name, const Shape& shape, double bound) {
    return output(name, shape, bound, MemoryFormat::channels_last);
  }
  Tensor output_of(DType dtype, const std::string& name, const Shape& shape, double bound,
                   MemoryFormat format = MemoryFormat::contiguous);
  /// Filled with NaN and not compared: what a later step of the case reads.
  Tensor scratch(DType dtype, const Shape& shape, MemoryFormat format = MemoryFormat::contiguous);
  /// An input that is changed in place and compared.
  Tensor in_out(const std::string& name, const Tensor& input, double bound);

  /// The dtype under test, also in the truth.
  DType tested() const { return tested_; }
  /// The bounds, of outputs in the dtype under test.
  double after(int roundings) const;
  double sum(std::int64_t terms, int roundings = 0) const;
  double dot(std::int64_t terms, int roundings = 0) const;
  /// Those of outputs in f32: statistics, optimiser state.
  static double wide_after(int roundings) { return (1 + roundings) * 0x1p-24; }
  static double wide_sum(std::int64_t terms, int roundings = 0);

  /// Keeps an array alive as long as the tensors.
  template <class T>
  const T* keep(std::vector<T> array) {
    auto owned = std::make_shared<std::vector<T>>(std::move(array));
    kept_.push_back(owned);
    return owned->data();
  }

  /// Before another backend runs: NaN in the outputs again, and the inputs of in_out as they were.
  void refill();

  struct Output {
    std::string name;
    Tensor tensor, before;  // before: of in_out
    double bound;
  };
  const std::vector<Output>& outputs() const { return outputs_; }

 private:
  Tensor next_input(const std::function<Tensor()>& make, bool converted);

  DType dtype_, tested_;
  const Tensors* source_ = nullptr;  // of the truth
  std::size_t next_ = 0;
  std::vector<Tensor> inputs_, scratch_;
  std::vector<Output> outputs_;
  std::vector<std::shared_ptr<void>> kept_;
};

/// An op with its arguments, the type forgotten.
struct Step {
  std::function<kernels::Support(const kernels::BackendTable&)> supports;
  std::function<void(const kernels::BackendTable&)> run;
};
Stream& stream();

template <class Args>
Step step(const Args& args) {
  return {[args](const kernels::BackendTable& table) {
            const auto& row = table.row<Args>();
            return row.run != nullptr ? row.supports(args) : kernels::Support::no("has no such op");
          },
          [args](const kernels::BackendTable& table) { table.row<Args>().run(args, stream()); }};
}

/// A case in one dtype: its steps run one after the other.
struct Case {
  std::string name;  // letters, digits and _
  DType dtype;
  std::function<std::vector<Step>(Tensors&)> build;
  bool vendor;  // also the vendor's rows, which are tuned first: a second for a convolution
};
inline void PrintTo(const Case& c, std::ostream* out) { *out << c.name << " in " << name(c.dtype); }
inline std::string case_name(const testing::TestParamInfo<Case>& info) {
  return info.param.name + "_" + name(info.param.dtype);
}

inline const std::vector<DType> kAll = {DType::f32, DType::bf16, DType::f16};

class Cases {
 public:
  void add(const std::string& name, const std::vector<DType>& dtypes,
           const std::function<std::vector<Step>(Tensors&)>& build, bool vendor = true) {
    for (const DType dtype : dtypes) all_.push_back({name, dtype, build, vendor});
  }
  operator std::vector<Case>() const { return all_; }

 private:
  std::vector<Case> all_;
};

/// ||y - truth|| / ||truth||; NaN where either has one.
double relative_error(const Tensor& y, const Tensor& truth);

class Large : public testing::TestWithParam<Case> {};

}  // namespace graft::test::large
