// Brings positions 0 .. n - 1 into the order of their keys, equal keys in the order of the positions: a radix sort of 8
// bits a pass, each pass a stable counting sort in three launches (count per block, sum up, place). Integer counts
// only, so the result does not depend on the schedule.
//
// Cost: ceil(bits(limit) / 8) passes over n positions, about 40 bytes moved a position and pass.
#pragma once

#include <bit>
#include <utility>

#include <graft/kernels/cuda/common.cuh>

namespace graft::kernels::cuda {
namespace {

constexpr int kBuckets = 256;       // of a pass; also the threads of its blocks, one a bucket
constexpr int kBucketBlocks = 256;  // at most, so that one block can sum up their counts
constexpr int kBucketChunk = 1024;  // at least, positions a block

GRAFT_DEVICE int digit_of(std::int64_t key, int shift) { return static_cast<int>(key >> shift) & (kBuckets - 1); }

// from[i], where null means i.
GRAFT_DEVICE std::int64_t position_at(const std::int64_t* from, std::int64_t i) {
  return from == nullptr ? i : from[i];
}

// table[block][bucket] = how many of the block's positions have the digit.
GRAFT_KERNEL(kBuckets)
bucket_count(const std::int64_t* __restrict__ keys, const std::int64_t* __restrict__ from,
             std::int64_t* __restrict__ table, std::int64_t n, std::int64_t chunk, int shift) {
  GRAFT_SHARED(counts, int[kBuckets]);
  const int thread = static_cast<int>(threadIdx.x);
  counts[thread] = 0;
  __syncthreads();
  const std::int64_t begin = blockIdx.x * chunk, end = std::min(begin + chunk, n);
  for (std::int64_t i = begin + thread; i < end; i += kBuckets)
    atomicAdd(&counts[digit_of(keys[position_at(from, i)], shift)], 1);
  __syncthreads();
  table[static_cast<std::int64_t>(blockIdx.x) * kBuckets + thread] = counts[thread];
}

// table[block][bucket] = where the block's positions of the bucket begin. One block, a thread a bucket.
GRAFT_KERNEL(kBuckets) bucket_scan(std::int64_t* __restrict__ table, int blocks) {
  GRAFT_SHARED(totals, std::int64_t[kBuckets]);
  const int bucket = static_cast<int>(threadIdx.x);
  std::int64_t total = 0;
  for (int b = 0; b < blocks; ++b) total += table[b * kBuckets + bucket];
  totals[bucket] = total;
  __syncthreads();
  std::int64_t start = 0;
  for (int other = 0; other < bucket; ++other) start += totals[other];
  for (int b = 0; b < blocks; ++b) {
    const std::int64_t count = table[b * kBuckets + bucket];
    table[b * kBuckets + bucket] = start;
    start += count;
  }
}

// to[..] = the positions, bucket after bucket, each bucket in the order of `from`.
GRAFT_KERNEL(kBuckets)
bucket_place(const std::int64_t* __restrict__ keys, const std::int64_t* __restrict__ from,
             const std::int64_t* __restrict__ table, std::int64_t* __restrict__ to, std::int64_t n, std::int64_t chunk,
             int shift) {
  constexpr int warps = kBuckets / kWarp;
  GRAFT_SHARED(starts, std::int64_t[kBuckets]);  // where the bucket's next position goes
  GRAFT_SHARED(counts, int[warps][kBuckets]);    // of each warp within this tile
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarp;
  const unsigned lanes_before = (1u << (thread % kWarp)) - 1;
  starts[thread] = table[static_cast<std::int64_t>(blockIdx.x) * kBuckets + thread];
  for (int w = 0; w < warps; ++w) counts[w][thread] = 0;
  const std::int64_t begin = blockIdx.x * chunk, end = std::min(begin + chunk, n);
  for (std::int64_t tile = begin; tile < end; tile += kBuckets) {
    __syncthreads();  // starts and counts are ready
    const bool active = tile + thread < end;
    const std::int64_t position = active ? position_at(from, tile + thread) : 0;
    const int digit = active ? digit_of(keys[position], shift) : 0;
    unsigned peers = __ballot_sync(kAllLanes, active);  // lanes of the same digit
    for (int bit = 1; bit < kBuckets; bit *= 2) {
      const unsigned set = __ballot_sync(kAllLanes, (digit & bit) != 0);
      peers &= (digit & bit) != 0 ? set : ~set;
    }
    const int rank = __popc(peers & lanes_before);
    if (active && rank == 0) counts[warp][digit] = __popc(peers);
    __syncthreads();  // counts of all warps
    if (active) {
      std::int64_t place = starts[digit] + rank;
      for (int w = 0; w < warp; ++w) place += counts[w][digit];
      to[place] = position;
    }
    __syncthreads();  // all have read starts and counts
    for (int w = 0; w < warps; ++w) {
      starts[thread] += counts[w][thread];
      counts[w][thread] = 0;
    }
  }
}

/// The stable order of n > 0 keys, each from 0 to `limit` inclusive, in device memory. Uses two arrays of n and
/// returns the one that holds the result.
inline const std::int64_t* bucket_order(const std::int64_t* keys, std::int64_t* first, std::int64_t* second,
                                        std::int64_t n, std::int64_t limit, const Stream& stream) {
  const std::int64_t chunk =
      ceil_div(std::max<std::int64_t>(ceil_div<std::int64_t>(n, kBucketBlocks), kBucketChunk), std::int64_t{kBuckets}) *
      kBuckets;
  const int blocks = static_cast<int>(ceil_div(n, chunk));
  const Workspace table(static_cast<std::size_t>(blocks) * kBuckets * sizeof(std::int64_t), stream);
  const LaunchConfig each{.grid = dim3(static_cast<unsigned>(blocks)), .block = dim3(kBuckets)};
  const std::int64_t* from = nullptr;
  const int bits = std::bit_width(static_cast<std::uint64_t>(limit));
  for (int shift = 0; shift < std::max(bits, 1); shift += 8) {
    launch("bucket_count", bucket_count, each, stream, keys, from, table.as<std::int64_t>(), n, chunk, shift);
    launch("bucket_scan", bucket_scan, {.block = dim3(kBuckets)}, stream, table.as<std::int64_t>(), blocks);
    launch("bucket_place", bucket_place, each, stream, keys, from, table.as<std::int64_t>(), first, n, chunk, shift);
    from = first;
    std::swap(first, second);
  }
  return from;
}

}  // namespace
}  // namespace graft::kernels::cuda
