// The caching allocator over a device that is made up: what it takes, cuts, merges, keeps and says.
#ifdef GRAFT_WITH_CUDA
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>
#include <vector>

#include <graft/kernels/runtime/caching_allocator.h>

#include "support/errors.h"

namespace graft::runtime {
namespace {

using test::error_of;
using test::expect_contains;

constexpr std::size_t kMiB = std::size_t{1} << 20;

/// Addresses that nobody looks at, and events that pass when told.
class MadeUpDevice final : public MemorySource {
 public:
  std::size_t total = 64 * kMiB, taken = 0;
  std::set<void*> segments;
  std::map<void*, std::size_t> sizes;
  std::vector<std::size_t> requests;
  std::map<void*, bool> events;  // recorded -> passed
  std::vector<StreamKey> recorded_on;
  std::set<StreamKey> capturing;
  int waits = 0;

  std::string name() const override { return "cuda:0"; }
  void* take(std::size_t bytes) override {
    requests.push_back(bytes);
    if (taken + bytes > total) return nullptr;
    taken += bytes;
    void* segment = reinterpret_cast<void*>(next_);
    next_ += bytes + 64 * kMiB;  // never neighbours
    segments.insert(segment);
    sizes[segment] = bytes;
    return segment;
  }
  void give(void* segment) noexcept override {
    taken -= sizes[segment];
    segments.erase(segment);
  }
  void wait_for_all() override {
    ++waits;
    for (auto& [event, passed] : events) passed = true;
  }
  Room room() override { return {total - taken, total}; }
  void* record(StreamKey stream) override {
    EXPECT_TRUE(capturing.empty()) << "no event may be recorded during a capture";
    recorded_on.push_back(stream);
    void* event = reinterpret_cast<void*>(++last_event_);
    events[event] = false;
    return event;
  }
  bool passed(void* event) override { return events.at(event); }
  bool is_capturing(StreamKey stream) override { return capturing.contains(stream); }
  void pass_all() {
    for (auto& [event, passed] : events) passed = true;
  }

 private:
  std::uintptr_t next_ = 64 * kMiB, last_event_ = 0;
};

class CachingAllocatorTest : public testing::Test {
 protected:
  MadeUpDevice device;
  CachingAllocator allocator{device};
  StreamKey a = reinterpret_cast<StreamKey>(0x10), b = reinterpret_cast<StreamKey>(0x20);

