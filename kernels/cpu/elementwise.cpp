// Unary and binary maps, axpy and fill: layouts are planned here, the arithmetic is in simd/elementwise.inc.

#include <graft/kernels/cpu/loops.h>
#include <graft/kernels/cpu/rows.h>

namespace graft::kernels::cpu {
namespace {

static_assert(static_cast<int>(UnaryOp::silu) == 14 && static_cast<int>(UnaryOp::relu) == 7 &&
                  static_cast<int>(UnaryOp::gelu) == 9 && static_cast<int>(UnaryOp::tanh) == 12,
              "simd/elementwise.inc repeats the order of UnaryOp");
static_assert(static_cast<int>(BinaryOp::ge) == 9 && static_cast<int>(BinaryOp::div) == 3,
              "simd/elementwise.inc repeats the order of BinaryOp");

Support supports(const UnaryArgs& args) { return contract_and_f32(args, {&args.x, &args.y}); }

void run(const UnaryArgs& args, Stream&) {
  const Loops<2> loops({&args.y, &args.x});
  const Step sy = loops.step(0), sx = loops.step(1);
  const auto kernel = vector_kernels().unary;
  loops.run(
      [&](const auto& at, std::int64_t rows, std::int64_t cols) {
        kernel(static_cast<int>(args.op), args.x.as<float>() + at[1], sx, args.y.as<float>() + at[0], sy, rows, cols);
      },
      grain_of_op(args.op));
}

Support supports(const UnaryBackwardArgs& args) { return contract_and_f32(args, {&args.saved, &args.gy, &args.gx}); }

void run(const UnaryBackwardArgs& args, Stream&) {
  const Loops<3> loops({&args.gx, &args.saved, &args.gy});
  const Step sx = loops.step(0), ss = loops.step(1), sg = loops.step(2);
  const auto kernel = vector_kernels().unary_backward;
  loops.run(
      [&](const auto& at, std::int64_t rows, std::int64_t cols) {
        kernel(static_cast<int>(args.op), args.saved.as<float>() + at[1], ss, args.gy.as<float>() + at[2], sg,
               args.gx.as<float>() + at[0], sx, rows, cols);
      },
      grain_of_op(args.op));
}

void run_binary(BinaryOp op, const TensorRef& a, const TensorRef& b, const TensorRef& y) {
  const Loops<3> loops({&y, &a, &b});
  const Step sy = loops.step(0), sa = loops.step(1), sb = loops.step(2);
  const VectorKernels& kernels = vector_kernels();
  loops.run([&](const auto& at, std::int64_t rows, std::int64_t cols) {
    const float *pa = a.as<float>() + at[1], *pb = b.as<float>() + at[2];
    if (is_comparison(op))
      kernels.compare(static_cast<int>(op), pa, sa, pb, sb, y.as<std::uint8_t>() + at[0], sy, rows, cols);
    else
      kernels.binary(static_cast<int>(op), pa, sa, pb, sb, y.as<float>() + at[0], sy, rows, cols);
  });
}

Support supports(const BinaryArgs& args) { return contract_and_f32(args, {&args.a, &args.b}); }
void run(const BinaryArgs& args, Stream&) { run_binary(args.op, args.a, args.b, args.y); }

Support supports(const BinaryScalarArgs& args) { return contract_and_f32(args, {&args.x}); }

void run(const BinaryScalarArgs& args, Stream&) {
  float value = static_cast<float>(args.scalar);
  TensorRef scalar = args.x;
  scalar.data = &value;
  for (std::int64_t& stride : scalar.strides) stride = 0;
  if (args.reversed)
    run_binary(args.op, scalar, args.x, args.y);
  else
    run_binary(args.op, args.x, scalar, args.y);
}

Support supports(const AxpyArgs& args) { return contract_and_f32(args, {&args.x, &args.y}); }

void run(const AxpyArgs& args, Stream&) {
  const Loops<2> loops({&args.y, &args.x});
  const Step sy = loops.step(0), sx = loops.step(1);
  const auto alpha = static_cast<float>(args.alpha);
  const auto kernel = vector_kernels().axpy;
  loops.run([&](const auto& at, std::int64_t rows, std::int64_t cols) {
    for (std::int64_t r = 0; r < rows; ++r) {
      const float* x = args.x.as<float>() + at[1] + r * sx.row;
      float* y = args.y.as<float>() + at[0] + r * sy.row;
      if (sx.col == 1 && sy.col == 1)
        kernel(alpha, x, y, cols);
      else
        for (std::int64_t c = 0; c < cols; ++c) y[c * sy.col] += alpha * x[c * sx.col];
    }
  });
}

Support supports(const FillArgs& args) { return check_contract(args); }

template <class T>
T converted(double value) {
  if constexpr (std::is_same_v<T, bool>)
    return value != 0;
  else if constexpr (std::is_integral_v<T>)
    return static_cast<T>(static_cast<std::int64_t>(value));
  else if constexpr (std::is_same_v<T, double>)
    return value;
  else
    return static_cast<T>(static_cast<float>(value));
}

void run(const FillArgs& args, Stream&) {
  const Loops<1> loops({&args.y});
  const Step sy = loops.step(0);
  visit_dtype(args.y.dtype, [&]<class T>(T) {
    const T value = converted<T>(args.value);
    loops.run([&](const auto& at, std::int64_t rows, std::int64_t cols) {
      for (std::int64_t r = 0; r < rows; ++r) {
        T* y = args.y.as<T>() + at[0] + r * sy.row;
        if (sy.col == 1)
          std::fill_n(y, cols, value);
        else
          for (std::int64_t c = 0; c < cols; ++c) y[c * sy.col] = value;
      }
    });
  });
}

}  // namespace

void relu_in_place(const TensorRef& y) {
  if (y.dtype == DType::f32) {
    const auto kernel = vector_kernels().unary;
    parallel_for(y.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      float* p = y.as<float>() + begin;
      kernel(static_cast<int>(UnaryOp::relu), p, {0, 1}, p, {0, 1}, 1, end - begin);
    });
    return;
  }
  parallel_for(y.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    auto* bits = y.as<std::uint16_t>();  // negative, and not NaN, whose magnitude is above that of infinity
    for (std::int64_t i = begin; i < end; ++i)
      bits[i] = bits[i] > 0x8000u && bits[i] <= 0xff80u ? std::uint16_t{0} : bits[i];
  });
}

void add_elementwise(BackendTable& table) {
  table.row<UnaryArgs>() = {supports, run};
  table.row<UnaryBackwardArgs>() = {supports, run};
  table.row<BinaryArgs>() = {supports, run};
  table.row<BinaryScalarArgs>() = {supports, run};
  table.row<AxpyArgs>() = {supports, run};
  table.row<FillArgs>() = {supports, run};
}

}  // namespace graft::kernels::cpu
