// Which kernel a convolution's shape chooses, and how many blocks of it: a choice that is wrong gives right results,
// slowly.
#include <gtest/gtest.h>

#include <string>

#include <graft/kernels/registry/registry.h>
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

// A tile of 128 x 64 results, or of 64 x 32: the large one from two blocks for each of 132 multiprocessors on.
TEST_F(ConvolutionChoice, FewLargeTilesAreCutIntoSmallOnes) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    SCOPED_TRACE(name(dtype));
    // 7 x 7 pictures of a batch of 128 have 6,272 positions: 49 large tiles, 196 small ones.
    EXPECT_EQ(run(forward({{128, 8, 7, 7}, 64, 1}), dtype).blocks, 4u * 49);
    EXPECT_EQ(run(backward_data({{128, 64, 7, 7}, 8, 1}), dtype).blocks, 4u * 49);
    EXPECT_EQ(run(forward({{1, 8, 263, 128}, 64, 1}), dtype).blocks, 4u * 263);
    EXPECT_EQ(run(forward({{1, 8, 264, 128}, 64, 1}), dtype).blocks, 264u);
  }
}

}  // namespace
}  // namespace graft::test
