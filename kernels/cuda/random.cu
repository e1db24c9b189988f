// Random fills and dropout. Element i of memory takes word i % 4 of Philox block i / 4, so a thread that writes whole
// blocks needs no other thread's words, and the numbers do not depend on how the work is cut.
//
// Uniform numbers are formed in double, as on every backend: the same bits everywhere. Normal ones (Box-Muller) are
// formed in the compute type. A dropout mask compares the 24 bits of the uniform number with p 2^24, rounded up, which
// is exact.
#include <cmath>

#include <graft/kernels/cuda/rows.h>
#include <graft/kernels/cuda/common.cuh>

namespace graft::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kBlocks = 65536;  // beyond, each thread takes several chunks

/// Elements a thread makes at a time: whole Philox blocks, whole 16-byte vectors.
template <class T>
constexpr int kChunk = std::max(4, kVectorLength<T>);

template <class T>
struct Chunk {
  T at[kChunk<T>];
};

/// Elements `first` onwards, of which there are `left`; by vectors where `aligned`.
template <class T>
GRAFT_DEVICE void store_chunk(T* y, std::int64_t first, std::int64_t left, bool aligned, const Chunk<T>& chunk) {
  constexpr int V = kVectorLength<T>;
  if (aligned && left >= kChunk<T>) {
    GRAFT_UNROLL
    for (int v = 0; v < kChunk<T>; v += V) {
      Vector<T, V> vector;
      GRAFT_UNROLL
      for (int k = 0; k < V; ++k) vector.at[k] = chunk.at[v + k];
      store_vector(y + first + v, vector);
    }
  } else {
    GRAFT_UNROLL
    for (int k = 0; k < kChunk<T>; ++k)
      if (k < left) y[first + k] = chunk.at[k];
  }
}

template <class T>
GRAFT_DEVICE Chunk<T> load_chunk(const T* x, std::int64_t first, std::int64_t left, bool aligned) {
  constexpr int V = kVectorLength<T>;
  Chunk<T> chunk;
  if (aligned && left >= kChunk<T>) {
    GRAFT_UNROLL
    for (int v = 0; v < kChunk<T>; v += V) {
      const auto vector = *reinterpret_cast<const Vector<T, V>*>(x + first + v);
      GRAFT_UNROLL
      for (int k = 0; k < V; ++k) chunk.at[v + k] = vector.at[k];
    }
  } else {
    GRAFT_UNROLL
    for (int k = 0; k < kChunk<T>; ++k) chunk.at[k] = k < left ? x[first + k] : narrow<T>(0);
  }
  return chunk;
}

/// Calls f(first, left) for this thread's chunks of `count` elements.
template <class T, class F>
GRAFT_DEVICE void for_each_chunk(std::int64_t count, const F& f) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads * kChunk<T>;
  for (std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kChunk<T>; first < count;
       first += step)
    f(first, count - first);
}

template <class T>
GRAFT_KERNEL(kThreads)
random_uniform(T* y, std::int64_t count, bool aligned, double low, double range, RandomKey drawn) {
  const RandomKey key = resolved(drawn);
  for_each_chunk<T>(count, [&](std::int64_t first, std::int64_t left) {
    Chunk<T> chunk;
    GRAFT_UNROLL
    for (int b = 0; b < kChunk<T>; b += 4) {
      const PhiloxWords words = philox4x32(key, static_cast<std::uint64_t>(first + b) / 4);
      GRAFT_UNROLL
      for (int k = 0; k < 4; ++k) {
        const double u = philox_uniform(words[static_cast<std::size_t>(k)]);
        // Not contracted to a fused multiplication and addition, which other backends do not have.
        const double value = __dadd_rn(low, __dmul_rn(range, u));
        if constexpr (is_half<T>)
          chunk.at[b + k] = narrow<T>(static_cast<float>(value));
        else
          chunk.at[b + k] = static_cast<T>(value);
      }
    }
    store_chunk(y, first, left, aligned, chunk);
  });
}

