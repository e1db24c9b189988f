// Streams, events, copies and pinned memory of the CUDA device.
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <thread>
#include <vector>

#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/device_memory.h>
#include <graft/kernels/runtime/memory_observer.h>
#include <graft/kernels/runtime/streams.h>

#include "support/errors.h"

namespace graft::runtime {
namespace {

class StreamsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = cuda_unavailable(); !why.empty()) GTEST_SKIP() << why;
  }
};

/// Device memory that ends with the test.
struct Block {
  Stream stream;
  void* data;
  std::size_t bytes;
  Block(std::size_t size, const Stream& on) : stream(on), data(device_allocate(size, on)), bytes(size) {}
  ~Block() { device_free(data, stream); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  std::vector<unsigned char> read() const {
    std::vector<unsigned char> host(bytes);
    copy_to_host(host.data(), data, bytes, stream);
    synchronize(stream);
    return host;
  }
};

TEST_F(StreamsTest, CurrentStreamIsTheThreadsOwnChoice) {
  const Stream first = current_stream(0);
  EXPECT_EQ(first.native, default_stream(0).native);
  EXPECT_EQ(first.device, Device::cuda(0));
  const OwnedStream mine(0), inner(0);
  {
    const StreamScope scope(mine);
    EXPECT_EQ(current_stream(0).native, mine.get().native);
    {
      const StreamScope deeper(inner);
      EXPECT_EQ(current_stream(0).native, inner.get().native);
    }
    EXPECT_EQ(current_stream(0).native, mine.get().native);
    std::thread([&] { EXPECT_EQ(current_stream(0).native, first.native); }).join();
  }
  EXPECT_EQ(current_stream(0).native, first.native);
  EXPECT_ERROR(StreamScope(Stream{}), "CUDA device");
}

TEST_F(StreamsTest, PageableMemoryMayBeChangedAsSoonAsTheCopyReturns) {
  const Stream stream = default_stream(0);
  const std::size_t bytes = (std::size_t{9} << 20) + 7;  // several staged pieces and a rest
  std::vector<unsigned char> host(bytes);
  for (std::size_t i = 0; i < bytes; ++i) host[i] = static_cast<unsigned char>(i * 31 >> 3);
  const std::vector<unsigned char> want = host;
  const Block block(bytes, stream);
  copy_to_device(block.data, host.data(), bytes, stream);
  std::fill(host.begin(), host.end(), static_cast<unsigned char>(0));
  EXPECT_TRUE(block.read() == want);
}

TEST_F(StreamsTest, PinnedMemoryIsKnownAndReused) {
  void* block = pinned_allocate(5000);
  ASSERT_NE(block, nullptr);
  EXPECT_TRUE(is_pinned(block, 5000));
  EXPECT_TRUE(is_pinned(static_cast<std::byte*>(block) + 100, 10));
  int local = 0;
  EXPECT_FALSE(is_pinned(&local, sizeof local));
  pinned_free(block);
  EXPECT_EQ(pinned_allocate(6000), block) << "8 KiB serve both";

  const Stream stream = default_stream(0);
  std::memset(block, 7, 6000);
  const Block device(6000, stream);
  copy_to_device(device.data, block, 6000, stream);
  pinned_free_after(block, stream);
  EXPECT_EQ(device.read(), std::vector<unsigned char>(6000, 7));
  EXPECT_EQ(pinned_allocate(0), nullptr);
  pinned_free(nullptr);
}

TEST_F(StreamsTest, EventsOrderStreams) {
  const OwnedStream first(0), second(0);
  const Block a(1 << 16, first.get()), b(1 << 16, second.get());
  set_bytes(a.data, 3, a.bytes, first);
  Event written(0);
  EXPECT_TRUE(written.is_done()) << "never recorded";
  written.record(first);
  written.wait(second);
  copy_on_device(b.data, a.data, a.bytes, second);
  EXPECT_EQ(b.read(), std::vector<unsigned char>(b.bytes, 3));
  EXPECT_TRUE(written.is_done());
  written.synchronize();
  first.synchronize();
  EXPECT_TRUE(first.is_done());
}

TEST_F(StreamsTest, TimedEventsMeasure) {
  const Stream stream = default_stream(0);
  Event begin(0, true), end(0, true), untimed(0);
  begin.record(stream);
  end.record(stream);
  end.synchronize();
  EXPECT_GE(end.elapsed_ms(begin), 0);
  untimed.record(stream);
  untimed.synchronize();
  EXPECT_ERROR(end.elapsed_ms(untimed), "timed = true");
}

TEST_F(StreamsTest, AStreamThatEndsLeavesItsMemoryBehind) {
  void* block = nullptr;
  {
    const OwnedStream mine(0);
    block = device_allocate(1 << 20, mine);
    set_bytes(block, 5, 1 << 20, mine);
  }
  std::vector<unsigned char> host(1 << 20);
  copy_to_host(host.data(), block, host.size(), default_stream(0));
  synchronize(default_stream(0));
  EXPECT_EQ(host, std::vector<unsigned char>(1 << 20, 5));
  device_free(block, Device::cuda(0));
}

TEST_F(StreamsTest, StatisticsCountWhatIsHandedOut) {
  const DeviceMemoryStats before = device_memory_stats(0);
  device_reset_peak(0);
  const std::size_t held = (3 << 20) + (memory_observer().red_zone + 511) / 512 * 512;
  {
    const Block block(3 << 20, default_stream(0));
    EXPECT_EQ(device_memory_stats(0).in_use, before.in_use + held);
    EXPECT_EQ(device_memory_stats(0).blocks, before.blocks + 1);
  }
  const DeviceMemoryStats after = device_memory_stats(0);
  EXPECT_EQ(after.in_use, before.in_use);
  EXPECT_EQ(after.peak, before.in_use + held);
  EXPECT_GE(after.reserved, after.in_use);
  { const Block block(3 << 20, default_stream(0)); }
  EXPECT_EQ(device_memory_stats(0).system_calls, after.system_calls) << "the second time asks the device for nothing";
  device_release_cache(0);
  EXPECT_LE(device_memory_stats(0).reserved, after.reserved);
}

TEST_F(StreamsTest, NothingToDoForNothing) {
  const Stream stream = default_stream(0);
  copy_to_device(nullptr, nullptr, 0, stream);
  copy_to_host(nullptr, nullptr, 0, stream);
  copy_on_device(nullptr, nullptr, 0, stream);
  set_bytes(nullptr, 0, 0, stream);
  EXPECT_EQ(device_allocate(0, stream), nullptr);
  device_free(nullptr, stream);
  synchronize(Stream{});
}

}  // namespace
}  // namespace graft::runtime
