// The counters that blocks draw tickets from: who shares them, who must not, and that they are zero between launches.
#include <gtest/gtest.h>

#include <optional>
#include <set>

#include <graft/core/autograd/node.h>
#include <graft/core/cuda.h>
#include <graft/core/ops/math.h>
#include <graft/core/random.h>
#include <graft/core/stream.h>
#include <graft/kernels/runtime/activity.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/tickets.h>

#include "support/errors.h"

namespace graft {
namespace {

using runtime::ticket_counters;

class Tickets : public testing::Test {
 protected:
  void SetUp() override {
    if (!cuda::is_available()) GTEST_SKIP() << cuda::why_not();
    stream.emplace(0);
    other.emplace(0);
  }

  static std::vector<std::uint32_t> values(const std::uint32_t* counters, std::size_t count, const Stream& of) {
    std::vector<std::uint32_t> result(count, 77);
    runtime::copy_to_host(result.data(), counters, count * sizeof(std::uint32_t), of);
    runtime::synchronize(of);
    return result;
  }

  const Device gpu = Device::cuda();
  std::optional<cuda::Stream> stream, other;
};

TEST_F(Tickets, AreOfOneStreamAndZero) {
  std::uint32_t* const mine = ticket_counters(7, *stream);
  EXPECT_EQ(ticket_counters(300, *stream), mine);
  std::uint32_t* const theirs = ticket_counters(300, *other);
  EXPECT_TRUE(theirs >= mine + 300 || mine >= theirs + 300);
  EXPECT_EQ(values(mine, 300, *stream), std::vector<std::uint32_t>(300, 0));
  EXPECT_EQ(values(theirs, 300, *other), std::vector<std::uint32_t>(300, 0));
  EXPECT_ERROR(ticket_counters(1, Stream{}), "the stream is the CPU's");
}

TEST_F(Tickets, GrowAndLeaveWhatIsInUse) {
  std::uint32_t* const few = ticket_counters(1, *stream);
  std::uint32_t* const many = ticket_counters(50000, *stream);
  EXPECT_NE(few, many);
  EXPECT_EQ(ticket_counters(2, *stream), many);
  EXPECT_NE(ticket_counters(1, *other), few) << "work of the first stream may still count there";
  EXPECT_EQ(values(many, 50000, *stream), std::vector<std::uint32_t>(50000, 0));
}

TEST_F(Tickets, GoToTheNextStream) {
  std::uint32_t* const mine = ticket_counters(1, *stream);
  stream.reset();
  const cuda::Stream next(0), another(0);
  const std::set<std::uint32_t*> taken{ticket_counters(1, next), ticket_counters(1, another)};
  EXPECT_TRUE(taken.contains(mine));
  EXPECT_EQ(taken.size(), 2u);
}

TEST_F(Tickets, OfAGraphAreItsOwn) {
  std::uint32_t* const eager = ticket_counters(1, *stream);
  std::uint32_t* captured[2];
  std::optional<cuda::Graph> graphs[2];
  for (int i = 0; i < 2; ++i) {
    graphs[i].emplace();
    cuda::GraphCapture capture(*graphs[i], *stream);
    captured[i] = ticket_counters(1, *stream);
    EXPECT_EQ(ticket_counters(1, *stream), captured[i]);
    EXPECT_NE(ticket_counters(1, *other), captured[i]) << "a stream that takes no part";
    capture.finish();
  }
  EXPECT_NE(captured[0], eager);
  EXPECT_NE(captured[0], captured[1]);
  EXPECT_EQ(ticket_counters(1, *stream), eager);
  graphs[0].reset();
  const cuda::Stream next(0);
  EXPECT_EQ(ticket_counters(1, next), captured[0]) << "of a graph that is gone";
}

// Sums whose chunks need tickets: launches, replays and launches between them give the same bits and leave zeros.
TEST_F(Tickets, AreZeroAfterLaunchesAndReplays) {
  Generator generator(5);
  const Tensor host = randn({7000, 10}, generator);
  const Tensor x = host.to(gpu);
  cuda::synchronize();
  const cuda::StreamScope scope(*stream);
  const NoGrad no_grad;
  const float expected = sum(x).to_vector<float>()[0];
  const std::vector<float> columns = sum(x, {0}).to_vector<float>();
  EXPECT_NEAR(expected, sum(host).to_vector<float>()[0], 1e-2);
  cuda::Graph graph;
  Tensor y, z;
  std::uint32_t* counters = nullptr;
  {
    cuda::GraphCapture capture(graph, *stream);
    y = sum(x);
    z = sum(x, {0});
    counters = ticket_counters(1, *stream);
    capture.finish();
  }
  EXPECT_EQ(graph.node_count(), 2) << "no second launch adds the chunks";
  for (int i = 0; i < 3; ++i) {
    graph.launch(*stream);
    EXPECT_EQ(y.to_vector<float>()[0], expected);
    EXPECT_EQ(z.to_vector<float>(), columns);
    EXPECT_EQ(sum(x).to_vector<float>()[0], expected);
    EXPECT_EQ(values(counters, 16, *stream), std::vector<std::uint32_t>(16, 0));
    EXPECT_EQ(values(ticket_counters(16, *stream), 16, *stream), std::vector<std::uint32_t>(16, 0));
  }
}

// In steady work nothing is asked of the device.
TEST_F(Tickets, CostNoAllocation) {
  ticket_counters(9, *stream);
  const auto before = cuda::device_activity();
  for (int i = 0; i < 5; ++i) ticket_counters(9, *stream);
  const auto after = cuda::device_activity();
  EXPECT_EQ(after.allocations, before.allocations);
  EXPECT_EQ(after.waits, before.waits);
}

}  // namespace
}  // namespace graft
