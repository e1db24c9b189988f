// Host memory and parallel loops.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/host_memory.h>
#include <graft/kernels/runtime/parallel.h>

namespace graft::test {
namespace {

using namespace runtime;

TEST(HostMemory, BlocksAreAlignedAndWritable) {
  for (std::size_t bytes : {1u, 63u, 64u, 255u, 256u, 257u, 1000u, 4096u, 5000u, 1u << 20, (1u << 20) + 1}) {
    void* block = host_allocate(bytes);
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % kHostAlignment, 0u) << bytes;
    std::memset(block, 1, bytes);
    host_free(block, bytes);
  }
  EXPECT_EQ(host_allocate(0), nullptr);
  host_free(nullptr, 0);
}

TEST(HostMemory, BlocksAreUsedAgain) {
  host_release_cache();
  const HostMemoryStats before = host_memory_stats();
  void* block = host_allocate(10000);
  EXPECT_GE(host_memory_stats().in_use - before.in_use, 10000u);
  EXPECT_EQ(host_memory_stats().system_calls, before.system_calls + 1);
  host_free(block, 10000);
  EXPECT_EQ(host_memory_stats().in_use, before.in_use);
  EXPECT_GE(host_memory_stats().cached, 10000u);
  void* again = host_allocate(9990);  // of the same size class
  EXPECT_EQ(again, block);
  EXPECT_EQ(host_memory_stats().system_calls, before.system_calls + 1)
      << "the steady state asks the system for nothing";
  host_free(again, 9990);
  host_release_cache();
  EXPECT_EQ(host_memory_stats().cached, 0u);
}

TEST(HostMemory, ACachedBlockIsNeverTooSmall) {
  // Around every border of the size classes up to 64 KiB: whatever was freed, what comes back holds what was asked for.
  for (std::size_t size = 256; size <= 65536; size += size / 4)
    for (std::size_t bytes : {size - 1, size, size + 1}) {
      void* small = host_allocate(bytes);
      host_free(small, bytes);
      void* larger = host_allocate(bytes + bytes / 8);
      std::memset(larger, 0xff, bytes + bytes / 8);  // a sanitizer sees an overrun
      host_free(larger, bytes + bytes / 8);
    }
  host_release_cache();
}

TEST(HostMemory, PeakIsTheHighestUse) {
  host_reset_peak();
  const std::size_t start = host_memory_stats().in_use;
  void* a = host_allocate(1 << 20);
  void* b = host_allocate(1 << 20);
  host_free(a, 1 << 20);
  host_free(b, 1 << 20);
  EXPECT_GE(host_memory_stats().peak, start + (2u << 20));
  host_reset_peak();
  EXPECT_EQ(host_memory_stats().peak, host_memory_stats().in_use);
}

TEST(HostMemory, TooMuchIsAnErrorThatSaysHowMuch) {
  try {
    host_allocate(std::size_t{1} << 62);
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("4611686018427387904 bytes"), std::string::npos) << error.what();
  }
}

TEST(HostMemory, ManyThreads) {
  const std::size_t before = host_memory_stats().in_use;
  std::atomic<int> clashes = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([t, &clashes] {
      for (int i = 0; i < 500; ++i) {
        const std::size_t bytes = 64u + static_cast<std::size_t>(i % 7) * 300u;
        auto* block = static_cast<unsigned char*>(host_allocate(bytes));
        std::memset(block, t, bytes);
        for (std::size_t j = 0; j < bytes; ++j) clashes += block[j] != t;
        host_free(block, bytes);
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(clashes, 0);
  EXPECT_EQ(host_memory_stats().in_use, before);
}

class ThreadsTest : public testing::Test {
 protected:
  ~ThreadsTest() override { set_num_threads(previous_); }

 private:
  int previous_ = num_threads();
};

TEST_F(ThreadsTest, EveryIndexOnce) {
  for (int threads : {1, 2, 3, 7}) {
    set_num_threads(threads);
    EXPECT_EQ(num_threads(), threads);
    for (std::int64_t count : {0, 1, 2, 7, 64, 1000})
      for (std::int64_t grain : {0, 1, 3, 100, 5000}) {
        std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
        parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end) {
          EXPECT_LT(begin, end);
          for (std::int64_t i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
        });
        for (const auto& n : visits)
          ASSERT_EQ(n, 1) << "count " << count << " grain " << grain << " threads " << threads;
      }
  }
}

TEST_F(ThreadsTest, RangesAreAtLeastAGrain) {
  set_num_threads(4);
  for (std::int64_t count : {10, 17, 100, 129})
    for (std::int64_t grain : {3, 8, 64}) {
      std::mutex mutex;
      std::vector<std::pair<std::int64_t, std::int64_t>> ranges;
      parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end) {
        std::lock_guard lock(mutex);
        ranges.emplace_back(begin, end);
      });
      for (const auto& [begin, end] : ranges) {
        if (end != count) {
          EXPECT_GE(end - begin, grain) << "count " << count << " grain " << grain << " begin " << begin;
        }
      }
    }
}

TEST_F(ThreadsTest, AnExceptionReachesTheCaller) {
  set_num_threads(3);
  for (std::int64_t bad : {0, 50, 99})
    EXPECT_THROW(parallel_for(100, 1,
                              [&](std::int64_t begin, std::int64_t end) {
                                if (begin <= bad && bad < end) throw std::out_of_range("element");
                              }),
                 std::out_of_range);
  int calls = 0;
  parallel_for(1, 1, [&](std::int64_t, std::int64_t) { ++calls; });
  EXPECT_EQ(calls, 1) << "and the next loop runs";
}

TEST_F(ThreadsTest, NestedLoopsAreSerial) {
  set_num_threads(3);
  std::vector<std::atomic<int>> visits(60);
  parallel_for(6, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      int pieces = 0;
      parallel_for(10, 1, [&](std::int64_t from, std::int64_t to) {
        ++pieces;
        for (std::int64_t j = from; j < to; ++j) ++visits[static_cast<std::size_t>(i * 10 + j)];
      });
      EXPECT_EQ(pieces, 1);
    }
  });
  for (const auto& n : visits) EXPECT_EQ(n, 1);
}

TEST_F(ThreadsTest, ASerialScopeKeepsToTheCallingThread) {
  set_num_threads(3);
  const auto caller = std::this_thread::get_id();
  {
    const SerialScope serial;
    int calls = 0;
    parallel_for(1000, 1, [&](std::int64_t begin, std::int64_t end) {
      ++calls;
      EXPECT_EQ(std::this_thread::get_id(), caller);
      EXPECT_EQ(end - begin, 1000);
    });
    EXPECT_EQ(calls, 1);
  }
  std::atomic<int> ranges{0};
  parallel_for(1000, 1, [&](std::int64_t, std::int64_t) { ++ranges; });
  EXPECT_EQ(ranges, 3);
}

TEST_F(ThreadsTest, RefusesNoThreads) {
  EXPECT_THROW(set_num_threads(0), Error);
  EXPECT_THROW(set_num_threads(-3), Error);
}

}  // namespace
}  // namespace graft::test
