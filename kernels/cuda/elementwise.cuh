// One pass over memory for y = f(x0, x1, ...), element by element: the driver of every map of the engine, and of chains
// of maps fused by hand.
//
//   elementwise(stream, "scale_and_shift", f, Elements<T, T, T>{y, {x0, x1}});      any strides (broadcast: stride 0)
//   elementwise(stream, "scale_and_shift", n, f, y, x0, x1);                        n dense elements behind pointers
//
// f is called on the device with the elements, 16-bit floats widened to float, and returns what is stored, rounded to
// y's type if that is a 16-bit float and converted by static_cast otherwise. A chain of maps is one f: what lies
// between its steps stays in registers. f is passed by value; its settings are members:
//
//   struct ScaleAndShift {
//     float scale;
//     template <class C> GRAFT_DEVICE C operator()(C x, C shift) const { return x * C(scale) + shift; }
//   };
//
// An f that does one of several things, as told by a member, has select(body) instead, which calls body(g) with the g
// of this launch. The choice is then made once a vector, not once an element, and one kernel serves all of them:
//
//   template <class Body> GRAFT_DEVICE void select(Body body) const {
//     switch (op) {
//       case UnaryOp::neg: return body([](auto x) { return -x; });
//
// A thread takes 16 bytes of the widest operand at a time where the innermost dimension allows it in every operand
// (strided.h), and one element otherwise. y may be one of the inputs, in the same order of elements: each element is
// read before it is written, by the same thread.
//
// Rare work may do without vectors, elementwise<Access::elements>(...): half as much to compile.
#pragma once

#include <array>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <graft/kernels/cuda/strided.h>
#include <graft/kernels/cuda/common.cuh>

