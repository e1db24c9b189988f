// Streams, events, captures and graphs.
#include "simt/emulated.h"

#include <thread>

namespace graft::simt {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Notes the order in which work runs.
class HostStreams : public InBothStreams {
 protected:
  HostStreams() {
    cudaStreamCreateWithFlags(&a_, cudaStreamNonBlocking);
    cudaStreamCreateWithFlags(&b_, cudaStreamNonBlocking);
    cudaEventCreate(&event_);
    cudaEventCreate(&second_);
  }
  ~HostStreams() override {
    reset();
    for (cudaStream_t stream : {a_, b_}) cudaStreamDestroy(stream);
    for (cudaEvent_t event : {event_, second_}) cudaEventDestroy(event);
  }

  void note(cudaStream_t stream, int value) {
    EXPECT_EQ(enqueue(
                  stream, [this, value] { order_.push_back(value); }, "note"),
              cudaSuccess);
  }
  cudaGraph_t end(cudaStream_t stream) {
    cudaGraph_t graph = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    return graph;
  }

  cudaStream_t a_ = nullptr, b_ = nullptr;
  cudaEvent_t event_ = nullptr, second_ = nullptr;
  std::vector<int> order_;
};
INSTANTIATE_TEST_SUITE_P(Streams, HostStreams, testing::Bool(), stream_kind);

TEST_P(HostStreams, RunTheirWorkInOrderAtTheLatestWhenWaitedFor) {
  note(a_, 1);
  note(b_, 2);
  note(a_, 3);
  if (lazy()) {
    EXPECT_TRUE(order_.empty());
    EXPECT_EQ(cudaStreamSynchronize(a_), cudaSuccess);
    EXPECT_THAT(order_, ElementsAre(1, 3)) << "nobody waited for the other stream";
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    EXPECT_THAT(order_, ElementsAre(1, 3, 2));
  } else {
    EXPECT_THAT(order_, ElementsAre(1, 2, 3));
  }
}

TEST_P(HostStreams, WaitForExactlyTheWorkThatAnEventRecorded) {
  note(a_, 1);
  EXPECT_EQ(cudaEventRecord(event_, a_), cudaSuccess);
  note(a_, 2);
  EXPECT_EQ(cudaStreamWaitEvent(b_, event_, 0), cudaSuccess);
  EXPECT_EQ(cudaEventRecord(event_, a_), cudaSuccess) << "recording it again does not change what b waits for";
  note(b_, 3);
  EXPECT_EQ(cudaStreamSynchronize(b_), cudaSuccess);
  if (lazy()) {
    EXPECT_THAT(order_, ElementsAre(1, 3));
  } else {
    EXPECT_THAT(order_, ElementsAre(1, 2, 3));
  }
  EXPECT_EQ(cudaEventSynchronize(event_), cudaSuccess);
  EXPECT_EQ(order_.size(), 3u);
}

TEST_P(HostStreams, TheNullStreamIsOrderedWithBlockingStreamsOnly) {
  cudaStream_t blocking = nullptr;
  ASSERT_EQ(cudaStreamCreateWithPriority(&blocking, cudaStreamDefault, -3), cudaSuccess);
  note(blocking, 1);
  note(a_, 2);
  note(nullptr, 3);
  note(blocking, 4);
  EXPECT_EQ(cudaStreamSynchronize(blocking), cudaSuccess);
  if (lazy()) {
    EXPECT_THAT(order_, ElementsAre(1, 3, 4));
  } else {
    EXPECT_THAT(order_, ElementsAre(1, 2, 3, 4));
  }
  unsigned flags = 9;
  int priority = 0;
  EXPECT_EQ(cudaStreamGetFlags(blocking, &flags), cudaSuccess);
  EXPECT_EQ(flags, cudaStreamDefault);
  EXPECT_EQ(cudaStreamGetPriority(blocking, &priority), cudaSuccess);
  EXPECT_EQ(priority, -3);
  EXPECT_EQ(cudaStreamDestroy(blocking), cudaSuccess);
}

TEST_P(HostStreams, QueriesTellAndPollingEnds) {
  EXPECT_EQ(cudaStreamQuery(a_), cudaSuccess);
  EXPECT_EQ(cudaEventQuery(event_), cudaSuccess) << "never recorded";
  note(a_, 1);
  cudaEventRecord(event_, a_);
  EXPECT_EQ(cudaStreamQuery(a_), lazy() ? cudaErrorNotReady : cudaSuccess);
  EXPECT_EQ(cudaEventQuery(event_), lazy() ? cudaErrorNotReady : cudaSuccess);
  while (cudaEventQuery(event_) == cudaErrorNotReady) {
  }
  EXPECT_THAT(order_, ElementsAre(1));
}

TEST_P(HostStreams, EventsMeasureTime) {
  float milliseconds = -1;
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, event_, second_), cudaErrorInvalidResourceHandle) << "never recorded";
  cudaEventRecord(event_, a_);
  enqueue(
      a_, [] { std::this_thread::sleep_for(std::chrono::milliseconds(3)); }, "sleep");
  cudaEventRecord(second_, a_);
  if (lazy()) {
    EXPECT_EQ(cudaEventElapsedTime(&milliseconds, event_, second_), cudaErrorNotReady);
  }
  cudaEventSynchronize(second_);
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, event_, second_), cudaSuccess);
  EXPECT_GE(milliseconds, 3);
  cudaEvent_t untimed = nullptr;
  cudaEventCreateWithFlags(&untimed, cudaEventDisableTiming);
  cudaEventRecord(untimed, a_);
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, event_, untimed), cudaErrorInvalidResourceHandle);
  cudaEventDestroy(untimed);
  EXPECT_EQ(cudaEventCreateWithFlags(&untimed, 0x100), cudaErrorInvalidValue);
}

