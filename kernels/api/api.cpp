#include <bit>
#include <cmath>
#include <cstdio>

#include <graft/kernels/api/device.h>
#include <graft/kernels/api/elementwise.h>
#include <graft/kernels/api/reduce.h>
#include <graft/kernels/api/support.h>

namespace graft {

Piece::Piece(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.6g", value);
  text_ = buffer;
}

std::string concat(std::initializer_list<Piece> pieces) {
  std::string all;
  for (const Piece& piece : pieces) all += piece.text();
  return all;
}

std::string with_thousands(std::int64_t n) {
  std::string digits = std::to_string(n);
  const int first = n < 0 ? 1 : 0;
  for (int i = static_cast<int>(digits.size()) - 3; i > first; i -= 3)
    digits.insert(static_cast<std::size_t>(i), 1, ',');
  return digits;
}

const char* name(DType dtype) {
  constexpr const char* names[kDTypeCount] = {"f32", "f64", "bf16", "f16", "i64", "i32", "u8", "bool"};
  return names[static_cast<int>(dtype)];
}

std::uint16_t f16::from_float(float value) {
  const auto u = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((u >> 16) & 0x8000u);
  const std::uint32_t magnitude = u & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // 65520 and above round to infinity
  if (magnitude < 0x38800000u) {
    // Below 2^-14: adding 0.5 aligns the subnormal's last bit with the float's, and the adder rounds to nearest even.
    const float aligned = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(aligned) - 0x3f000000u));
  }
  const std::uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

float f16::to_float(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fu, mantissa = bits & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

std::string to_string(const Shape& shape) {
  std::string text = "(";
  for (int i = 0; i < shape.rank(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + (shape.rank() == 1 ? ",)" : ")");
}

Shape contiguous_strides(const Shape& shape) {
  Shape strides = Shape::filled(shape.rank(), 1);
  for (int i = shape.rank() - 2; i >= 0; --i) strides[i] = strides[i + 1] * (shape[i + 1] > 0 ? shape[i + 1] : 1);
  return strides;
}

Shape channels_last_strides(const Shape& shape) {
  check(shape.rank() == 4, "channels_last_strides: expected rank 4, got ", shape);
  return {shape[1] * shape[2] * shape[3], 1, shape[1] * shape[3], shape[1]};
}

std::string to_string(Device device) {
  return device.is_cpu() ? std::string("cpu") : cat("cuda:", static_cast<int>(device.index));
}

}  // namespace graft

namespace graft::kernels {
namespace {

// Sizes of 1 impose nothing on the stride.
bool has_strides(const TensorRef& t, const Shape& expected) {
  if (t.numel() == 0) return true;
  for (int i = 0; i < t.shape.rank(); ++i)
    if (t.shape[i] != 1 && t.strides[i] != expected[i]) return false;
  return true;
}

}  // namespace

bool is_contiguous(const TensorRef& t) { return has_strides(t, contiguous_strides(t.shape)); }

bool is_channels_last(const TensorRef& t) {
  return t.shape.rank() == 4 && has_strides(t, channels_last_strides(t.shape));
}

std::string to_string(const TensorRef& t) {
  return t.defined() ? cat(graft::name(t.dtype), " ", graft::to_string(t.shape)) : std::string("undefined");
}

const char* name(BackendId id) {
  constexpr const char* names[] = {"cpu", "reference", "cuda", "vendor"};
  return names[static_cast<int>(id)];
}

const char* name(UnaryOp op) {
  constexpr const char* names[] = {"neg",   "abs",  "exp",       "log",     "sqrt", "square",    "reciprocal", "relu",
                                   "relu6", "gelu", "gelu_tanh", "sigmoid", "tanh", "hardswish", "silu"};
  return names[static_cast<int>(op)];
}

const char* name(BinaryOp op) {
  constexpr const char* names[] = {"add", "sub", "mul", "div", "eq", "ne", "lt", "le", "gt", "ge"};
  return names[static_cast<int>(op)];
}

const char* name(ReduceOp op) {
  constexpr const char* names[] = {"sum", "mean", "max"};
  return names[static_cast<int>(op)];
}

}  // namespace graft::kernels
