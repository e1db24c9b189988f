// What every kernel file uses: element types, vectors, reductions within a warp and a block, scratch memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>

#include <graft/kernels/api/contracts.h>
#include <graft/kernels/cuda/arch/global.h>
#include <graft/kernels/cuda/launch.cuh>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/faults.h>

namespace graft::kernels::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

template <class T>
constexpr T ceil_div(T a, T b) {
  return (a + b - 1) / b;
}

// --- element types --------------------------------------------------------------------------------------------------

/// Calls f with a value of the device's type for a floating dtype: visit_floating(d, [&]<class T>(T) {...}).
template <class F>
decltype(auto) visit_floating(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f(float{});
    case DType::f64:
      return f(double{});
    case DType::bf16:
      return f(__nv_bfloat16{});
    case DType::f16:
      return f(__half{});
    default:
      fail("a CUDA kernel was asked for ", name(dtype), ", expected a floating dtype");
  }
}

/// The same for every dtype.
template <class F>
decltype(auto) visit_element(DType dtype, F&& f) {
  switch (dtype) {
    case DType::i64:
      return f(std::int64_t{});
    case DType::i32:
      return f(std::int32_t{});
    case DType::u8:
      return f(std::uint8_t{});
    case DType::boolean:
      return f(bool{});
    default:
      return visit_floating(dtype, std::forward<F>(f));
  }
}

template <class T>
inline constexpr bool is_half = std::is_same_v<T, __nv_bfloat16> || std::is_same_v<T, __half>;

/// What arithmetic on T happens in: float for the 16-bit types, else T itself.
template <class T>
using Compute = std::conditional_t<is_half<T>, float, T>;

/// T as its compute type.
template <class T>
GRAFT_DEVICE Compute<T> widen(T value) {
  return static_cast<Compute<T>>(value);
}

/// A result rounded to T, to nearest even.
template <class T>
GRAFT_DEVICE T narrow(Compute<T> value) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>)
    return __float2bfloat16_rn(value);
  else if constexpr (std::is_same_v<T, __half>)
    return __float2half_rn(value);
  else
    return value;
}

/// N elements that move with one access.
template <class T, int N>
struct alignas(sizeof(T) * N) Vector {
  T at[N];
};

/// As many elements as fit 16 bytes.
template <class T>
inline constexpr int kVectorLength = 16 / static_cast<int>(sizeof(T));

/// Writes a vector to global memory in one access, `p` being a multiple of its size.
template <int N, class T>
GRAFT_DEVICE void store_vector(T* p, const Vector<T, N>& value) {
  if constexpr (sizeof(value) == 16)
    arch::store16(p, value);
  else if constexpr (sizeof(value) == 8 && N > 1)
    arch::store8(p, value);
  else
    *reinterpret_cast<Vector<T, N>*>(p) = value;
}

inline bool is_aligned(const void* p, std::size_t bytes) { return reinterpret_cast<std::uintptr_t>(p) % bytes == 0; }

// --- reductions -----------------------------------------------------------------------------------------------------

struct Add {
  template <class T>
  GRAFT_DEVICE T operator()(T a, T b) const {
    return a + b;
  }
};

/// The greater; NaN wins.
struct Max {
  template <class T>
  GRAFT_DEVICE T operator()(T a, T b) const {
    return a > b || a != a ? a : b;
  }
};

/// `combine` over the lanes of a warp in a fixed order; every lane gets the result. All lanes must call.
template <class T, class Combine>
GRAFT_DEVICE T warp_reduce(T value, Combine combine) {
  GRAFT_UNROLL
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value = combine(value, __shfl_xor_sync(kAllLanes, value, offset));
  return value;
}

/// `combine` over all threads of a block of Threads (one-dimensional) in a fixed order; every thread gets the result.
/// `scratch` is shared memory of Threads / 32 entries, which other threads may still read when this returns: the next
/// reduction takes other scratch, and the one after it may take this again, as the barrier of the one between has
/// parted them. Two scratches in turns spare the second barrier that each reduction would need.
template <int Threads, class T, class Combine>
GRAFT_DEVICE T block_reduce(T value, T* scratch, Combine combine) {
  constexpr int warps = Threads / kWarp;
  value = warp_reduce(value, combine);
  if constexpr (warps == 1) return value;
  if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = value;
  __syncthreads();
  value = scratch[0];
  GRAFT_UNROLL
  for (int i = 1; i < warps; ++i) value = combine(value, scratch[i]);
  return value;
}

// --- the host's side ------------------------------------------------------------------------------------------------

/// Blocks of a one-dimensional grid for `count` items, `per_block` each; at least 1. Throws Error beyond the device's
/// limit of 2^31 - 1 blocks.
inline unsigned blocks_for(std::int64_t count, std::int64_t per_block) {
  const std::int64_t blocks = std::max<std::int64_t>(ceil_div(count, per_block), 1);
  check(blocks <= std::numeric_limits<std::int32_t>::max(), "a launch over ", count, " items needs ", blocks,
        " blocks, the device allows 2147483647");
  return static_cast<unsigned>(blocks);
}

/// Scratch memory of the device for one call, from the caching allocator.
class Workspace {
 public:
  Workspace(std::size_t bytes, const Stream& stream) : stream_(stream), block_(runtime::device_allocate(bytes, stream)) {}
  ~Workspace() { runtime::device_free(block_, stream_); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  template <class T>
  T* as() const {
    return static_cast<T*>(block_);
  }

 private:
  Stream stream_;
  void* block_;
};

/// Tells the host of a fault in the data (runtime/faults.h). The first one since the host last looked is kept.
GRAFT_DEVICE void report_fault(runtime::FaultRecord* record, runtime::FaultKind kind, std::int64_t position,
                               std::int64_t value, std::int64_t limit) {
  if (atomicCAS(&record->claimed, 0u, 1u) != 0u) return;
  record->kind = kind;
  record->position = position;
  record->value = value;
  record->limit = limit;
  __threadfence_system();
  atomicExch(&record->claimed, 2u);
}

/// The row of an op that needs no more than its contract.
template <class Args>
Row<Args> row(void (*run)(const Args&, Stream&)) {
  return {[](const Args& args) { return check_contract(args); }, run};
}

}  // namespace graft::kernels::cuda
