// Memory of the device and the host, copies and fills: what works, and what is refused with which error.
#include "simt/emulated.h"

#include <cstring>
#include <numeric>

namespace graft::simt {
namespace {

using testing::HasSubstr;

class HostMemory : public InBothStreams {};
INSTANTIATE_TEST_SUITE_P(Streams, HostMemory, testing::Bool(), stream_kind);

TEST_P(HostMemory, GivesAlignedMemoryAndTakesItBack) {
  std::size_t before = 0, between = 0, after = 0, total = 0;
  ASSERT_EQ(cudaMemGetInfo(&before, &total), cudaSuccess);
  EXPECT_EQ(total, host_options().memory);
  void* p = nullptr;
  ASSERT_EQ(cudaMalloc(&p, 1000), cudaSuccess);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) % 256, 0u);
  cudaMemGetInfo(&between, &total);
  EXPECT_EQ(before - between, 1000u);
  EXPECT_EQ(cudaFree(p), cudaSuccess);
  cudaMemGetInfo(&after, &total);
  EXPECT_EQ(after, before);
  EXPECT_EQ(cudaFree(nullptr), cudaSuccess);
  ASSERT_EQ(cudaMalloc(&p, 0), cudaSuccess);
  EXPECT_EQ(p, nullptr);
  EXPECT_EQ(cudaMalloc(nullptr, 1), cudaErrorInvalidValue);
}

TEST_P(HostMemory, RunsOutAtTheSizeOfTheDevice) {
  std::size_t free = 0, total = 0;
  ASSERT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  host_options().memory = total - free + (1 << 20);  // what the other tests left, and one MiB
  void *p = nullptr, *q = nullptr;
  ASSERT_EQ(cudaMalloc(&p, 1 << 19), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&q, (1 << 19) + 1), cudaErrorMemoryAllocation);
  EXPECT_THAT(text_of(cudaErrorMemoryAllocation), HasSubstr("524289 bytes were asked for, "));
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess) << "it is told once";
  EXPECT_EQ(cudaMalloc(&q, 1 << 19), cudaSuccess);
  cudaFree(p);
  cudaFree(q);
}

TEST_P(HostMemory, DoubleFreeAndForeignPointersAreRefused) {
  void* p = nullptr;
  ASSERT_EQ(cudaMalloc(&p, 64), cudaSuccess);
  EXPECT_EQ(cudaFree(static_cast<char*>(p) + 16), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(p), cudaSuccess);
  EXPECT_EQ(cudaFree(p), cudaErrorInvalidValue);
  EXPECT_THAT(text_of(cudaErrorInvalidValue), HasSubstr("freed already"));
  int local = 0;
  EXPECT_EQ(cudaFree(&local), cudaErrorInvalidValue);
  EXPECT_THAT(text_of(cudaErrorInvalidValue), HasSubstr("was not allocated"));
  EXPECT_EQ(cudaFreeHost(&local), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMallocHost(&p, 64), cudaSuccess);
  EXPECT_EQ(cudaFreeHost(p), cudaSuccess);
  EXPECT_EQ(cudaFreeHost(p), cudaErrorInvalidValue);
}

TEST_P(HostMemory, FreshMemoryIsNaN) {
  const OnDevice<float> x(100);
  for (const float value : x.values()) EXPECT_TRUE(std::isnan(value));
}

TEST_P(HostMemory, CopiesInAllDirections) {
  std::vector<int> from(1000), to(1000, 0);
  std::iota(from.begin(), from.end(), 0);
  const OnDevice<int> a(1000), b(1000);
  ASSERT_EQ(cudaMemcpyAsync(a, from.data(), 4000, cudaMemcpyHostToDevice, nullptr), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(b, a, 4000, cudaMemcpyDeviceToDevice, nullptr), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(to.data(), b, 4000, cudaMemcpyDefault, nullptr), cudaSuccess);
  EXPECT_EQ(to, from) << "a copy to pageable memory waits";
  std::vector<int> part(12, -1);
  ASSERT_EQ(cudaMemcpy2D(part.data(), 16, a, 40, 12, 3, cudaMemcpyDeviceToHost), cudaSuccess);
  EXPECT_THAT(part, testing::ElementsAre(0, 1, 2, -1, 10, 11, 12, -1, 20, 21, 22, -1));
  ASSERT_EQ(cudaMemsetAsync(a, 0x7f, 4000, nullptr), cudaSuccess);
  EXPECT_EQ(a.values()[999], 0x7f7f7f7f);
  ASSERT_EQ(cudaMemset(a, 0, 4), cudaSuccess);
  EXPECT_EQ(a.values()[0], 0);
}

TEST_P(HostMemory, PageableSourcesAreReadAtOnceAndPinnedOnesWhenTheCopyRuns) {
  cudaStream_t stream = nullptr;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  const OnDevice<int> a(1), b(1);
  int pageable = 1;
  int* pinned = nullptr;
  ASSERT_EQ(cudaMallocHost(reinterpret_cast<void**>(&pinned), 4), cudaSuccess);
  *pinned = 1;
  cudaMemcpyAsync(a, &pageable, 4, cudaMemcpyHostToDevice, stream);
  cudaMemcpyAsync(b, pinned, 4, cudaMemcpyHostToDevice, stream);
  pageable = *pinned = 2;  // too early for the pinned one: the stream has not been waited for
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(a.values()[0], 1);
  EXPECT_EQ(b.values()[0], lazy() ? 2 : 1);
  cudaFreeHost(pinned);
  cudaStreamDestroy(stream);
}