TEST_P(HostStreams, HostFunctionsRunInOrderAndMayNotCallCuda) {
  struct Data {
    std::vector<int>* order;
    cudaError_t result;
  } data{&order_, cudaSuccess};
  note(a_, 1);
  EXPECT_EQ(cudaLaunchHostFunc(
                a_,
                [](void* p) {
                  auto& d = *static_cast<Data*>(p);
                  d.order->push_back(2);
                  d.result = cudaDeviceSynchronize();
                },
                &data),
            cudaSuccess);
  note(a_, 3);
  cudaStreamSynchronize(a_);
  EXPECT_THAT(order_, ElementsAre(1, 2, 3));
  EXPECT_EQ(data.result, cudaErrorNotPermitted);
  EXPECT_EQ(cudaLaunchHostFunc(a_, nullptr, nullptr), cudaErrorInvalidValue);
}

TEST_P(HostStreams, DestroyedHandlesAreRefused) {
  cudaStream_t stream = nullptr;
  cudaEvent_t event = nullptr;
  cudaStreamCreate(&stream);
  cudaEventCreate(&event);
  note(stream, 1);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
  EXPECT_THAT(order_, ElementsAre(1)) << "its work is done first";
  cudaEventDestroy(event);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaEventRecord(event, a_), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaStreamWaitEvent(a_, event, 0), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaEventDestroy(event), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaStreamCreateWithFlags(&stream, 77), cudaErrorInvalidValue);
}

// --- captures -------------------------------------------------------------------------------------------------------

TEST_P(HostStreams, CapturedWorkRunsWhenTheGraphIsLaunched) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  ASSERT_EQ(cudaStreamBeginCapture(a_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  EXPECT_EQ(cudaStreamIsCapturing(a_, &status), cudaSuccess);
  EXPECT_EQ(status, cudaStreamCaptureStatusActive);
  note(a_, 1);
  note(a_, 2);
  const cudaGraph_t graph = end(a_);
  EXPECT_EQ(cudaStreamIsCapturing(a_, &status), cudaSuccess);
  EXPECT_EQ(status, cudaStreamCaptureStatusNone);
  cudaDeviceSynchronize();
  EXPECT_TRUE(order_.empty());
  std::size_t nodes = 0;
  EXPECT_EQ(cudaGraphGetNodes(graph, nullptr, &nodes), cudaSuccess);
  EXPECT_EQ(nodes, 2u);
  cudaGraphExec_t executable = nullptr;
  ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  EXPECT_EQ(cudaGraphUpload(executable, a_), cudaSuccess);
  EXPECT_EQ(cudaGraphLaunch(executable, a_), cudaSuccess);
  note(a_, 3);
  EXPECT_EQ(cudaGraphLaunch(executable, a_), cudaSuccess);
  EXPECT_EQ(cudaGraphExecDestroy(executable), cudaSuccess) << "while launches are under way";
  cudaStreamSynchronize(a_);
  EXPECT_THAT(order_, ElementsAre(1, 2, 3, 1, 2));
  EXPECT_EQ(cudaGraphLaunch(executable, a_), cudaErrorInvalidValue);
}

TEST_P(HostStreams, CaptureForksAndJoinsByEvents) {
  ASSERT_EQ(cudaStreamBeginCapture(a_, cudaStreamCaptureModeGlobal), cudaSuccess);
  note(a_, 1);
  cudaEventRecord(event_, a_);
  ASSERT_EQ(cudaStreamWaitEvent(b_, event_, 0), cudaSuccess);
  note(a_, 2);
  note(b_, 3);
  cudaEventRecord(second_, b_);
  ASSERT_EQ(cudaStreamWaitEvent(a_, second_, 0), cudaSuccess);
  note(a_, 4);
  const cudaGraph_t graph = end(a_);
  cudaGraphExec_t executable = nullptr;
  ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
  cudaGraphLaunch(executable, b_);
  cudaDeviceSynchronize();
  if (lazy()) {
    EXPECT_THAT(order_, ElementsAre(1, 3, 2, 4)) << "2 and 3 are not ordered";
  } else {
    EXPECT_THAT(order_, ElementsAre(1, 2, 3, 4));
  }
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
}

TEST_P(HostStreams, CaptureMustBeJoined) {
  ASSERT_EQ(cudaStreamBeginCapture(a_, cudaStreamCaptureModeGlobal), cudaSuccess);
  cudaEventRecord(event_, a_);
  ASSERT_EQ(cudaStreamWaitEvent(b_, event_, 0), cudaSuccess);
  note(b_, 1);
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(b_, &graph), cudaErrorStreamCaptureUnmatched);
  EXPECT_EQ(cudaStreamEndCapture(a_, &graph), cudaErrorStreamCaptureInvalidated);
  ASSERT_EQ(cudaStreamBeginCapture(a_, cudaStreamCaptureModeGlobal), cudaSuccess);
  cudaEventRecord(event_, a_);
  ASSERT_EQ(cudaStreamWaitEvent(b_, event_, 0), cudaSuccess);
  note(b_, 1);
  EXPECT_EQ(cudaStreamEndCapture(a_, &graph), cudaErrorStreamCaptureUnjoined);
  EXPECT_EQ(graph, nullptr);
}

