// What every Hopper kernel stands on: election, setmaxnreg, the alignment of shared memory, mbarriers, clusters.
#include "sm90/sm90.h"

namespace graft::test::sm90 {
namespace {

class Sm90Basics : public Sm90Test {};

TEST_F(Sm90Basics, ElectsOneLaneKeepsRegistersAlignsSharedMemory) {
  for (const unsigned cluster : {1u, 2u, 4u, 8u}) {
    constexpr unsigned blocks = 16, rounds = 3;
    const DeviceArray<std::uint32_t> y(std::vector<std::uint32_t>(8 + blocks * 384 * 4));
    basics(y, rounds, blocks, cluster, stream());
    const std::vector<std::uint32_t> got = y.values();
    for (unsigned warp = 0; warp < blocks * 12; ++warp) {
      unsigned elected = 0;
      for (unsigned lane = 0; lane < 32; ++lane) {
        const unsigned thread = warp % 12 * 32 + lane, block = warp / 12;
        const std::uint32_t* const mine = &got[8 + (block * 384 + thread) * 4];
        elected += mine[0] == rounds ? 1 : 0;
        ASSERT_TRUE(mine[0] == 0 || mine[0] == rounds) << "warp " << warp << ", lane " << lane << ": " << mine[0];
        ASSERT_EQ(mine[1], thread * 8000 + 28) << "warp " << warp << ", lane " << lane;
        ASSERT_EQ(mine[2], block % cluster) << "block " << block << " in clusters of " << cluster;
        ASSERT_EQ(mine[3], 0u) << "dynamic shared memory";
      }
      ASSERT_EQ(elected, 1u) << "warp " << warp;
    }
  }
}

TEST_F(Sm90Basics, HandsItemsOnThroughARing) {
  const unsigned items = 32 * (emulated() ? 30 : 1000), blocks = emulated() ? 2 : 500;
  std::vector<std::uint32_t> host(items);
  for (unsigned i = 0; i < items; ++i) host[i] = i * 7 + 1;
  const DeviceArray<std::uint32_t> x(host), y(std::size_t{items} * blocks);
  ring(x, y, items, blocks, stream());
  const std::vector<std::uint32_t> got = y.values();
  for (unsigned i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], 3 * host[i % items] + i / items) << i;
}

TEST_F(Sm90Basics, PassesThroughTheSharedMemoryOfACluster) {
  const unsigned rounds = emulated() ? 9 : 1000;
  for (const unsigned cluster : {1u, 2u, 4u, 8u}) {
    const unsigned blocks = emulated() ? 8 : 256;
    const DeviceArray<std::uint32_t> y(std::size_t{rounds} * blocks);
    pass_on(y, rounds, blocks, cluster, stream());
    const std::vector<std::uint32_t> got = y.values();
    for (unsigned i = 0; i < got.size(); ++i) {
      const unsigned block = i / rounds, first = block / cluster * cluster;
      const unsigned before = first + (block - first + cluster - 1) % cluster;
      ASSERT_EQ(got[i], before * 1000 + i % rounds) << "block " << block << ", round " << i % rounds;
    }
  }
}

TEST_F(Sm90Basics, BlocksOfAClusterReadEachOther) {
  const unsigned blocks = emulated() ? 16 : 4096;
  for (const unsigned cluster : {1u, 2u, 4u, 8u}) {
    const DeviceArray<std::uint32_t> y(blocks * 64);
    add_over_cluster(y, blocks, cluster, stream());
    const std::vector<std::uint32_t> got = y.values();
    for (unsigned i = 0; i < got.size(); ++i) {
      const unsigned first = i / 64 / cluster * cluster;
      unsigned sum = 0;
      for (unsigned b = first; b < first + cluster; ++b) sum += b * 100 + i % 64;
      ASSERT_EQ(got[i], sum) << "cluster of " << cluster << ", " << i;
    }
  }
}

}  // namespace
}  // namespace graft::test::sm90
