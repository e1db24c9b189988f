// fork(): the child has one of the parent's threads and a copy of its memory.
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include <graft/kernels/runtime/cuda.h>

#include "cases.h"

namespace graft::test {
namespace {

constexpr unsigned kSeconds = 60;  // then the child is taken to hang

/// Runs `work` in a child and returns how that ended: "ok", "error ..." (said by the child), "exit 3", "signal 14".
std::string in_child(const std::function<void()>& work, bool whole_exit = false) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    alarm(kSeconds);
    int code = 0;
    try {
      work();
    } catch (const std::exception& error) {
      say(std::string("child: ") + error.what());
      code = 3;
    }
    std::fflush(nullptr);
    if (whole_exit) std::exit(code);
    _exit(code);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) return "signal " + std::to_string(WTERMSIG(status));
  return WEXITSTATUS(status) == 0 ? "ok" : "exit " + std::to_string(WEXITSTATUS(status));
}

void expect(bool condition, const char* what) { check(condition, "expected: ", what); }

std::string message_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}
void expect_says_fork(const std::string& message) {
  check(message.find("fork()") != std::string::npos, "expected an Error about fork(), got: ", message);
}

void parent_with_threads(const std::string& name, const std::string& file) {
  set_num_threads(2);
  parallel_for(1000, 1, [](std::int64_t, std::int64_t) {});  // the reference backend may use one
  Job job(file);
  job.train();
  job.save();
  if (name == "fork_trains") {
    const double loss = job.evaluate();
    say(in_child([&] {
      expect(num_threads() == 1, "one thread");
      expect(job.evaluate() == loss, "the parent's loss, to the bit");
      job.train();
      job.save();
    }));
    say(in_child([&] { job.train(); }, true));
    expect(num_threads() == 2, "the parent keeps its threads");
    job.train();
  } else if (name == "fork_thread_counts") {
    say(in_child([] {
      expect_says_fork(message_of([] { set_num_threads(2); }));
      set_num_threads(1);
      say(in_child([] { expect(num_threads() == 1, "one thread in a child's child"); }));
    }));
  } else {  // fork_threads_in_child
    say(in_child([&] {
      double loss = 0;
      std::thread([&] { loss = job.train(); }).join();
      expect(loss > 0, "a loss");
    }));
  }
}

// The parent has asked for nothing yet: the child is as any process.
void parent_without_threads(const std::string& file) {
  const auto work = [&] {
    set_num_threads(2);
    std::atomic<int> ranges{0};
    parallel_for(1000, 1, [&](std::int64_t, std::int64_t) { ++ranges; });
    expect(ranges == 2, "two threads");
    Job(file).train();
  };
  say(in_child(work));
  work();
}

void parent_with_loader() {
  set_num_threads(2);
  const data::Dataset digits = data::make_strokes({.classes = 10, .images = 640});
  const data::LoaderOptions options{.batch_size = 16, .threads = 2};
  auto loader = std::make_unique<data::Loader>(digits, options);
  loader->start(0);
  data::Batch batch;
  loader->next(batch);
  // By then its threads wait, and what they wait for cannot be destroyed without them. (Nor do they allocate, which
  // AddressSanitizer would not survive.)
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  say(in_child(
      [&] {
        expect_says_fork(message_of([&] { loader->next(batch); }));
        expect_says_fork(message_of([&] { loader->start(1); }));
        loader.reset();
        data::Loader own(digits, options);
        own.start(0);
        std::int64_t batches = 0;
        while (own.next(batch)) ++batches;
        expect(batches == 40, "40 batches of a loader of the child's own");
      },
      true));
  while (loader->next(batch)) {
  }
}

// Another thread holds the lock of the host's memory most of the time.
void parent_that_allocates() {
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i)
    threads.emplace_back([&] {
      while (!stop) Tensor::empty({16}, DType::f32);
    });
  std::string all = "ok";
  for (int i = 0; i < 200 && all == "ok"; ++i)
    all = in_child([] {
      alarm(10);
      expect(Tensor::empty({16}, DType::f32).numel() == 16, "a tensor");
    });
  stop = true;
  for (std::thread& thread : threads) thread.join();
  say(all);
}

void parent_with_device() {
  Tensor x = Tensor::from(std::vector<float>{1, 2, 3}, {3}).to(Device::cuda());
  auto stream = std::make_unique<cuda::Stream>();
  auto event = std::make_unique<cuda::Event>(0);
  event->record(*stream);
  say(in_child(
      [&] {
        expect(!cuda::is_available(), "no device");
        expect_says_fork(cuda::why_not());
        expect_says_fork(message_of([&] { x.to_vector<float>(); }));
        expect_says_fork(message_of([&] { x + x; }));
        expect_says_fork(message_of([&] { Tensor::empty({3}, DType::f32, Device::cuda()); }));
        expect_says_fork(message_of([&] { Tensor::empty({3}, DType::f32).to(Device::cuda()); }));
        expect_says_fork(message_of([&] { cuda::synchronize(); }));
        expect_says_fork(message_of([&] { cuda::Stream(0); }));
        event.reset();
        stream.reset();
        x = {};
        expect((Tensor::from(std::vector<float>{1}, {1}) + Tensor::from(std::vector<float>{1}, {1})).item() == 2,
               "the CPU works");
      },
      true));
  expect((x + x).to_vector<float>() == std::vector<float>{2, 4, 6}, "the parent's device works");
}

void parent_without_device() {
  const auto work = [] {
    const Tensor x = Tensor::from(std::vector<float>{1, 2, 3}, {3}).to(Device::cuda());
    expect((x + x).to_vector<float>() == std::vector<float>{2, 4, 6}, "a sum of the device");
  };
  say(in_child(work));
  work();
}

}  // namespace

int run_fork_case(const std::string& name, const std::string& file) {
  alarm(4 * kSeconds);
  if (name == "fork_trains" || name == "fork_thread_counts" || name == "fork_threads_in_child")
    parent_with_threads(name, file);
  else if (name == "fork_before_threads")
    parent_without_threads(file);
  else if (name == "fork_loader")
    parent_with_loader();
  else if (name == "fork_while_allocating")
    parent_that_allocates();
  else if (name == "fork_device")
    parent_with_device();
  else if (name == "fork_before_device")
    parent_without_device();
  else
    return -1;
  return 0;
}

}  // namespace graft::test