TEST_P(HostMemory, CopiesOutOfBoundsAreRefused) {
  const OnDevice<int> a(100);
  std::vector<int> host(101);
  EXPECT_EQ(cudaMemcpy(a, host.data(), 404, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_THAT(text_of(cudaErrorInvalidValue),
              HasSubstr("cudaMemcpy: the destination is 404 bytes at offset 0 of an allocation of 400 bytes"));
  EXPECT_EQ(cudaMemcpyAsync(host.data(), a + 50, 204, cudaMemcpyDeviceToHost, nullptr), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemsetAsync(a + 99, 0, 5, nullptr), cudaErrorInvalidValue);
  int* freed = nullptr;
  cudaMalloc(reinterpret_cast<void**>(&freed), 4);
  cudaFree(freed);
  EXPECT_EQ(cudaMemcpy(host.data(), freed, 4, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(freed, 0, 4), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(a, host.data(), 0, cudaMemcpyHostToDevice), cudaSuccess);
}

TEST_P(HostMemory, CopiesOfTheWrongKindAreRefused) {
  const OnDevice<int> a(4), b(4);
  int host[4] = {};
  EXPECT_EQ(cudaMemcpy(a, b, 16, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(a, host, 16, cudaMemcpyDeviceToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(host, host, 16, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(a, host, 16, static_cast<cudaMemcpyKind>(9)), cudaErrorInvalidMemcpyDirection);
  EXPECT_EQ(cudaMemcpy2D(a, 4, host, 8, 8, 1, cudaMemcpyHostToDevice), cudaErrorInvalidPitchValue);
  EXPECT_EQ(cudaMemset(host, 0, 4), cudaErrorInvalidValue);
}

TEST_P(HostMemory, KnowsWhatAPointerIs) {
  const OnDevice<int> a(4);
  int local = 0;
  void* pinned = nullptr;
  ASSERT_EQ(cudaHostAlloc(&pinned, 100, cudaHostAllocMapped), cudaSuccess);
  cudaPointerAttributes attributes;
  ASSERT_EQ(cudaPointerGetAttributes(&attributes, a + 3), cudaSuccess);
  EXPECT_EQ(attributes.type, cudaMemoryTypeDevice);
  ASSERT_EQ(cudaPointerGetAttributes(&attributes, pinned), cudaSuccess);
  EXPECT_EQ(attributes.type, cudaMemoryTypeHost);
  void* mapped = nullptr;
  ASSERT_EQ(cudaHostGetDevicePointer(&mapped, pinned, 0), cudaSuccess);
  EXPECT_EQ(attributes.devicePointer, mapped);
  ASSERT_EQ(cudaPointerGetAttributes(&attributes, &local), cudaSuccess);
  EXPECT_EQ(attributes.type, cudaMemoryTypeUnregistered);
  EXPECT_EQ(cudaHostGetDevicePointer(&mapped, &local, 0), cudaErrorInvalidValue);
  EXPECT_EQ(cudaHostAlloc(&pinned, 1, 0x80), cudaErrorInvalidValue);
  cudaFreeHost(mapped);
}

TEST_P(HostMemory, FreesInTheOrderOfTheStream) {
  int* p = nullptr;
  std::vector<int> ones(4, 1);
  ASSERT_EQ(cudaMallocAsync(reinterpret_cast<void**>(&p), 16, nullptr), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(p, ones.data(), 16, cudaMemcpyHostToDevice, nullptr), cudaSuccess);
  ASSERT_EQ(cudaFreeAsync(p, nullptr), cudaSuccess) << "the copy is before it";
  EXPECT_EQ(cudaFreeAsync(p, nullptr), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(p, 0, 4), cudaErrorInvalidValue);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
}

class HostLeaks : public Emulated {};

TEST_F(HostLeaks, AreListed) {
  const std::string before = leak_report();
  void *p = nullptr, *q = nullptr;
  cudaStream_t stream = nullptr;
  cudaEvent_t event = nullptr;
  cudaMalloc(&p, 100);
  cudaMallocHost(&q, 10);
  cudaStreamCreate(&stream);
  cudaEventCreate(&event);
  EXPECT_THAT(leak_report(), testing::AllOf(HasSubstr("of device memory ("), HasSubstr("page-locked memory"),
                                            HasSubstr("stream"), HasSubstr("event")));
  cudaFree(p);
  cudaFreeHost(q);
  cudaStreamDestroy(stream);
  cudaEventDestroy(event);
  EXPECT_EQ(leak_report(), before);
}

TEST_F(HostLeaks, EndTheProgramWithAnErrorWhereAskedFor) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        host_options().leaks = HostOptions::Leaks::fail;
        void* p = nullptr;
        cudaMalloc(&p, 1234);
        std::exit(0);
      },
      testing::ExitedWithCode(1), "never freed:\n1 allocation of device memory \\(1234 bytes\\)");
}

TEST_F(HostLeaks, ResetFreesAll) {
  EXPECT_EXIT(
      {
        host_options().leaks = HostOptions::Leaks::fail;
        void* p = nullptr;
        void* q = nullptr;
        cudaStream_t stream = nullptr;
        cudaMalloc(&p, 1234);
        cudaMallocHost(&q, 10);
        cudaStreamCreate(&stream);
        cudaDeviceReset();
        std::exit(0);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace graft::simt
