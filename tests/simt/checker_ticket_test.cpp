// The one order between blocks that the checker knows: a ticket between two fences. What is right is not reported, in
// any order of blocks and threads; every way to get it wrong is.
#include "simt/emulated.h"

#include <graft/kernels/simt/checker.h>

namespace graft::simt {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class CheckerTicket : public Emulated, public testing::WithParamInterface<Order> {
 protected:
  void SetUp() override {
    checker::set_active(true);
    if (!checker::enabled()) GTEST_SKIP() << "built without GRAFT_SIMT_CHECK";
    options().order = GetParam();
    options().seed = 3;
  }
};
INSTANTIATE_TEST_SUITE_P(Orders, CheckerTicket, testing::Values(Order::Forward, Order::Reverse, Order::Random),
                         [](const auto& order) {
                           return order.param == Order::Forward   ? "forward"
                                  : order.param == Order::Reverse ? "reverse"
                                                                  : "random";
                         });

enum Bug {
  none,
  no_fence_before,
  no_fence_after,
  no_barrier_before,
  fence_by_another,
  read_before,
  write_after,
  not_the_last,
  scope_of_the_block,
  another_counter,
};
const char* const kNames[] = {"none",
                              "no fence before the ticket",
                              "no fence after the ticket",
                              "no barrier before the fence",
                              "a fence by another thread than the one that draws",
                              "a read before the ticket",
                              "a write after the ticket",
                              "the block before the last adds up",
                              "a ticket of the block's scope",
                              "half of the blocks draw from another counter"};

constexpr unsigned kThreads = 64;

// Each block writes a part of `kThreads`; the one that draws the last number adds them up.
GRAFT_KERNEL(kThreads) add_up(int* parts, unsigned* counters, int* sum, int bug) {
  GRAFT_SHARED(last, bool[1]);
  const unsigned t = threadIdx.x, b = blockIdx.x, n = gridDim.x;
  if (bug == read_before && parts[(b + 1) % n * kThreads + t] == -7) __trap();
  if (bug != write_after) parts[b * kThreads + t] = static_cast<int>(b + t);
  if (bug == fence_by_another && t == 1) __threadfence();
  if (bug != no_barrier_before) __syncthreads();
  if (t == 0) {
    if (bug != no_fence_before && bug != fence_by_another) __threadfence();
    unsigned* const counter = counters + (bug == another_counter ? b % 2 : 0);
    const unsigned blocks = bug == another_counter ? (n + 1 - b % 2) / 2 : n;
    const unsigned number =
        bug == scope_of_the_block ? atomicInc_block(counter, blocks - 1) : atomicInc(counter, blocks - 1);
    last[0] = number == (bug == not_the_last ? blocks - 2 : blocks - 1);
    if (bug != no_fence_after) __threadfence();
  }
  __syncthreads();
  if (bug == write_after) parts[b * kThreads + t] = static_cast<int>(b + t);
  if (!last[0]) return;
  int total = 0;
  for (unsigned i = 0; i < n; ++i) total += parts[i * kThreads + t];
  sum[t] = total;
}

TEST_P(CheckerTicket, OrdersTheLastBlock) {
  constexpr int kBlocks = 7;
  const OnDevice<int> parts(std::vector<int>(kBlocks * kThreads, 0)), sum(std::vector<int>(kThreads, 0));
  const OnDevice<unsigned> counters(std::vector<unsigned>(2, 0));
  for (int round = 0; round < 3; ++round) {  // the counter is zero again
    ASSERT_EQ(launch(add_up, dims(kBlocks, kThreads), static_cast<int*>(parts), static_cast<unsigned*>(counters),
                     static_cast<int*>(sum), none),
              cudaSuccess)
        << text_of(cudaErrorLaunchFailure);
    for (unsigned t = 0; t < kThreads; ++t)
      EXPECT_EQ(sum.values()[t], static_cast<int>(kBlocks * t + kBlocks * (kBlocks - 1) / 2));
    EXPECT_EQ(counters.values()[0], 0u);
  }
}

TEST_P(CheckerTicket, FindsEachWayToGetItWrong) {
  constexpr int kBlocks = 6;
  for (int bug = no_fence_before; bug <= another_counter; ++bug) {
    SCOPED_TRACE(kNames[bug]);
    const OnDevice<int> parts(std::vector<int>(kBlocks * kThreads, 0)), sum(std::vector<int>(kThreads, 0));
    const OnDevice<unsigned> counters(std::vector<unsigned>(2, 0));
    EXPECT_EQ(launch(add_up, dims(kBlocks, kThreads), static_cast<int*>(parts), static_cast<unsigned*>(counters),
                     static_cast<int*>(sum), bug),
              cudaErrorLaunchFailure)
        << "nothing was reported";
    EXPECT_THAT(text_of(cudaErrorLaunchFailure),
                AllOf(HasSubstr("race between blocks: "), HasSubstr("checker_ticket_test.cpp:"),
                      HasSubstr("blocks of one launch are not ordered but by tickets and their fences")));
    reset();
  }
}

// What all blocks read before their tickets, the last one may change; and set the counter back itself.
GRAFT_KERNEL(32) read_then_change(const int* x, int* shift, unsigned* counter, int* parts, int bug) {
  GRAFT_SHARED(last, bool[1]);
  const unsigned b = blockIdx.x;
  const int from = bug == none ? shift[0] : 0;
  if (threadIdx.x == 0) parts[b] = x[b] - from;
  __syncwarp();
  if (threadIdx.x == 0) {
    __threadfence();
    last[0] = atomicAdd(counter, 1u) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  if (bug != none && threadIdx.x == 0 && !last[0] && shift[0] == -7) __trap();  // after the ticket
  if (!last[0] || threadIdx.x != 0) return;
  int sum = 0;
  for (unsigned i = 0; i < gridDim.x; ++i) sum += parts[i];
  shift[0] += sum;
  counter[0] = 0;
}

TEST_P(CheckerTicket, OrdersChangesOfWhatOthersHaveRead) {
  const OnDevice<int> x(std::vector<int>{1, 2, 3, 4, 5}), shift(std::vector<int>(1, 10)), parts(5);
  const OnDevice<unsigned> counter(std::vector<unsigned>(1, 0));
  const auto run = [&](int bug) {
    return launch(read_then_change, dims(5, 32), static_cast<int*>(x), static_cast<int*>(shift),
                  static_cast<unsigned*>(counter), static_cast<int*>(parts), bug);
  };
  for (const int expected : {10 + 15 - 50, -25 + 15 + 125}) {
    ASSERT_EQ(run(none), cudaSuccess) << text_of(cudaErrorLaunchFailure);
    EXPECT_EQ(shift.values()[0], expected);
    EXPECT_EQ(counter.values()[0], 0u);
  }
  EXPECT_EQ(run(read_before), cudaErrorLaunchFailure) << "nothing was reported";
  EXPECT_THAT(text_of(cudaErrorLaunchFailure), HasSubstr("race between blocks: "));
  reset();
}

// Tickets in two steps: the last of every three adds three parts up, the last of those adds all up. What the second
// reads of the first's it knows by a ticket of its own; what it reads of the parts, by the tickets of others.
GRAFT_KERNEL(32) add_up_in_two_steps(int* parts, int* middle, unsigned* counters, int* sum, int bug) {
  GRAFT_SHARED(last, int[1]);
  const unsigned b = blockIdx.x, group = b / 3, groups = gridDim.x / 3, t = threadIdx.x;
  parts[b * 32 + t] = static_cast<int>(b);
  __syncthreads();
  if (t == 0) {
    __threadfence();
    last[0] = atomicInc(counters + group, 2u) == 2u;
    if (bug != no_fence_after) __threadfence();
  }
  __syncthreads();
  if (last[0] == 0) return;
  middle[group * 32 + t] = parts[3 * group * 32 + t] + parts[(3 * group + 1) * 32 + t] + parts[(3 * group + 2) * 32 + t];
  __syncthreads();
  if (t == 0) {
    __threadfence();
    last[0] = atomicInc(counters + groups, groups - 1) == groups - 1;
    __threadfence();
  }
  __syncthreads();
  if (last[0] == 0) return;
  int total = 0, again = 0;
  for (unsigned i = 0; i < groups; ++i) total += middle[i * 32 + t];
  for (unsigned i = 0; i < gridDim.x; ++i) again += parts[i * 32 + t];
  sum[t] = total == again ? total : -1;
}

TEST_P(CheckerTicket, PassesOnWhatWasLearntByOtherTickets) {
  const OnDevice<int> parts(12 * 32), middle(4 * 32), sum(32);
  const OnDevice<unsigned> counters(std::vector<unsigned>(5, 0));
  const auto run = [&](int bug) {
    return launch(add_up_in_two_steps, dims(12, 32), static_cast<int*>(parts), static_cast<int*>(middle),
                  static_cast<unsigned*>(counters), static_cast<int*>(sum), bug);
  };
  ASSERT_EQ(run(none), cudaSuccess) << text_of(cudaErrorLaunchFailure);
  EXPECT_EQ(sum.values(), std::vector<int>(32, 66));
  EXPECT_EQ(run(no_fence_after), cudaErrorLaunchFailure) << "nothing was reported";
  reset();
}

// A launch knows nothing of the tickets of the one before.
GRAFT_KERNEL(32) write_and_read(int* y, unsigned* counter, bool ticket) {
  y[blockIdx.x * 32 + threadIdx.x] = 1;
  __syncwarp();
  if (!ticket) {
    if (blockIdx.x > 0 && y[threadIdx.x] == -7) __trap();
    return;
  }
  if (threadIdx.x == 0) {
    __threadfence();
    atomicAdd(counter, 1u);
    __threadfence();
  }
}

TEST_P(CheckerTicket, EndsWithItsLaunch) {
  const OnDevice<int> y(std::vector<int>(4 * 32, 0));
  const OnDevice<unsigned> counter(std::vector<unsigned>(1, 0));
  const auto run = [&](bool ticket) {
    return launch(write_and_read, dims(4, 32), static_cast<int*>(y), static_cast<unsigned*>(counter), ticket);
  };
  EXPECT_EQ(run(true), cudaSuccess) << text_of(cudaErrorLaunchFailure);
  EXPECT_EQ(run(false), cudaErrorLaunchFailure) << "nothing was reported";
  reset();
}

}  // namespace
}  // namespace graft::simt