TEST_P(HostStreams, CallsThatWaitInvalidateACapture) {
  const std::pair<const char*, std::function<cudaError_t()>> calls[] = {
      {"cudaStreamSynchronize", [&] { return cudaStreamSynchronize(a_); }},
      {"cudaStreamQuery", [&] { return cudaStreamQuery(a_); }},
      {"cudaStreamSynchronize", [&] { return cudaStreamSynchronize(b_); }},
      {"cudaStreamQuery", [&] { return cudaStreamQuery(b_); }},
      {"cudaEventSynchronize", [&] { return cudaEventSynchronize(event_); }},
      {"cudaEventQuery", [&] { return cudaEventQuery(event_); }},
      {"cudaDeviceSynchronize", [] { return cudaDeviceSynchronize(); }},
      {"cudaMalloc",
       [] {
         void* p;
         return cudaMalloc(&p, 4);
       }},
      {"cudaHostAlloc", [] {
         void* p;
         return cudaMallocHost(&p, 4);
       }}};
  for (const auto& [name, call] : calls) {
    ASSERT_EQ(cudaStreamBeginCapture(a_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    note(a_, 1);
    EXPECT_EQ(call(), cudaErrorStreamCaptureUnsupported) << name;
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    EXPECT_EQ(cudaStreamIsCapturing(a_, &status), cudaSuccess);
    EXPECT_EQ(status, cudaStreamCaptureStatusInvalidated) << name;
    EXPECT_EQ(enqueue(
                  a_, [] {}, "more"),
              cudaErrorStreamCaptureInvalidated)
        << name;
    cudaGraph_t graph = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(a_, &graph), cudaErrorStreamCaptureInvalidated) << name;
    EXPECT_THAT(text_of(cudaErrorStreamCaptureInvalidated), HasSubstr(name));
  }
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_TRUE(order_.empty());
}

TEST_P(HostStreams, ThreadLocalCapturesBindTheirThreadOnly) {
  const auto allocate = [] {
    void* p = nullptr;
    const cudaError_t error = cudaMalloc(&p, 4);
    if (error == cudaSuccess) cudaFree(p);
    cudaGetLastError();
    return error;
  };
  cudaError_t elsewhere = cudaErrorUnknown;
  cudaGraph_t graph = nullptr;
  ASSERT_EQ(cudaStreamBeginCapture(a_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  std::thread([&] { elsewhere = allocate(); }).join();
  EXPECT_EQ(elsewhere, cudaSuccess);
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  EXPECT_EQ(cudaThreadExchangeStreamCaptureMode(&mode), cudaSuccess);
  EXPECT_EQ(allocate(), cudaSuccess) << "a relaxed thread may";
  EXPECT_EQ(cudaThreadExchangeStreamCaptureMode(&mode), cudaSuccess);
  std::thread([&] { elsewhere = cudaStreamEndCapture(a_, &graph); }).join();
  EXPECT_EQ(elsewhere, cudaErrorStreamCaptureWrongThread);
  EXPECT_EQ(cudaStreamEndCapture(a_, &graph), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaErrorInvalidValue);

  ASSERT_EQ(cudaStreamBeginCapture(a_, cudaStreamCaptureModeGlobal), cudaSuccess);
  std::thread([&] { elsewhere = allocate(); }).join();
  EXPECT_EQ(elsewhere, cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaStreamEndCapture(a_, &graph), cudaErrorStreamCaptureInvalidated);
}

TEST_P(HostStreams, CapturesKeepToThemselves) {
  EXPECT_EQ(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeGlobal), cudaErrorStreamCaptureUnsupported);
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(a_, &graph), cudaErrorIllegalState);
  note(b_, 1);
  cudaEventRecord(event_, b_);
  ASSERT_EQ(cudaStreamBeginCapture(a_, cudaStreamCaptureModeGlobal), cudaSuccess);
  EXPECT_EQ(cudaStreamBeginCapture(a_, cudaStreamCaptureModeGlobal), cudaErrorIllegalState);
  EXPECT_EQ(cudaStreamWaitEvent(a_, event_, 0), cudaErrorStreamCaptureIsolation) << "recorded outside";
  EXPECT_EQ(cudaStreamEndCapture(a_, &graph), cudaErrorStreamCaptureInvalidated);
  ASSERT_EQ(cudaStreamBeginCapture(a_, cudaStreamCaptureModeGlobal), cudaSuccess);
  cudaEventRecord(event_, a_);
  EXPECT_EQ(cudaEventSynchronize(event_), cudaErrorCapturedEvent);
  EXPECT_EQ(cudaStreamEndCapture(a_, &graph), cudaErrorStreamCaptureInvalidated);
  ASSERT_EQ(cudaStreamBeginCapture(a_, cudaStreamCaptureModeRelaxed), cudaSuccess);
  cudaEventRecord(event_, a_);
  ASSERT_EQ(cudaStreamBeginCapture(b_, cudaStreamCaptureModeRelaxed), cudaSuccess);
  EXPECT_EQ(cudaStreamWaitEvent(b_, event_, 0), cudaErrorStreamCaptureMerge);
  cudaStreamEndCapture(a_, &graph);
  cudaStreamEndCapture(b_, &graph);

  cudaStream_t blocking = nullptr;
  cudaStreamCreate(&blocking);
  ASSERT_EQ(cudaStreamBeginCapture(blocking, cudaStreamCaptureModeRelaxed), cudaSuccess);
  EXPECT_EQ(enqueue(
                nullptr, [] {}, "legacy"),
            cudaErrorStreamCaptureImplicit);
  EXPECT_EQ(cudaStreamEndCapture(blocking, &graph), cudaErrorStreamCaptureInvalidated);
  cudaStreamDestroy(blocking);
}

TEST_P(HostStreams, CaptureInfoTellsItsGraph) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  unsigned long long id = 0;
  cudaGraph_t graph = nullptr;
  const cudaGraphNode_t* after = nullptr;
  std::size_t count = 0;
  ASSERT_EQ(cudaStreamBeginCapture(a_, cudaStreamCaptureModeGlobal), cudaSuccess);
  note(a_, 1);
#if CUDART_VERSION >= 13000
  ASSERT_EQ(cudaStreamGetCaptureInfo(a_, &status, &id, &graph, &after, nullptr, &count), cudaSuccess);
#else
  ASSERT_EQ(cudaStreamGetCaptureInfo_v2(a_, &status, &id, &graph, &after, &count), cudaSuccess);
#endif
  EXPECT_EQ(status, cudaStreamCaptureStatusActive);
  EXPECT_NE(id, 0u);
  EXPECT_NE(graph, nullptr);
  EXPECT_EQ(count, 1u);
  cudaGraphDestroy(end(a_));
}

