// Element types. bf16 and f16 are storage types: arithmetic happens in float.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include <graft/kernels/api/error.h>
#include <graft/kernels/api/export.h>

namespace graft {

enum class DType : std::uint8_t { f32, f64, bf16, f16, i64, i32, u8, boolean };

inline constexpr int kDTypeCount = 8;

constexpr std::size_t size_of(DType dtype) {
  constexpr std::size_t sizes[kDTypeCount] = {4, 8, 2, 2, 8, 4, 1, 1};
  return sizes[static_cast<int>(dtype)];
}

/// "f32", "bf16", "bool", ...
GRAFT_API const char* name(DType dtype);

constexpr bool is_floating(DType dtype) { return static_cast<int>(dtype) <= static_cast<int>(DType::f16); }

/// bfloat16: the upper half of a float, rounded to nearest even; NaN stays NaN.
struct GRAFT_API bf16 {
  std::uint16_t bits = 0;

  bf16() = default;
  explicit bf16(float value) {
    const auto u = std::bit_cast<std::uint32_t>(value);
    if ((u & 0x7fffffffu) > 0x7f800000u)
      bits = static_cast<std::uint16_t>((u >> 16) | 0x0040u);
    else
      bits = static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }
  explicit operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
};

/// IEEE 754 binary16, rounded to nearest even; subnormals kept, overflow to infinity, NaN stays NaN.
struct GRAFT_API f16 {
  std::uint16_t bits = 0;

  f16() = default;
  explicit f16(float value) : bits(from_float(value)) {}
  explicit operator float() const { return to_float(bits); }

  static std::uint16_t from_float(float value);
  static float to_float(std::uint16_t bits);
};

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<bf16> {
  static constexpr DType value = DType::bf16;
};
template <>
struct DTypeOf<f16> {
  static constexpr DType value = DType::f16;
};
template <>
struct DTypeOf<std::int64_t> {
  static constexpr DType value = DType::i64;
};
template <>
struct DTypeOf<std::int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<std::uint8_t> {
  static constexpr DType value = DType::u8;
};
template <>
struct DTypeOf<bool> {
  static constexpr DType value = DType::boolean;
};

template <class T>
inline constexpr DType dtype_of = DTypeOf<T>::value;

/// Calls f with a default-constructed value of the C++ type that `dtype` names: visit_dtype(d, [&]<class T>(T) {...}).
template <class F>
decltype(auto) visit_dtype(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f(float{});
    case DType::f64:
      return f(double{});
    case DType::bf16:
      return f(bf16{});
    case DType::f16:
      return f(f16{});
    case DType::i64:
      return f(std::int64_t{});
    case DType::i32:
      return f(std::int32_t{});
    case DType::u8:
      return f(std::uint8_t{});
    case DType::boolean:
      return f(bool{});
  }
  fail("visit_dtype: unknown dtype ", static_cast<int>(dtype));
}

}  // namespace graft
