// Random fills and dropout: the same bits as every backend, whatever the thread count.

#include <algorithm>
#include <cmath>
#include <numbers>

#include <graft/kernels/cpu/common.h>
#include <graft/kernels/cpu/rows.h>

namespace graft::kernels::cpu {
namespace {

Support supports(const RandomArgs& args) { return check_contract(args); }

// The four elements of a block, in double.
void block_of(const RandomArgs& args, std::int64_t block, double (&values)[4]) {
  const PhiloxWords words = philox4x32(resolved(args.key), static_cast<std::uint64_t>(block));
  for (std::size_t j = 0; j < 4; ++j) values[j] = static_cast<double>(philox_uniform(words[j]));
  if (args.distribution == Distribution::uniform) {
    for (double& v : values) v = args.a + (args.b - args.a) * v;
    return;
  }
  for (std::size_t j = 0; j < 4; j += 2) {
    const double radius = std::sqrt(-2 * std::log(1 - values[j])), angle = 2 * std::numbers::pi * values[j + 1];
    values[j] = args.a + args.b * (radius * std::cos(angle));
    values[j + 1] = args.a + args.b * (radius * std::sin(angle));
  }
}

template <class T>
T rounded(double value) {
  if constexpr (std::is_same_v<T, double> || std::is_same_v<T, float>)
    return static_cast<T>(value);
  else
    return T(static_cast<float>(value));
}

void run(const RandomArgs& args, Stream&) {
  visit_dtype(args.y.dtype, [&]<class T>(T) {
    const std::int64_t count = args.y.numel(), blocks = (count + 3) / 4;
    parallel_for(blocks, kGrain / 16, [&](std::int64_t begin, std::int64_t end) {
      double values[4];
      for (std::int64_t b = begin; b < end; ++b) {
        block_of(args, b, values);
        for (std::int64_t j = 0; j < std::min<std::int64_t>(4, count - 4 * b); ++j)
          args.y.as<T>()[4 * b + j] = rounded<T>(values[j]);
      }
    });
  });
}

Support supports(const DropoutArgs& args) { return contract_and_f32(args, {&args.x}); }

void run(const DropoutArgs& args, Stream&) {
  const std::int64_t count = args.x.numel();
  // u >= p, where u has 24 bits; p = 1 is beyond them all.
  const auto threshold = static_cast<std::uint32_t>(std::ceil(args.p * 16777216.0));
  const auto kernel = vector_kernels().dropout;
  const RandomKey key = resolved(args.key);
  constexpr std::int64_t kPiece = 64;  // whole Philox blocks, and whole vectors of them
  parallel_for((count + kPiece - 1) / kPiece, kGrain / kPiece / 4, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t first = begin * kPiece, last = std::min(count, end * kPiece);
    kernel(key.seed, key.offset, static_cast<std::uint64_t>(first), threshold, 1 - args.p, args.x.as<float>() + first,
           args.y.as<float>() + first, last - first);
  });
}

}  // namespace

void add_random(BackendTable& table) {
  table.row<RandomArgs>() = {supports, run};
  table.row<DropoutArgs>() = {supports, run};
}

}  // namespace graft::kernels::cpu