namespace graft::kernels::cuda {

inline constexpr int kElementwiseThreads = 256;
/// Blocks a launch has at most; beyond, each thread takes several items.
inline constexpr std::int64_t kElementwiseBlocks = 65536;

/// An input without memory, whose element is its own offset: with row-major strides (position_operand), the number of
/// the element. f gets an std::int64_t.
struct Position {};

inline TensorRef position_operand(const Shape& shape) {
  return {.data = nullptr, .dtype = DType::i64, .shape = shape, .strides = contiguous_strides(shape)};
}

/// The operands of a map and the types of their elements.
template <class Out, class... In>
struct Elements {
  TensorRef y;
  std::array<TensorRef, sizeof...(In)> x;
};

/// What a thread takes at a time: 16 bytes where that is possible, or always one element.
enum class Access { vectors, elements };

namespace elementwise_detail {

template <class T>
inline constexpr std::size_t bytes_of = std::is_same_v<T, Position> ? 1 : sizeof(T);

/// Elements a thread moves at once: 16 bytes of the widest operand.
template <class... T>
inline constexpr int vector_length = static_cast<int>(16 / std::max({bytes_of<T>...}));

template <class F>
inline constexpr bool by_elements = requires {
  requires F::kByElements;
};

template <class T, int V>
struct Loaded {
  Vector<T, V> values;
  GRAFT_DEVICE Compute<T> element(int k) const { return widen(values.at[k]); }
};

template <int V>
struct Loaded<Position, V> {
  std::int64_t first, step;
  GRAFT_DEVICE std::int64_t element(int k) const { return first + k * step; }
};

/// V elements from `offset`, of which the row has `left`; what is beyond repeats the last one.
template <int V, class T>
GRAFT_DEVICE Loaded<T, V> load(const T* x, std::int64_t offset, std::int64_t step, std::uint32_t left) {
  if constexpr (std::is_same_v<T, Position>) {
    return {offset, left < V ? 0 : step};
  } else {
    Loaded<T, V> loaded;
    if constexpr (V == 1) {
      loaded.values.at[0] = x[offset];
    } else if (step == 0) {
      const T value = x[offset];
      GRAFT_UNROLL
      for (int k = 0; k < V; ++k) loaded.values.at[k] = value;
    } else if (left >= V) {
      loaded.values = *reinterpret_cast<const Vector<T, V>*>(x + offset);
    } else {
      GRAFT_UNROLL
      for (int k = 0; k < V; ++k)
        loaded.values.at[k] = x[offset + (k < static_cast<int>(left) ? k : static_cast<int>(left) - 1)];
    }
    return loaded;
  }
}

template <int V, class T>
GRAFT_DEVICE void store(T* y, std::int64_t offset, const Vector<T, V>& values, std::uint32_t left) {
  if constexpr (V == 1) {
    y[offset] = values.at[0];
  } else if (left >= V) {
    store_vector(y + offset, values);
  } else {
    GRAFT_UNROLL
    for (int k = 0; k < V; ++k)
      if (k < static_cast<int>(left)) y[offset + k] = values.at[k];
  }
}

/// What f returned, as an element.
template <class Out, class R>
GRAFT_DEVICE Out as_element(R value) {
  if constexpr (is_half<Out> && !std::is_same_v<R, Out>)
    return narrow<Out>(value);
  else
    return static_cast<Out>(value);
}

template <int V, class Out, class F, class... L>
GRAFT_DEVICE Vector<Out, V> map(const F& f, const L&... x) {
  Vector<Out, V> y;
  const auto body = [&](const auto& g) {
    GRAFT_UNROLL
    for (int k = 0; k < V; ++k) y.at[k] = as_element<Out>(g(x.element(k)...));
  };
  if constexpr (requires { f.select(body); })
    f.select(body);
  else
    body(f);
  return y;
}

template <int V, class F, class Out, class... In>
GRAFT_KERNEL(kElementwiseThreads)
elementwise_kernel(F f, Walk<1 + sizeof...(In)> walk, Out* y, const In*... x) {
  const std::uint32_t threads = gridDim.x * kElementwiseThreads;  // at most 2^24
  for (std::uint32_t item = blockIdx.x * kElementwiseThreads + threadIdx.x; item < walk.items; item += threads) {
    const auto place = walk.template locate<V>(item);
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      store<V>(y, place.offset[0], map<V, Out>(f, load<V>(x, place.offset[I + 1], walk.step[I + 1], place.left)...),
               place.left);
    }
    (std::index_sequence_for<In...>{});
  }
}

template <Access access, class F, class Out, class... In>
void run(const Stream& stream, const char* name, const Dims<1 + sizeof...(In)>& dims, const F& f, Out* y,
         const In*... x) {
  constexpr int N = 1 + sizeof...(In), V = access == Access::vectors ? vector_length<Out, In...> : 1;
  const bool vectors = V > 1 && vector_fits<N>(dims, V, {y, x...}, {bytes_of<Out>, bytes_of<In>...});
  for_each_launch(dims, [&](const Dims<N>& piece) {
    const Walk<N> walk(piece, vectors ? V : 1);
    const std::int64_t blocks = ceil_div<std::int64_t>(walk.items, kElementwiseThreads);
    const LaunchConfig config = {.grid = dim3(static_cast<unsigned>(std::min(blocks, kElementwiseBlocks))),
                                 .block = dim3(kElementwiseThreads)};
    launch(name, vectors ? elementwise_kernel<V, F, Out, In...> : elementwise_kernel<1, F, Out, In...>, config, stream,
           f, walk, y, x...);
  });
}

}  // namespace elementwise_detail

/// y = f(x...) where all operands have y's shape. Nothing for an empty y.
template <Access access = Access::vectors, class F, class Out, class... In>
void elementwise(const Stream& stream, const char* name, const F& f, const Elements<Out, In...>& operands) {
  constexpr int N = 1 + sizeof...(In);
  if (operands.y.numel() == 0) return;
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    const auto dims = collapse<N>(operands.y.shape, {operands.y.strides, operands.x[I].strides...});
    elementwise_detail::run<access>(stream, name, dims, f, operands.y.template as<Out>(),
                                    static_cast<const In*>(operands.x[I].template as<In>())...);
  }
  (std::index_sequence_for<In...>{});
}

/// The same over `count` dense elements.
template <Access access = Access::vectors, class F, class Out, class... In>
void elementwise(const Stream& stream, const char* name, std::int64_t count, const F& f, Out* y, const In*... x) {
  elementwise_detail::run<access>(stream, name, dense_dims<1 + sizeof...(In)>(count), f, y, x...);
}

}  // namespace graft::kernels::cuda