TEST_P(HostStreams, GraphsCanBeUpdatedInPlace) {
  const auto capture = [&](std::vector<int> values) {
    cudaStreamBeginCapture(a_, cudaStreamCaptureModeGlobal);
    for (const int value : values) note(a_, value);
    return end(a_);
  };
  const cudaGraph_t first = capture({1, 2}), second = capture({3, 4}), longer = capture({5, 6, 7});
  cudaGraphExec_t executable = nullptr;
  ASSERT_EQ(cudaGraphInstantiate(&executable, first, 0), cudaSuccess);
  cudaGraphExecUpdateResultInfo info;
  EXPECT_EQ(cudaGraphExecUpdate(executable, second, &info), cudaSuccess);
  cudaGraphLaunch(executable, a_);
  cudaStreamSynchronize(a_);
  EXPECT_THAT(order_, ElementsAre(3, 4));
  EXPECT_EQ(cudaGraphExecUpdate(executable, longer, &info), cudaErrorGraphExecUpdateFailure);
  EXPECT_EQ(info.result, cudaGraphExecUpdateErrorTopologyChanged);
  for (cudaGraph_t graph : {first, second, longer}) cudaGraphDestroy(graph);
  cudaGraphExecDestroy(executable);
  EXPECT_EQ(cudaGraphInstantiate(&executable, first, 0), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace graft::simt
