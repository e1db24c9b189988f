// What the reference ops share: every op reads its inputs whole into row-major arrays of double (or int64), computes on
// those, and writes the result back. So aliasing, strides and dtypes are nobody else's concern.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include <graft/kernels/api/contracts.h>

namespace graft::kernels::reference {

template <class T>
inline constexpr bool is_float16 = std::is_same_v<T, bf16> || std::is_same_v<T, f16>;

/// Element conversion, defined for every value: float to integer truncates, NaN becomes 0 and what does not fit the
/// nearest end of the range of i64; integers wrap among themselves; bool is x != 0.
template <class To, class From>
To convert(From value) {
  if constexpr (is_float16<From>) {
    return convert<To>(static_cast<float>(value));
  } else if constexpr (std::is_same_v<To, bool>) {
    return value != From(0);
  } else if constexpr (is_float16<To>) {
    return To(static_cast<float>(value));
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    std::int64_t whole = 0;
    if (value >= From(0x1p63))
      whole = std::numeric_limits<std::int64_t>::max();
    else if (value < -From(0x1p63))
      whole = std::numeric_limits<std::int64_t>::min();
    else if (value == value)
      whole = static_cast<std::int64_t>(value);
    return static_cast<To>(whole);
  } else {
    return static_cast<To>(value);
  }
}

/// Calls f(element number, offset in memory) for every element in row-major order of the shape.
template <class F>
void for_each_offset(const Shape& shape, const Shape& strides, F&& f) {
  const std::int64_t count = shape.numel();
  Shape position = Shape::filled(shape.rank(), 0);
  std::int64_t offset = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    f(i, offset);
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      offset += strides[axis];
      if (++position[axis] < shape[axis]) break;
      offset -= strides[axis] * shape[axis];
      position[axis] = 0;
    }
  }
}

/// A row-major array.
template <class T>
struct Array {
  Shape shape;
  std::vector<T> values;

  explicit Array(const Shape& s, T value = T(0)) : shape(s), values(static_cast<std::size_t>(s.numel()), value) {}

  std::int64_t size() const { return static_cast<std::int64_t>(values.size()); }
  T& operator[](std::int64_t i) { return values[static_cast<std::size_t>(i)]; }
  const T& operator[](std::int64_t i) const { return values[static_cast<std::size_t>(i)]; }

  T& operator()(std::int64_t i, std::int64_t j) { return (*this)[i * shape[1] + j]; }
  const T& operator()(std::int64_t i, std::int64_t j) const { return (*this)[i * shape[1] + j]; }
  T& operator()(std::int64_t i, std::int64_t j, std::int64_t k, std::int64_t l) {
    return (*this)[((i * shape[1] + j) * shape[2] + k) * shape[3] + l];
  }
  const T& operator()(std::int64_t i, std::int64_t j, std::int64_t k, std::int64_t l) const {
    return (*this)[((i * shape[1] + j) * shape[2] + k) * shape[3] + l];
  }
};

template <class T = double>
Array<T> read(const TensorRef& t) {
  Array<T> array(t.shape);
  visit_dtype(t.dtype, [&]<class S>(S) {
    for_each_offset(t.shape, t.strides,
                    [&](std::int64_t i, std::int64_t offset) { array[i] = convert<T>(t.as<S>()[offset]); });
  });
  return array;
}

/// `t`, or `value` everywhere where it is undefined.
inline Array<double> read_or(const TensorRef& t, const Shape& shape, double value) {
  return t.defined() ? read(t) : Array<double>(shape, value);
}

template <class T>
void write(const Array<T>& array, const TensorRef& t) {
  visit_dtype(t.dtype, [&]<class S>(S) {
    for_each_offset(t.shape, t.strides,
                    [&](std::int64_t i, std::int64_t offset) { t.as<S>()[offset] = convert<S>(array[i]); });
  });
}

/// As write, but for undefined tensors nobody wants the result.
inline void write_if(const Array<double>& array, const TensorRef& t) {
  if (t.defined()) write(array, t);
}

/// Element `offset` of memory, for tensors that are walked in memory order.
inline double load(const TensorRef& t, std::int64_t offset) {
  return visit_dtype(t.dtype, [&]<class S>(S) { return convert<double>(t.as<S>()[offset]); });
}
inline void store(const TensorRef& t, std::int64_t offset, double value) {
  visit_dtype(t.dtype, [&]<class S>(S) { t.as<S>()[offset] = convert<S>(value); });
}

// Each family puts its rows into the table.
void add_elementwise(BackendTable& table);
void add_matmul(BackendTable& table);
void add_conv2d(BackendTable& table);
void add_softmax(BackendTable& table);
void add_pool(BackendTable& table);
void add_norm(BackendTable& table);
void add_reduce(BackendTable& table);
void add_gather(BackendTable& table);
void add_random(BackendTable& table);
void add_optim(BackendTable& table);
void add_affine(BackendTable& table);
void add_training(BackendTable& table);
void add_chain(BackendTable& table);

/// The row of an op: the reference serves whatever the contract allows.
template <auto Run, class Args>
void add_row(BackendTable& table, void (*)(const Args&)) {
  table.row<Args>() = {[](const Args& args) { return check_contract(args); },
                       [](const Args& args, Stream&) { Run(args); }};
}

/// add<f>(table): the row of the op whose arguments f takes.
template <auto Run>
void add(BackendTable& table) {
  add_row<Run>(table, Run);
}

}  // namespace graft::kernels::reference
