// One declaration of an op case serves every backend: a factory builds the op's arguments over owned buffers with
// seeded random inputs; the case runs on the reference in double and on each backend that is built in, and outputs are
// compared.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include <graft/kernels/api/table.h>

namespace graft::test {

using kernels::TensorRef;

/// How a tensor lies in memory.
struct Layout {
  std::vector<int> order = {};      // dimensions from the outermost in memory to the innermost; empty: 0, 1, 2, ...
  std::vector<int> broadcast = {};  // dimensions with stride 0
  int step = 1;                     // stride of the innermost dimension
  int row_gap = 0;                  // unused elements after each run of the innermost dimension
  int offset = 0;                   // elements before the first: an address that is not aligned to a vector

  static Layout permuted(std::vector<int> order) {
    Layout layout;
    layout.order = std::move(order);
    return layout;
  }
  static Layout channels_last() { return permuted({0, 2, 3, 1}); }
  static Layout expanded(std::vector<int> dims) {
    Layout layout;
    layout.broadcast = std::move(dims);
    return layout;
  }
  /// A window of a larger tensor: gaps after rows, and an odd address.
  static Layout window() {
    Layout layout;
    layout.row_gap = 3;
    layout.offset = 1;
    return layout;
  }
  /// Every other element.
  static Layout stepped() {
    Layout layout;
    layout.step = 2;
    layout.offset = 1;
    return layout;
  }
};

/// Allowed: |got - want| <= relative e |want| + absolute e + the rounding of the output's dtype if that is bf16 or f16,
/// where e is the epsilon of the arithmetic: 2^-52 for f64, else 2^-23 (bf16 and f16 compute in float).
struct Tolerance {
  double relative = 0;
  double absolute = 0;
};

/// Copies, comparisons and single IEEE operations: only the last rounding, half an epsilon.
inline constexpr Tolerance kRounded{.relative = 0.5};

/// A sum of `count` products of inputs within +-1: `count` roundings (half an epsilon each) of partial sums that walk
/// at random to about sqrt(count) / 3; the errors walk too, sqrt(count) * sqrt(count) / 6, and the largest of thousands
/// of outputs is five standard deviations out.
inline Tolerance sum_of(std::int64_t count) { return {.relative = 1, .absolute = 1 + static_cast<double>(count)}; }

/// A tensor with its memory, guarded on both sides. On a CUDA device the memory here is a mirror of the device's.
class Buffer {
 public:
  Buffer(std::string name, DType dtype, const Shape& shape, const Layout& layout, bool written, Device device);

  std::string name;
  TensorRef ref;
  bool written;  // the op writes it
  Tolerance tolerance;

  double value(std::int64_t offset) const;
  void set(std::int64_t offset, double value);
  /// Remembers the bytes, to prove later which of them changed.
  void seal() { sealed_.assign(memory_.get(), memory_.get() + size_); }
  /// Empty, or what was overwritten that must not be: guards, gaps between elements, inputs.
  std::string damage() const;
  bool same_bytes(const Buffer& other) const;
  /// Copy the mirror to the device, and back. Nothing to do on the CPU.
  void upload();
  void download();
  /// ref in host memory.
  const TensorRef& mirror() const { return mirror_; }

 private:
  std::unique_ptr<std::byte, void (*)(void*)> memory_;
  std::unique_ptr<std::byte, void (*)(void*)> device_memory_;
  std::size_t size_ = 0, first_ = 0;  // bytes in all; before the first element
  TensorRef mirror_;                  // ref, but in memory_
  std::vector<std::byte> sealed_;
};

/// Makes the tensors of one run. The same calls with the same seed give the same values: once in the dtype under test,
/// once in f64 but rounded to the dtype under test, for the reference.
class Maker {
 public:
  Maker(DType dtype, bool truth, Tolerance tolerance, std::uint64_t seed, Device device = Device::cpu());

  /// The dtype under test (f64 when this is the truth of a floating one).
  DType dtype() const { return dtype_; }
  /// The dtype of statistics and optimiser state.
  DType wide() const { return dtype_ == DType::f64 ? DType::f64 : DType::f32; }
  /// A uniform random number in [lo, hi).
  double uniform(double lo, double hi);

  TensorRef input(const Shape& shape, const Layout& layout = {}, double lo = -1, double hi = 1);
  TensorRef wide_input(const Shape& shape, double lo = -1, double hi = 1);
  /// Whole numbers in [lo, hi] of a given dtype.
  TensorRef whole(DType dtype, const Shape& shape, std::int64_t lo, std::int64_t hi, const Layout& layout = {});
  /// The given values in row-major order, repeated if there are too few; in the dtype under test, in its wide dtype, or
  /// in a given one.
  TensorRef values(const Shape& shape, const std::vector<double>& values, const Layout& layout = {});
  TensorRef wide_values(const Shape& shape, const std::vector<double>& values);
  TensorRef values_of(DType dtype, const Shape& shape, const std::vector<double>& values, const Layout& layout = {});
  /// Puts `value` at every `every`-th element in row-major order.
  void sprinkle(const TensorRef& t, std::int64_t every, double value);