  std::byte* get(std::size_t bytes, StreamKey stream) {
    return static_cast<std::byte*>(allocator.allocate(bytes, stream, nullptr));
  }
};

TEST_F(CachingAllocatorTest, NothingForNothing) {
  EXPECT_EQ(get(0, a), nullptr);
  allocator.free(nullptr);
  EXPECT_TRUE(device.requests.empty());
}

TEST_F(CachingAllocatorTest, SmallRequestsShareASegmentInStepsOf512Bytes) {
  std::byte* first = get(1, a);
  std::byte* second = get(512, a);
  std::byte* third = get(513, a);
  std::byte* fourth = get(kMiB, a);
  EXPECT_EQ(second, first + 512);
  EXPECT_EQ(third, second + 512);
  EXPECT_EQ(fourth, third + 1024);
  EXPECT_EQ(device.requests, std::vector<std::size_t>{2 * kMiB});
  EXPECT_EQ(allocator.stats().in_use, 512u + 512 + 1024 + kMiB);
  EXPECT_EQ(allocator.stats().blocks, 4u);
  EXPECT_EQ(allocator.stats().reserved, 2 * kMiB);
  EXPECT_EQ(allocator.stats().system_calls, 1u);
}

TEST_F(CachingAllocatorTest, LargeRequestsShareSegmentsOf20MiBAndGetTheirOwnFrom10) {
  std::byte* first = get(kMiB + 1, a);
  std::byte* second = get(4 * kMiB, a);
  EXPECT_EQ(second, first + kMiB + 512);
  get(10 * kMiB + 1, a);  // the rest of the first segment has room for it
  EXPECT_EQ(device.requests, std::vector<std::size_t>{20 * kMiB});
  get(11 * kMiB + 1, a);
  EXPECT_EQ(device.requests, (std::vector<std::size_t>{20 * kMiB, 12 * kMiB}));
}

TEST_F(CachingAllocatorTest, TakesTheSmallestBlockThatFits) {
  std::byte* large = get(8192, a);
  get(512, a);  // keeps the others from merging
  std::byte* small = get(2048, a);
  get(512, a);
  allocator.free(large);
  allocator.free(small);
  EXPECT_EQ(get(1536, a), small);
  EXPECT_EQ(get(1536, a), large);
  EXPECT_EQ(get(512, a), small + 1536) << "what was split off is used";
}

TEST_F(CachingAllocatorTest, FreedNeighboursMerge) {
  std::byte* parts[4];
  for (auto& part : parts) part = get(1024, a);
  allocator.free(parts[0]);
  allocator.free(parts[2]);
  allocator.free(parts[1]);  // joins both sides
  EXPECT_EQ(get(3 * 1024, a), parts[0]);
  allocator.free(parts[0]);
  allocator.free(parts[3]);
  EXPECT_EQ(get(kMiB, a), parts[0]);
  EXPECT_EQ(allocator.stats().reserved, 2 * kMiB) << "all of it came from one segment";
}

TEST_F(CachingAllocatorTest, AStreamGetsItsBlocksBackAtOnceAndNoOtherStreamDoes) {
  std::byte* block = get(4096, a);
  allocator.free(block);
  EXPECT_NE(get(4096, b), block);
  EXPECT_EQ(get(4096, a), block);
  EXPECT_TRUE(device.recorded_on.empty());
}

TEST_F(CachingAllocatorTest, ABlockUsedOnAnotherStreamWaitsForItsEvent) {
  std::byte* block = get(4096, a);
  allocator.record_stream(block, a);  // its own: nothing
  allocator.record_stream(block, b);
  allocator.record_stream(block, b);
  allocator.free(block);
  EXPECT_EQ(device.recorded_on, std::vector<StreamKey>{b});
  EXPECT_EQ(allocator.stats().in_use, 0u);
  EXPECT_NE(get(4096, a), block);
  device.pass_all();
  EXPECT_EQ(get(4096, a), block);
}

TEST_F(CachingAllocatorTest, AStreamThatEndsLeavesItsBlocksToAnother) {
  std::byte* idle = get(2 * kMiB, b);
  std::byte* used = get(4096, b);
  allocator.free(idle);
  allocator.hand_over(b, a);
  EXPECT_EQ(get(2 * kMiB, a), idle);
  allocator.free(used);
  EXPECT_EQ(get(4096, a), used);
}

TEST_F(CachingAllocatorTest, ReleaseGivesBackWholeSegmentsOnly) {
  std::byte* kept = get(512, a);
  std::byte* idle = get(30 * kMiB, a);
  allocator.free(idle);
  allocator.release_cache();
  EXPECT_EQ(device.taken, 2 * kMiB);
  EXPECT_EQ(allocator.stats().reserved, 2 * kMiB);
  allocator.free(kept);
  allocator.release_cache();
  EXPECT_EQ(device.taken, 0u);
}

TEST_F(CachingAllocatorTest, WhatIsCachedMakesRoom) {
  std::byte* other = get(40 * kMiB, b);
  allocator.free(other);
  EXPECT_NE(get(50 * kMiB, a), nullptr) << "the segment of the other stream is given back first";
  EXPECT_EQ(device.waits, 1);
  EXPECT_EQ(allocator.stats().reserved, 50 * kMiB);
}

TEST_F(CachingAllocatorTest, TakesWhatIsNeededWhereAWholeSegmentDoesNotFit) {
  get(50 * kMiB, a);
  EXPECT_NE(get(3 * kMiB, a), nullptr) << "14 MiB are left, no segment of 20";
  EXPECT_EQ(device.taken, 54 * kMiB);
}

TEST_F(CachingAllocatorTest, OutOfMemorySaysWhoHoldsWhat) {
  for (int i = 0; i < 3; ++i) allocator.allocate(12 * kMiB, a, "activations");
  allocator.allocate(10 * kMiB, a, "optimiser state");
  std::byte* idle = get(4 * kMiB, a);
  get(4096, a);
  allocator.free(idle);
  const std::string text = error_of([&] { get(30 * kMiB, a); });
  for (const char* part :
       {"cuda:0: out of memory: asked for 30.00 MiB", "of 64.00 MiB on the device", "are free",
        "46.00 MiB in use here in 5 blocks",
        "the most is held by 3 x 12.00 MiB (activations), 1 x 10.00 MiB (optimiser state), 1 x 4.00 KiB",
        "smaller batch"})
    expect_contains(text, part);
  EXPECT_EQ(allocator.stats().blocks, 5u);
  EXPECT_NE(get(512, a), nullptr) << "the allocator goes on";
}

TEST_F(CachingAllocatorTest, PeakSinceTheLastReset) {
  std::byte* block = get(4 * kMiB, a);
  allocator.free(block);
  EXPECT_EQ(allocator.stats().peak, 4 * kMiB);
  allocator.reset_peak();
  EXPECT_EQ(allocator.stats().peak, 0u);
}

TEST_F(CachingAllocatorTest, RefusesABlockThatIsNotItsOwnOrFreeAlready) {
  std::byte* block = get(512, a);
  EXPECT_ERROR(allocator.free(block + 1), "not in use");
  allocator.free(block);
  EXPECT_ERROR(allocator.free(block), "not in use");
  EXPECT_ERROR(allocator.record_stream(block, b), "not in use");
}

// --- captures -------------------------------------------------------------------------------------------------------

TEST_F(CachingAllocatorTest, ACaptureHasAPoolOfItsOwn) {
  std::byte* before = get(4096, a);
  allocator.free(before);
  const std::uint64_t pool = allocator.begin_capture();
  device.capturing.insert(a);
  EXPECT_ERROR(allocator.begin_capture(), "captured already");
  std::byte* inside = get(4096, a);
  EXPECT_NE(inside, before) << "what others have used is not for the graph";
  allocator.free(inside);
  EXPECT_EQ(get(4096, a), inside) << "within the capture it serves again";
  EXPECT_NE(get(4096, b), nullptr) << "a stream that is not captured goes on as ever";
  allocator.free(inside);
  device.capturing.clear();
  allocator.end_capture();

  EXPECT_EQ(get(4096, a), before);
  EXPECT_NE(get(4096, a), inside) << "the graph's memory is its own while it lives";
  const std::size_t taken = device.taken;
  allocator.release_cache();
  EXPECT_TRUE(device.taken == taken);
  allocator.retire_pool(pool);
  std::set<std::byte*> later;
  for (int i = 0; i < 600; ++i) later.insert(get(4096, a));  // more than the other segment holds
  EXPECT_TRUE(later.contains(inside)) << "afterwards it is everybody's";
}

TEST_F(CachingAllocatorTest, ResultsOfACaptureOutliveItsGraph) {
  const std::uint64_t pool = allocator.begin_capture();
  device.capturing.insert(a);
  std::byte* result = get(4096, a);
  device.capturing.clear();
  allocator.end_capture();
  allocator.retire_pool(pool);
  allocator.free(result);
  EXPECT_EQ(get(4096, a), result);
}

TEST_F(CachingAllocatorTest, EventsWaitUntilACaptureIsOver) {
  std::byte* block = get(4096, a);
  allocator.record_stream(block, b);
  allocator.begin_capture();
  device.capturing.insert(a);
  allocator.free(block);  // the device fails the test if an event is recorded now
  device.capturing.clear();
  allocator.end_capture();
  EXPECT_NE(get(4096, a), block);
  EXPECT_EQ(device.recorded_on, std::vector<StreamKey>{b});
  device.pass_all();
  EXPECT_EQ(get(4096, a), block);
}

TEST_F(CachingAllocatorTest, AStreamThatEndsBeforeADeferredBlockIsLookedAt) {
  std::byte* neighbour = get(4096, a);
  std::byte* block = get(4096, a);
  allocator.record_stream(block, b);
  allocator.begin_capture();
  device.capturing.insert(b);
  allocator.free(block);      // no event can be recorded now
  allocator.hand_over(b, a);  // and later there is no stream for one
  allocator.free(neighbour);  // must not swallow it
  device.capturing.clear();
  allocator.end_capture();
  EXPECT_EQ(get(8192, a), neighbour) << "both are free again, as one";
  EXPECT_TRUE(device.recorded_on.empty());
}

TEST_F(CachingAllocatorTest, AvailableIsWhatTheDeviceHasAndWhatIsCached) {
  void* block = get(kMiB, a);
  EXPECT_EQ(allocator.available(), device.total - kMiB);
  allocator.free(block);
  EXPECT_EQ(allocator.available(), device.total);
}

// --- direct -----------------------------------------------------------------------------------------------------------

TEST_F(CachingAllocatorTest, DirectEveryRequestIsASegmentOfItsOwn) {
  CachingAllocator direct(device, CachingAllocator::Mode::direct);
  void* first = direct.allocate(100, a, nullptr);
  void* second = direct.allocate(3 * kMiB, a, nullptr);
  EXPECT_EQ(device.requests, (std::vector<std::size_t>{100, 3 * kMiB}));
  direct.free(first);
  EXPECT_EQ(device.segments, std::set<void*>{second});
  EXPECT_EQ(direct.stats().reserved, 3 * kMiB);
  direct.record_stream(second, b);  // the other stream is not done with it
  direct.free(second);
  EXPECT_EQ(device.segments, std::set<void*>{second});
  device.pass_all();
  direct.free(direct.allocate(1, a, nullptr));
  EXPECT_TRUE(device.segments.empty());
}

TEST_F(CachingAllocatorTest, DirectAGraphKeepsItsBlocks) {
  CachingAllocator direct(device, CachingAllocator::Mode::direct);
  void* before = direct.allocate(100, a, nullptr);
  const std::uint64_t pool = direct.begin_capture();
  device.capturing.insert(a);
  void* inside = direct.allocate(200, a, nullptr);
  direct.free(before);  // nothing can be given back now
  direct.free(inside);
  device.capturing.clear();
  direct.end_capture();
  EXPECT_EQ(device.segments, (std::set<void*>{before, inside}));
  direct.release_cache();
  EXPECT_EQ(device.segments, std::set<void*>{inside});
  direct.retire_pool(pool);
  direct.release_cache();
  EXPECT_TRUE(device.segments.empty());
}

// --- the observer ---------------------------------------------------------------------------------------------------

std::vector<std::pair<void*, std::size_t>> seen_allocated, seen_freed;

TEST_F(CachingAllocatorTest, AnObserverIsToldAndGetsItsRedZones) {
  seen_allocated.clear();
  seen_freed.clear();
  const MemoryObserver observer{600, [](void* block, std::size_t bytes) { seen_allocated.emplace_back(block, bytes); },
                                [](void* block, std::size_t bytes) { seen_freed.emplace_back(block, bytes); }};
  std::byte* early = get(512, a);
  EXPECT_ERROR(allocator.set_observer(observer), "before the first block");
  allocator.free(early);
  allocator.set_observer(observer);
  std::byte* first = get(100, a);
  std::byte* second = get(100, a);
  EXPECT_GE(second - first, 100 + 600);
  allocator.free(first);
  const std::vector<std::pair<void*, std::size_t>> both{{first, 100}, {second, 100}}, one{{first, 100}};
  EXPECT_EQ(seen_allocated, both);
  EXPECT_EQ(seen_freed, one);
}

}  // namespace
}  // namespace graft::runtime
#endif  // GRAFT_WITH_CUDA
