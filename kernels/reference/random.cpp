#include <numbers>

#include <graft/kernels/reference/internal.h>

namespace graft::kernels::reference {
namespace {

// The uniform number of element i in memory order.
double uniform(const RandomKey& key, std::int64_t i) {
  return philox_uniform(philox4x32(key, static_cast<std::uint64_t>(i) / 4)[static_cast<std::size_t>(i % 4)]);
}

// Box-Muller on the pair of elements that i belongs to: the even one is r cos t, the odd one r sin t.
double normal(const RandomKey& key, std::int64_t i) {
  const std::int64_t even = i - i % 2;
  const double radius = std::sqrt(-2 * std::log(1 - uniform(key, even)));
  const double angle = 2 * std::numbers::pi * uniform(key, even + 1);
  return radius * (i == even ? std::cos(angle) : std::sin(angle));
}

void random(const RandomArgs& args) {
  const RandomKey key = resolved(args.key);
  const std::int64_t count = args.y.numel();
  for (std::int64_t i = 0; i < count; ++i)
    store(args.y, i,
          args.distribution == Distribution::uniform ? args.a + (args.b - args.a) * uniform(key, i)
                                                     : args.a + args.b * normal(key, i));
}

void dropout(const DropoutArgs& args) {
  const RandomKey key = resolved(args.key);
  const std::int64_t count = args.x.numel();
  for (std::int64_t i = 0; i < count; ++i) {
    const bool kept = args.p < 1 && uniform(key, i) >= args.p;
    store(args.y, i, kept ? load(args.x, i) / (1 - args.p) : 0);
  }
}

}  // namespace

void add_random(BackendTable& table) {
  add<random>(table);
  add<dropout>(table);
}

}  // namespace graft::kernels::reference