  TensorRef output(const char* name, const Shape& shape, const Layout& layout = {});
  TensorRef wide_output(const char* name, const Shape& shape);
  TensorRef output_of(DType dtype, const char* name, const Shape& shape, const Layout& layout = {});
  /// A tensor that the op reads and writes.
  TensorRef in_out(const char* name, const TensorRef& made);
  /// The tolerance of the output made last, where it differs from the case's.
  void tolerate(Tolerance tolerance) { buffers_.back()->tolerance = tolerance; }

  /// Row-major values of a tensor made here.
  std::vector<double> read(const TensorRef& t) const;

  /// Keeps an array alive as long as the tensors.
  template <class T>
  const T* keep(std::vector<T> array) {
    auto owned = std::make_shared<std::vector<T>>(std::move(array));
    kept_.push_back(owned);
    return owned->data();
  }

  const std::vector<std::unique_ptr<Buffer>>& buffers() const { return buffers_; }
  /// The inputs are complete: remembers their bytes and brings them to the device.
  void seal() {
    for (auto& buffer : buffers_) {
      buffer->seal();
      buffer->upload();
    }
  }
  /// Brings the results from the device.
  void download() {
    for (auto& buffer : buffers_) buffer->download();
  }

 private:
  // `precision`: the dtype whose values the tensor holds, though it may be stored wider.
  TensorRef make(std::string name, DType dtype, DType precision, const Shape& shape, const Layout& layout, bool written,
                 const std::function<double(std::int64_t)>& value);
  DType wide_precision() const { return rounded_as_ == DType::f64 ? DType::f64 : DType::f32; }
  Buffer& find(const TensorRef& t) const;

  DType dtype_, rounded_as_;
  Device device_;
  Tolerance tolerance_;
  std::uint64_t state_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<std::shared_ptr<void>> kept_;
};

/// The stream that op cases run on: the CPU's, or the default stream of cuda:0.
Stream stream_of(DeviceType device);

/// Arguments of some op, with the type forgotten.
struct Launch {
  std::function<kernels::Support(const kernels::BackendTable&)> supports;
  std::function<void(const kernels::BackendTable&)> run;
};

template <class Args>
Launch launch(Args args) {
  return {[args](const kernels::BackendTable& table) {
            const auto& row = table.row<Args>();
            return row.run ? row.supports(args) : kernels::Support::no("has no such op");
          },
          [args](const kernels::BackendTable& table) {
            Stream stream = stream_of(table.device);
            table.row<Args>().run(args, stream);
          }};
}

struct OpCase {
  std::string name;  // letters, digits and _
  std::vector<DType> dtypes;
  Tolerance tolerance;
  std::function<Launch(Maker&)> build;
};

inline void PrintTo(const OpCase& op, std::ostream* out) { *out << op.name; }

/// A case of the op whose arguments `build(Maker&)` returns.
template <class Build>
OpCase op_case(const std::string& variant, std::vector<DType> dtypes, Tolerance tolerance, Build build) {
  using Args = decltype(build(std::declval<Maker&>()));
  return {std::string(Args::name) + "_" + variant, std::move(dtypes), tolerance,
          [build](Maker& make) { return launch(build(make)); }};
}

inline const std::vector<DType> kFloats = {DType::f32, DType::bf16, DType::f16};
inline const std::vector<DType> kF32 = {DType::f32};
inline const std::vector<DType> kInts = {DType::i64, DType::i32};

/// Runs a case on every backend of the CPU, in every dtype.
class OpCaseTest : public testing::TestWithParam<OpCase> {};
/// Runs it on every backend of the CUDA device, the emulated one where there is no GPU.
class DeviceOpCaseTest : public testing::TestWithParam<OpCase> {};

/// The dtypes in which a case runs on a device: on the CUDA device also f64 where there is f32.
std::vector<DType> dtypes_on(const OpCase& op, DeviceType device);

/// A case as it ran once on a backend.
struct CaseRun {
  std::unique_ptr<Maker> tensors;  // with the results, in host memory
  kernels::Support support;        // where it is no, nothing ran
};

/// Runs a case on a backend, once. The same call gives the same bits. Throws what the backend throws.
CaseRun run_case(const OpCase& op, DType dtype, const kernels::BackendTable& backend);

inline std::string case_name(const testing::TestParamInfo<OpCase>& info) { return info.param.name; }

/// The cases of one GRAFT_OP_CASES.
struct OpFamily {
  std::string name;
  std::vector<OpCase> (*cases)();
};
inline void PrintTo(const OpFamily& family, std::ostream* out) { *out << family.name; }

/// Every family, and every case of every family, for tests that go over all of them.
const std::vector<OpFamily>& op_families();
std::vector<OpCase> all_op_cases();
bool register_op_cases(OpFamily family);

#define GRAFT_OP_CASES(family, cases)                                                      \
  INSTANTIATE_TEST_SUITE_P(family, OpCaseTest, testing::ValuesIn(cases), case_name);       \
  INSTANTIATE_TEST_SUITE_P(family, DeviceOpCaseTest, testing::ValuesIn(cases), case_name); \
  [[maybe_unused]] const bool family##_registered = register_op_cases({#family, [] { return cases; }})

}  // namespace graft::test
