// What a process may be asked to do with the library at awkward moments. Each case is a process of its own
// (tests/process/process_test.cpp starts them).
#pragma once

#include <cstdio>
#include <functional>
#include <memory>
#include <string>

#include <graft/graft.h>

namespace graft::test {

/// Steps of training, an evaluation and a file: whatever a program may do, with several threads.
struct Job {
  explicit Job(std::string file) : path(std::move(file)) {}

  std::string path;  // of the weights
  std::int64_t images = 64;
  std::shared_ptr<Sequential> net = models::lenet5();
  data::Dataset digits = data::make_strokes({.classes = 10, .images = images});
  optim::Sgd optimizer{net->parameters(), {.lr = 0.01, .momentum = 0.9}};

  double train() {
    net->train();
    const Tensor x = data::normalized(digits.images, {.mean = 33.3, .deviation = 78.6});
    const Tensor loss = cross_entropy((*net)(x), digits.labels);
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
    return loss.item();
  }
  /// A batch of another size: sizes that oneDNN has not seen.
  double evaluate() { return transfer::evaluate(*net, digits, {.mean = 33.3, .deviation = 78.6}, 48).loss; }
  void save() const { save_weights(*net, path); }
};

/// Prints a line at once: what comes later may end the process.
inline void say(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

/// Runs `work` and says how it ended.
inline void guarded(const std::function<void()>& work) {
  try {
    work();
  } catch (const std::exception& error) {
    say(std::string("error: ") + error.what());
  }
}

/// Exit codes; -1 where there is no such case.
int run_exit_case(const std::string& name, const std::string& file);
int run_fork_case(const std::string& name, const std::string& file);
int run_setting_case(const std::string& name);

}  // namespace graft::test
