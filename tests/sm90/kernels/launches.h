// What the tests of Hopper's instructions launch: plain functions, so that the tests know neither nvcc nor the emulator.
// Each starts one kernel on the stream.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include <graft/kernels/api/device.h>
#include <graft/kernels/runtime/tensor_map.h>

namespace graft::test::sm90 {

// --- launch_copies.cu: kernels of tests/simt/kernels/tensor_copies.cu --------------------------------------------------

inline constexpr unsigned kMostBoxBytes = 32 * 1024;

/// Where a box begins, innermost first; for im2col also the offsets.
struct Place {
  std::array<int, 5> at{};
  std::array<unsigned short, 3> offset{};
};

/// y gets the words that one load leaves in shared memory.
void look_at_box(int rank, bool im2col, const runtime::TensorMap& map, const Place& place, std::uint32_t* y,
                 unsigned words, const Stream& stream);
/// One box from x into y at the same place, each word one more.
void add_one(int rank, const runtime::TensorMap& x, const runtime::TensorMap& y, const Place& place, unsigned words,
             const Stream& stream);
/// y = x, runs of 1024 words in reverse order.
void swap_runs(const std::uint32_t* x, std::uint32_t* y, unsigned runs, const Stream& stream);
/// Clusters whose blocks each load a part of a box of (32, rows) words for all: y gets what each block has.
void share_box(const runtime::TensorMap& map, std::uint32_t* y, unsigned rows, unsigned blocks, unsigned cluster,
               const Stream& stream);
/// The same with pixels of an im2col matrix, from the images' corner (-1, -1) on, at offset (2, 1).
void share_pixels(const runtime::TensorMap& map, std::uint32_t* y, unsigned pixels, unsigned columns, unsigned rows,
                  unsigned blocks, unsigned cluster, const Stream& stream);
/// y (blocks x 64): the sums over each cluster of block * 100 + thread.
void add_over_cluster(std::uint32_t* y, unsigned blocks, unsigned cluster, const Stream& stream);

// --- launch_wgmma.cu: tests/simt/kernels/wgmma_products.cu -----------------------------------------------------------

enum class Element { bf16, f16, tf32 };

struct WgmmaShape {
  Element element;
  int columns;  // of b
  bool a_columns, b_rows, registers_a;
};

/// Where a matrix's parts lie in its image, as wgmma_products.cu says.
struct MatrixLayout {
  runtime::Swizzle swizzle = runtime::Swizzle::none;
  unsigned stride = 0, leading = 0, steps_a_part = 1, part = 0, step = 0;
};

inline constexpr unsigned kBytesOfA = 32 * 1024, kBytesOfB = 64 * 1024;

/// The shapes that are built.
std::vector<WgmmaShape> wgmma_shapes();

/// y (64 x columns) += a b in `steps` steps of depth, from images of kBytesOfA and kBytesOfB bytes.
void multiply(const WgmmaShape& shape, const std::uint32_t* a, const MatrixLayout& layout_a, const std::uint32_t* b,
              const MatrixLayout& layout_b, unsigned steps, float* y, const Stream& stream);

// --- launch_gemm.cu: tests/simt/kernels/hopper_gemm.cu ---------------------------------------------------------------

/// c (m x n, float) = a (m x k) b (n x k, transposed), bf16; n a multiple of 4, k of 8. cluster: 1 or 2.
void multiply(const void* a, const void* b, float* c, int m, int n, int k, int cluster, const Stream& stream);

// --- launch_basics.cu ------------------------------------------------------------------------------------------------

/// y is 8 zeros, then (blocks x 384 x 4) of each thread: how often it was elected in `rounds` rounds, the sum of 8
/// numbers 1000 thread + i that registers kept across setmaxnreg, its block's rank in its cluster, the address of dynamic
/// shared memory modulo 1024.
void basics(std::uint32_t* y, unsigned rounds, unsigned blocks, unsigned cluster, const Stream& stream);
/// y (blocks x items): y[i] = 3 x[i] + block, handed from one warp to three others through a ring of four places.
void ring(const std::uint32_t* x, std::uint32_t* y, unsigned items, unsigned blocks, const Stream& stream);
/// y (blocks x rounds): what the block before in the cluster wrote into this one's shared memory in each round.
void pass_on(std::uint32_t* y, unsigned rounds, unsigned blocks, unsigned cluster, const Stream& stream);

}  // namespace graft::test::sm90
