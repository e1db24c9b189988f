// ldmatrix and mma.sync: the layouts are those of the PTX manual. With g = lane / 4 and t = lane % 4:
//
//   ldmatrix      register i of a lane: row g, columns 2t and 2t+1 of matrix i (transposed: rows 2t, 2t+1, column g)
//   m16n8k16      a[i]: row g + 8 (i % 2), columns 2t + 8 (i / 2) and one more;  b[i]: rows 2t + 8i and one more,
//   column g m16n8k8 tf32  a[i]: row g + 8 (i % 2), column t + 4 (i / 2);                 b[i]: row t + 4i, column g
//   both          d[i]: row g + 8 (i / 2), column 2t + i % 2
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <graft/kernels/simt/group.h>

#include <bit>
#include <type_traits>

namespace graft::simt {
namespace {

constexpr unsigned kAllLanes = 0xffffffffu;

struct MatrixRows {
  std::uint16_t row[8];
  std::uint32_t result[4];
};

template <bool Transposed>
void distribute(void** lanes, unsigned) {
  const auto of = [&](unsigned lane) { return static_cast<MatrixRows*>(lanes[lane]); };
  for (unsigned lane = 0; lane < kWarpLanes; ++lane)
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned r = Transposed ? lane % 4 * 2 : lane / 4, c = Transposed ? lane / 4 : lane % 4 * 2;
      const std::uint32_t low = of(i * 8 + r)->row[c];
      const std::uint32_t high = Transposed ? of(i * 8 + r + 1)->row[c] : of(i * 8 + r)->row[c + 1];
      of(lane)->result[i] = low | high << 16;
    }
}

struct MmaOperands {
  float* d;
  const std::uint32_t *a, *b;
};

template <class T>
float element(std::uint32_t pair, unsigned half) {
  const auto bits = static_cast<std::uint16_t>(pair >> (16 * half));
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  } else {
    T value;
    std::memcpy(static_cast<void*>(&value), &bits, sizeof bits);
    return static_cast<float>(value);
  }
}

// d += a b, with both gathered.
template <int K>
void multiply(void** lanes, const float (&a)[16][K], const float (&b)[K][8]) {
  float d[16][8];
  for (unsigned lane = 0; lane < kWarpLanes; ++lane)
    for (unsigned i = 0; i < 4; ++i)
      d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2] = static_cast<MmaOperands*>(lanes[lane])->d[i];
  for (unsigned m = 0; m < 16; ++m)
    for (unsigned k = 0; k < K; ++k)
      for (unsigned n = 0; n < 8; ++n) d[m][n] += a[m][k] * b[k][n];
  for (unsigned lane = 0; lane < kWarpLanes; ++lane)
    for (unsigned i = 0; i < 4; ++i)
      static_cast<MmaOperands*>(lanes[lane])->d[i] = d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
}

template <class T>
void mma_16(void** lanes, unsigned) {
  float a[16][16], b[16][8];
  for (unsigned lane = 0; lane < kWarpLanes; ++lane) {
    const MmaOperands& x = *static_cast<const MmaOperands*>(lanes[lane]);
    const unsigned g = lane / 4, t = lane % 4 * 2;
    for (unsigned h = 0; h < 2; ++h) {
      for (unsigned i = 0; i < 4; ++i) a[g + i % 2 * 8][t + h + i / 2 * 8] = element<T>(x.a[i], h);
      for (unsigned i = 0; i < 2; ++i) b[t + h + i * 8][g] = element<T>(x.b[i], h);
    }
  }
  multiply(lanes, a, b);
}

// The tensor core looks at the upper 19 bits only.
float tf32(std::uint32_t bits) { return std::bit_cast<float>(bits & 0xffffe000u); }

void mma_tf32(void** lanes, unsigned) {
  float a[16][8], b[8][8];
  for (unsigned lane = 0; lane < kWarpLanes; ++lane) {
    const MmaOperands& x = *static_cast<const MmaOperands*>(lanes[lane]);
    const unsigned g = lane / 4, t = lane % 4;
    for (unsigned i = 0; i < 4; ++i) a[g + i % 2 * 8][t + i / 2 * 4] = tf32(x.a[i]);
    for (unsigned i = 0; i < 2; ++i) b[t + i * 4][g] = tf32(x.b[i]);
  }
  multiply(lanes, a, b);
}

}  // namespace

void load_matrices(std::uint32_t* registers, int count, bool transposed, const void* row, Loc where) {
  const Thread& me = *group.current;
  MatrixRows rows{};
  if (me.lane < 8 * static_cast<unsigned>(count)) {  // the other lanes' addresses are not looked at
    if (reinterpret_cast<std::uintptr_t>(row) % 16 != 0)
      refuse(where, "ldmatrix: the row's address is not a multiple of 16 (misaligned)");
    if (!is_shared(row) || shared_rank(row) != me.block)
      refuse(where, "ldmatrix: the row does not lie in the block's shared memory");
    if (checker::enabled()) checker::read(row, sizeof rows.row, where);
    std::memcpy(rows.row, row, sizeof rows.row);
  }
  warp_collective(kAllLanes, &rows, transposed ? distribute<true> : distribute<false>, "ldmatrix", where);
  std::memcpy(registers, rows.result, sizeof(std::uint32_t) * static_cast<unsigned>(count));
}

void warp_mma(MmaType type, float* d, const std::uint32_t* a, const std::uint32_t* b, Loc where) {
  MmaOperands operands{d, a, b};
  const Combine combine = type == MmaType::bf16  ? mma_16<__nv_bfloat16>
                          : type == MmaType::f16 ? mma_16<__half>
                                                 : mma_tf32;
  warp_collective(kAllLanes, &operands, combine, "mma.sync", where);
}

}  // namespace graft::simt