/// z0 = r cos t and z1 = r sin t. The turn is cut to an eighth around each quarter first: that is exact in 24 bits, and
/// no rounding of 2 pi u1 is seen.
template <class C>
GRAFT_DEVICE void box_muller(std::uint32_t word0, std::uint32_t word1, C& z0, C& z1) {
  const C radius = std::sqrt(-2 * std::log(C(1) - C(philox_uniform(word0))));
  const C turn = C(philox_uniform(word1));
  const int quarter = static_cast<int>(turn * 4 + C(0.5));
  const C angle = C(6.28318530717958647692) * (turn - C(quarter) * C(0.25));
  const C c = std::cos(angle), s = std::sin(angle);
  const C across = quarter & 1 ? s : c, up = quarter & 1 ? c : s;
  z0 = radius * (((quarter + 1) & 2) != 0 ? -across : across);
  z1 = radius * ((quarter & 2) != 0 ? -up : up);
}

template <class T>
GRAFT_KERNEL(kThreads)
random_normal(T* y, std::int64_t count, bool aligned, double mean, double deviation, RandomKey drawn) {
  const RandomKey key = resolved(drawn);
  using C = Compute<T>;
  for_each_chunk<T>(count, [&](std::int64_t first, std::int64_t left) {
    Chunk<T> chunk;
    GRAFT_UNROLL
    for (int b = 0; b < kChunk<T>; b += 4) {
      const PhiloxWords words = philox4x32(key, static_cast<std::uint64_t>(first + b) / 4);
      C z[4];
      box_muller(words[0], words[1], z[0], z[1]);
      box_muller(words[2], words[3], z[2], z[3]);
      GRAFT_UNROLL
      for (int k = 0; k < 4; ++k) chunk.at[b + k] = narrow<T>(C(mean) + C(deviation) * z[k]);
    }
    store_chunk(y, first, left, aligned, chunk);
  });
}

template <class T>
GRAFT_KERNEL(kThreads)
dropout(const T* x, T* y, std::int64_t count, bool aligned, std::uint32_t threshold, Compute<T> scale,
        RandomKey drawn) {
  const RandomKey key = resolved(drawn);
  for_each_chunk<T>(count, [&](std::int64_t first, std::int64_t left) {
    Chunk<T> chunk = load_chunk(x, first, left, aligned);
    GRAFT_UNROLL
    for (int b = 0; b < kChunk<T>; b += 4) {
      const PhiloxWords words = philox4x32(key, static_cast<std::uint64_t>(first + b) / 4);
      GRAFT_UNROLL
      for (int k = 0; k < 4; ++k) {
        const bool kept = words[static_cast<std::size_t>(k)] >> 8 >= threshold;
        chunk.at[b + k] = narrow<T>(kept ? widen(chunk.at[b + k]) * scale : Compute<T>(0));
      }
    }
    store_chunk(y, first, left, aligned, chunk);
  });
}

template <class T>
LaunchConfig config_for(std::int64_t count) {
  const std::int64_t blocks = ceil_div<std::int64_t>(count, std::int64_t{kThreads} * kChunk<T>);
  return {.grid = dim3(static_cast<unsigned>(std::min(blocks, kBlocks))), .block = dim3(kThreads)};
}

void run_random(const RandomArgs& args, Stream& stream) {
  const std::int64_t count = args.y.numel();
  if (count == 0) return;
  visit_floating(args.y.dtype, [&]<class T>(T) {
    T* y = args.y.as<T>();
    if (args.distribution == Distribution::uniform)
      launch("random_uniform", random_uniform<T>, config_for<T>(count), stream, y, count, is_aligned(y, 16), args.a,
             args.b - args.a, args.key);
    else
      launch("random_normal", random_normal<T>, config_for<T>(count), stream, y, count, is_aligned(y, 16), args.a,
             args.b, args.key);
  });
}

void run_dropout(const DropoutArgs& args, Stream& stream) {
  const std::int64_t count = args.x.numel();
  if (count == 0) return;
  // u >= p, where u has 24 bits; p = 1 is beyond them all.
  const auto threshold = static_cast<std::uint32_t>(std::ceil(args.p * 16777216.0));
  visit_floating(args.x.dtype, [&]<class T>(T) {
    const T* x = args.x.as<T>();
    T* y = args.y.as<T>();
    launch("dropout", dropout<T>, config_for<T>(count), stream, x, y, count, is_aligned(x, 16) && is_aligned(y, 16),
           threshold, static_cast<Compute<T>>(1 / (1 - args.p)), args.key);
  });
}

}  // namespace

void add_random(BackendTable& table) {
  table.row<RandomArgs>() = row(run_random);
  table.row<DropoutArgs>() = row(run_dropout);
}

}  // namespace graft::kernels::cuda
