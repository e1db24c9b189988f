// Which kernel a convolution's shape chooses, and how many blocks of it: a choice that is wrong gives right results,
// slowly.
#include <gtest/gtest.h>

#include <string>

#include <graft/kernels/registry/registry.h>
#include <graft/kernels/runtime/activity.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/simt/core.h>

#include "kernels/op_case.h"

namespace graft::test {
namespace {

using namespace kernels;

/// A convolution with 3x3 windows and padding 1, or 1x1 windows, in one of its directions.
struct Conv {
  Shape x;
  std::int64_t filters, window;

  Conv2dGeometry geometry() const { return {.padding_h = window / 2, .padding_w = window / 2}; }
  Shape w() const { return {filters, x[1], window, window}; }
  Shape y() const { return {x[0], filters, x[2], x[3]}; }
};

OpCase forward(const Conv& conv) {
  return op_case("choice", kF32, {}, [conv](Maker& make) {
    Conv2dForwardArgs args;
    args.x = make.input(conv.x, Layout::channels_last());
    args.w = make.input(conv.w(), Layout::channels_last());
    args.y = make.output("y", conv.y(), Layout::channels_last());
    args.geometry = conv.geometry();
    return args;
  });
}

OpCase backward_data(const Conv& conv) {
  return op_case("choice", kF32, {}, [conv](Maker& make) {
    Conv2dBackwardDataArgs args;
    args.gy = make.input(conv.y(), Layout::channels_last());
    args.w = make.input(conv.w(), Layout::channels_last());
    args.gx = make.output("gx", conv.x, Layout::channels_last());
    args.geometry = conv.geometry();
    return args;
  });
}

OpCase backward_weight(const Conv& conv) {
  return op_case("choice", kF32, {}, [conv](Maker& make) {
    Conv2dBackwardWeightArgs args;
    args.x = make.input(conv.x, Layout::channels_last());
    args.gy = make.input(conv.y(), Layout::channels_last());
    args.gw = make.output("gw", conv.w(), Layout::channels_last());
    args.geometry = conv.geometry();
    return args;
  });
}

/// What ran: the kernels with a barrier, and the blocks of all kernels.
struct Ran {
  std::string kernels;
  std::uint64_t blocks;
};

Ran run(const OpCase& op, DType dtype) {
  simt::clear_sites();
  const std::uint64_t before = simt::stats().blocks;
  const CaseRun done = run_case(op, dtype, *find_backend(BackendId::cuda));
  EXPECT_TRUE(done.support.ok) << done.support.reason;
  Ran ran{"", simt::stats().blocks - before};
  for (const simt::Site& site : simt::sites())
    if (ran.kernels.find(site.kernel) == std::string::npos) ran.kernels += std::string(site.kernel) + " ";
  return ran;
}

class ConvolutionChoice : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = runtime::cuda_unavailable(); !why.empty()) GTEST_SKIP() << why;
  }
};

TEST_F(ConvolutionChoice, OneToFourChannelsAreConvolvedDirectly) {
  for (const std::int64_t channels : {1, 2, 3, 4, 5})
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64}) {
      SCOPED_TRACE(std::to_string(channels) + " channels, " + name(dtype));
      const Conv conv{{1, channels, 6, 5}, 8, 3};
      const bool direct = channels <= 4 && dtype != DType::f64;
      for (const OpCase& op : {forward(conv), backward_data(conv), backward_weight(conv)}) {
        const Ran ran = run(op, dtype);
        EXPECT_EQ(ran.kernels.find("conv2d_direct") != std::string::npos, direct) << ran.kernels;
      }
    }
}

// A tile of 128 x 64 results, or of 64 x 32: the large one from two blocks for each of 132 multiprocessors on, of 16-bit
// elements from one.
TEST_F(ConvolutionChoice, FewLargeTilesAreCutIntoSmallOnes) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    SCOPED_TRACE(name(dtype));
    // 7 x 7 pictures of a batch of 128 have 6,272 positions: 49 large tiles, 196 small ones.
    EXPECT_EQ(run(forward({{128, 8, 7, 7}, 64, 1}), dtype).blocks, 4u * 49);
    EXPECT_EQ(run(backward_data({{128, 64, 7, 7}, 8, 1}), dtype).blocks, 4u * 49);
    const std::int64_t enough = dtype == DType::f32 ? 264 : 132;
    const auto blocks = static_cast<std::uint64_t>(enough);
    EXPECT_EQ(run(forward({{1, 8, enough - 1, 128}, 64, 1}), dtype).blocks, 4 * (blocks - 1));
    EXPECT_EQ(run(forward({{1, 8, enough, 128}, 64, 1}), dtype).blocks, blocks);
  }
}

// The parts of a weight gradient: 20 of 256 positions, and of the direct kernel 66 of a picture each. Of 64 filters of
// 7 x 7 x 3 nine parts are too much for one block: a second launch adds 32 weights a block.
TEST_F(ConvolutionChoice, PartsAreAddedByTheBlocksThatMakeThem) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    SCOPED_TRACE(name(dtype));
    const auto launches = [] { return runtime::device_activity().launches; };
    std::uint64_t before = launches();
    EXPECT_EQ(run(backward_weight({{2, 8, 40, 64}, 8, 1}), dtype).blocks, 20u);
    EXPECT_EQ(launches() - before, 1u);
    before = launches();
    EXPECT_EQ(run(backward_weight({{66, 1, 16, 16}, 8, 3}), dtype).blocks, 66u);
    EXPECT_EQ(launches() - before, 1u);
    before = launches();
    EXPECT_EQ(run(backward_weight({{9, 3, 16, 16}, 64, 7}), dtype).blocks, 9u + 64 * 7 * 7 * 3 / 32);
    EXPECT_EQ(launches() - before, 2u);
  }
}

// Whatever block is the last of a group of parts, and whatever group of a tile.
TEST_F(ConvolutionChoice, PartsAreAddedInOneOrder) {
  const simt::Options defaults = simt::options();
  for (const Conv& conv : {Conv{{2, 8, 40, 64}, 8, 1}, Conv{{1, 5, 48, 48}, 3, 1}, Conv{{66, 1, 16, 16}, 8, 3}})
    for (const DType dtype : {DType::f32, DType::bf16}) {
      SCOPED_TRACE(std::to_string(conv.x[1]) + " channels, " + name(dtype));
      const OpCase op = backward_weight(conv);
      const auto bits_differ = [&](const CaseRun& a, const CaseRun& b) {
        for (std::size_t i = 0; i < a.tensors->buffers().size(); ++i)
          if (!a.tensors->buffers()[i]->same_bytes(*b.tensors->buffers()[i])) return true;
        return false;
      };
      simt::options().order = simt::Order::Forward;
      const CaseRun forward = run_case(op, dtype, *find_backend(BackendId::cuda));
      for (const std::uint64_t seed : {0, 7, 8}) {
        simt::options().order = seed == 0 ? simt::Order::Reverse : simt::Order::Random;
        simt::options().seed = seed;
        EXPECT_FALSE(bits_differ(forward, run_case(op, dtype, *find_backend(BackendId::cuda)))) << "seed " << seed;
      }
      simt::options() = defaults;
    }
}

}  // namespace
}  // namespace graft::test
